"""Several sessions, and other programs at work on the same store."""
import contextlib
import fcntl
import os
import socket
import subprocess
import threading
import time

from csync import File
from harness import CYRUS, ROOT, Failed, scenario
from mail import mail


class Background(threading.Thread):
    """Runs something beside; 'finish' raises what it raised."""

    def __init__(self, work):
        super().__init__()
        self.work, self.error = work, None
        self.start()

    def run(self):
        try:
            self.work()
        except Exception as error:  # noqa: BLE001  handed on by finish()
            self.error = error

    def finish(self):
        self.join(60)
        if self.is_alive():
            raise Failed("still at work after a minute")
        if self.error:
            raise self.error


@scenario(live=False)
def staged_files_belong_to_their_session(s):
    """A file uploaded in one session is not there for another (the stock server aborts)."""
    box = s.box()
    with s.csync() as first, s.csync() as second:
        first.create(box)
        box.append(mail(1))
        first.ok(first.upload(box))
        second.update(box, label="(without a file of its own)")
        first.ok(first.update(box))
    with s.csync() as session:
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def sessions_take_turns(s):
    """Two sessions change one mailbox in turn; the one that lags is told."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(2)]
    with s.csync() as first, s.csync() as second:
        first.create(box)
        since = box.state()
        box.touch(records[0], ["\\Seen"])
        first.ok(first.update(box, [records[0]], since))
        second.no(second.update(box, [records[0]], since, "(old SINCE)"), "NO IMAP_SYNC_CHANGED")
        since = box.state()
        box.touch(records[1], ["\\Flagged"])
        second.ok(second.update(box, [records[1]], since))
        first.ok(first.get("MAILBOXES", [box.name]))


@scenario(live=False)
def session_lost_during_upload(s):
    """The connection ends in the middle of a file; nothing of it stays."""
    box = s.box()
    session = s.csync()
    session.create(box)
    session.send(b"APPLY MESSAGE (" + b"%{default " + File(mail(1)).guid.encode() + b" 100000}\r\nFrom: x\r\n")
    time.sleep(0.1)
    session.client.sock.close()
    session.open = False
    session = s.csync()
    session.ok(session.apply("MESSAGE", [File(mail(2))], "(then gone without EXIT)"))
    session.client.sock.close()
    session.open = False
    staging = s.replica.dir + "/spool/sync."
    for _ in range(50):
        left = [os.path.join(folder, name) for folder, _, names in os.walk(staging) for name in names]
        if not left:
            break
        time.sleep(0.1)
    s.require(not left, "left in the staging directory: %s" % left)


@scenario(live=False, state=False)
def locked_user_delays_only_itself(s):
    """While a user is locked by another program, that user's update waits and another's does not."""
    mine, other = s.box(), s.box()
    other.name, other.uniqueid, other.acl = mine.name + "other", mine.uniqueid[:-1] + "x", ""
    with s.csync() as session:
        session.create(mine)
        session.create(other)
    mine.append(mail(1))
    other.append(mail(2))
    path = "%s/conf/lock/*U*%s.lock" % (s.replica.dir, s.user)
    s.require(os.path.exists(path), "no lock file %s" % path)
    ended = {}

    def update(box):
        with s.csync() as session:
            session.client.apply("MESSAGE", box.files())
            ended[box.name] = (session.client.apply("MAILBOX", box.item()).status, time.monotonic())
    with open(path, "r+", encoding="ascii") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        waiting = Background(lambda: update(mine))
        time.sleep(0.2)
        Background(lambda: update(other)).finish()
        released = time.monotonic()
        s.require(mine.name not in ended, "the locked user's update did not wait: %r" % ended)
        fcntl.lockf(file, fcntl.LOCK_UN)
    waiting.finish()
    s.require(ended[mine.name][0].startswith("OK") and ended[other.name][0].startswith("OK"), repr(ended))
    s.require(ended[other.name][1] <= released <= ended[mine.name][1], "not in this order: %r, released at %s" % (ended, released))
    # the answers came in whatever order the sessions were served
    s.lines = sorted(line for line in s.lines if "CAPABILITIES" not in line)


@scenario()
def two_users_at_the_same_time(s):
    """Two stock clients synchronise two users at once."""
    other = s.user + "other"
    for user in (s.user, other):
        s.make_user(user, folders=["Work"])
        for number in range(20):
            s.append("Work", mail(number), user=user)
    results = {}

    def sync(user):
        results[user] = s.master.as_cyrus(s.pair.client, "-C", s.pair.config, "-v", "-u", user).returncode
    both = [Background(lambda user=user: sync(user)) for user in (s.user, other)]
    for one in both:
        one.finish()
    s.require(results == {s.user: 0, other: 0}, repr(results))
    s.equal()


@scenario(state=False)
def imapd_and_lmtpd_work_on_the_replica(s):
    """While a user is synchronised over and over, imapd and lmtpd work in other mailboxes of the same user there."""
    s.make_user(folders=["Synced"])
    s.sync_user()
    with s.imap(where=s.replica) as imap:
        imap.command("CREATE Local")
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            s.append("Local", mail("local %d" % number), where=s.replica)
            with s.imap(where=s.replica) as imap:
                imap.command("SELECT Local")
                imap.command("STORE 1:* +FLAGS (\\Seen k%d)" % (number % 5))
                imap.command("SELECT Synced")
                imap.try_command("FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)")
    busy = Background(work)
    try:
        for number in range(8):
            s.append("Synced", mail(number))
            with s.imap() as imap:
                imap.command("SELECT Synced")
                imap.command("STORE 1:* +FLAGS (s%d)" % number)
            s.sync("-u", s.user)
    finally:
        stop.set()
        busy.finish()
    s.equal(except_lines="Local")
    done = s.replica.tool("reconstruct", "-n", "-G", "-r", "user/" + s.user)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("user/")]
    s.require(not lines, "reconstruct: %s" % lines)
    s.lines = ["passed"]


@scenario()
def index_replaced_by_repack(s):
    """cyr_expire and reconstruct repack a mailbox on the replica between two updates."""
    s.make_user()
    for number in range(6):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1:3 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.sync_user()
    s.replica.tool("cyr_expire", "-E", "1", "-X", "0", "-u", s.user)
    s.replica.tool("reconstruct", "-r", "user/" + s.user)
    s.append("INBOX", mail(9))
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Seen)")
    s.sync_user()
    s.equal(ignore=["vanished"])


@scenario(live=False)
def same_session_across_a_repack(s):
    """A session stays open while the mailbox is repacked under it."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(4)]
    with s.csync() as session:
        session.create(box)
        box.expunge(records[0])
        box.expunge(records[1])
        session.ok(session.update(box))
        s.replica.tool("cyr_expire", "-E", "1", "-X", "0", "-u", s.user)
        box.records = records[2:]
        since = box.state()
        box.touch(records[2], ["\\Seen"])
        session.ok(session.update(box, [records[2]], since))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False, only="ours", state=False)
def idled_is_told_of_every_change(s):
    """idled is told of every kind of change: new, flag, expunge, annotation, rename, move, delete."""
    box = s.box()
    record = box.append(mail(1))
    path = s.replica.dir + "/conf/socket/idle"
    idled = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    idled.bind(path)
    os.chmod(path, 0o777)
    idled.setblocking(False)
    told = []

    def names():
        found = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                found.add(idled.recv(2000)[8:].rstrip(b"\0").decode())
        return found
    try:
        with s.csync() as session:
            def step(label, answer, *expected):
                session.ok(answer)
                heard = names()
                told.append("%s: %s" % (label, sorted(heard)))
                s.require(set(expected) <= heard, "%s: idled was told of %s" % (label, sorted(heard)))
            session.upload(box)
            step("new mailbox", session.update(box), box.name)
            since = box.state()
            box.touch(record, ["\\Seen"])
            step("flag", session.update(box, [record], since), box.name)
            step("expunge", session.apply("EXPUNGE", {"MBOXNAME": box.name, "UNIQUEID": box.uniqueid, "UID": [1]}), box.name)
            step("annotation", session.apply("ANNOTATION", {"MBOXNAME": box.name, "ENTRY": "/comment", "USERID": "", "VALUE": "x"}), box.name)
            work = s.box("Work", 2)
            step("second mailbox", session.update(work), work.name)
            new = work.name + "2"
            step("rename", session.apply("RENAME", {"OLDMBOXNAME": work.name, "NEWMBOXNAME": new, "PARTITION": "default"}), work.name, new)
            step("partition", session.apply("RENAME", {"OLDMBOXNAME": new, "NEWMBOXNAME": new, "PARTITION": "second"}), new)
            step("delete", session.apply("UNMAILBOX", new), new)
            step("user", session.apply("UNUSER", s.user), box.name)
    finally:
        idled.close()
        os.unlink(path)


@scenario(live=False, only="ours", state=False)
def idling_imapd_and_idled(s):
    """Beside a real idled, an IDLE-ing client on the replica is told of a message within a second."""
    box = s.box()
    with s.csync() as session:
        session.create(box)
        prefix = ["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups"] if ROOT else []
        idled = subprocess.Popen([*prefix, CYRUS + "/idled", "-C", s.replica.dir + "/imapd.conf", "-d"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(50):
                if os.path.exists(s.replica.dir + "/conf/socket/idle"):
                    break
                time.sleep(0.1)
            with s.imap(where=s.replica) as imap:
                imap.command("SELECT INBOX")
                imap.sock.sendall(b"idle1 IDLE\r\n")
                imap.sock.settimeout(5)
                heard = imap.sock.recv(4000)
                s.require(heard.startswith(b"+"), repr(heard))
                time.sleep(0.3)
                box.append(mail(1))
                session.ok(session.upload(box))
                session.ok(session.update(box))
                applied = time.monotonic()
                heard = b""
                while b"1 EXISTS" not in heard:
                    heard += imap.sock.recv(4000)
                s.require(time.monotonic() - applied < 1, "told only after %.1f s" % (time.monotonic() - applied))
                imap.sock.sendall(b"DONE\r\n")
                while b"idle1 OK" not in heard:
                    heard += imap.sock.recv(4000)
        finally:
            idled.terminate()
            idled.wait(10)


@scenario(live=False, state=False, options=["statuscache: yes"])
def status_cache_is_forgotten(s):
    """With statuscache no kind of change leaves an old answer to STATUS."""
    box, work = s.box(), s.box("Work", 2)
    record = box.append(mail(1))
    database = s.replica.dir + "/conf/statuscache.db"
    new = work.name + "2"

    def cached(name):
        return s.replica.tool("cyr_dbtool", database, "twoskip", "get", name + "%").stdout.strip()
    with s.csync() as session:
        def step(label, name, change):
            s.replica.tool("cyr_dbtool", "-n", database, "twoskip", "set", name + "%", "I 8 (9 9 9 9 9 9 9)")
            s.require(cached(name), "%s: cannot put an entry" % label)
            session.ok(change())
            s.require("(9 9 9" not in cached(name), "%s: STATUS of %s is stale" % (label, name))
        session.upload(box)
        step("new mailbox", box.name, lambda: session.update(box))
        step("second mailbox", work.name, lambda: session.update(work))
        since = box.state()
        box.touch(record, ["\\Seen"])
        step("flag", box.name, lambda: session.update(box, [record], since))
        step("expunge", box.name, lambda: session.apply("EXPUNGE", {"MBOXNAME": box.name, "UNIQUEID": box.uniqueid, "UID": [1]}))
        step("rename", work.name, lambda: session.apply("RENAME", {"OLDMBOXNAME": work.name, "NEWMBOXNAME": new, "PARTITION": "default"}))
        step("delete", new, lambda: session.apply("UNMAILBOX", new))
        step("user", box.name, lambda: session.apply("UNUSER", s.user))
    s.lines = ["passed"]


@scenario(live=False, only="ours")
def sessions_of_imapd_see_a_silent_expunge(s):
    """APPLY EXPUNGE leaves the modseqs alone; a session of imapd that has the mailbox open must see it nevertheless.

    Beside the stock server it does not, and dies when it is told to change such a message.
    """
    box = s.box()
    with s.csync() as session, s.imap(where=s.replica) as imap:
        session.create(box)
        for number in range(3):
            box.append(mail(number))
        session.ok(session.apply("MESSAGE", box.files()))
        session.ok(session.update(box))
        imap.command("SELECT INBOX")
        session.ok(session.apply("EXPUNGE", {"MBOXNAME": box.name, "UNIQUEID": box.uniqueid, "UID": [2]}))
        imap.command("STORE 1:3 +FLAGS.SILENT (kept)")
        imap.command("NOOP")
        found = imap.command("UID FETCH 1:* (FLAGS)")
        s.require(len(found) == 2, "the session was not told: %r" % found)
