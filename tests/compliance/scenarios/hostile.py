"""Malformed and hostile commands: each gets a proper NO or BAD, the session stays in step, and
works on. Where a limit forces a close, one line says so. The stock server dies of many of these,
so they are put to ours only."""
import contextlib
import os
import socket
import subprocess
import time

from harness import Failed, scenario
from mail import mail

REFUSED = ("NO", "BAD")
GUID = "57947272c6eec8a0005cb634c1b711eba5b0428c"


def table(user):
    """(command without its CRLF, expected beginnings of the answer)."""
    inbox = "user." + user
    rows = []

    def bad(*lines):
        rows.extend((line if isinstance(line, bytes) else line.encode("latin-1"), REFUSED) for line in lines)

    def either(*lines):
        rows.extend((line if isinstance(line, bytes) else line.encode("latin-1"), REFUSED + ("OK",)) for line in lines)

    # words
    bad("", " ", "\t", "FOO", "GETX USER a", "GET", "GET ", "APPLY", "APPLY ", "RESTORE", "RESTORE ", "NOOP x", "NOOP ()", "EXIT x",
        "RESTART %()", "STARTTLS x", "COMPRESS", "COMPRESS (", "COMPRESS NOSUCH", "AUTHENTICATE", "AUTHENTICATE PLAIN", "(", ")", "%(", "\\",
        '"NOOP"', "GET  USER x", " NOOP", "\0", "NO\0OP", "\xff\xfe", "N" * 100)
    # sub-commands
    for verb in ("GET", "APPLY", "RESTORE"):
        bad(verb + " NOSUCH x", verb + " NOSUCH ()", verb + " NOSUCH %()", verb + ' "" x', verb + " NIL x", verb + " USER%() x",
            verb + " \xff x", verb + " " + "A" * 300 + " x")
    # syntax of values, for a command that takes any
    for value in (")", "%", "%x", "%)", "%{", "%{}", "{", "{}", "{x}", "{-1+}", "{+}", "(a))", "%(a)", "%(a b c)", "%(a b)x", "a b", '"a',
                  '"a"b"', "(%)", "(a %x)", "{3+}x", "%{default}", "%{default " + GUID + "}", "%{default " + GUID + " x}",
                  "%{default " + GUID + " -1}", "%{ " + GUID + " 1}\r\nx", "%(a %(b c)", "((((a)))"):
        if value in ("%(a %(b c)", "((((a)))"):
            # these go on in the next line
            rows.append((b"GET MAILBOXES " + value.encode() + b"\r\n)) \"", REFUSED + ("OK",)))
        else:
            bad("GET MAILBOXES " + value)
    # wrong kinds
    for value in ("()", "%()", "(a)", "%(A b)", "\\Seen", '""', "NIL"):
        for what in ("GET USER", "GET META", "GET FULLMAILBOX", "GET QUOTA", "GET FETCH", "GET FETCH_SIEVE", "APPLY MAILBOX",
                     "APPLY LOCAL_MAILBOX", "APPLY EXPUNGE", "APPLY RENAME", "APPLY UNMAILBOX", "APPLY SUB", "APPLY SEEN", "APPLY QUOTA",
                     "APPLY ANNOTATION", "APPLY UNANNOTATION", "APPLY SIEVE", "APPLY UNUSER", "APPLY RESERVE", "RESTORE MAILBOX"):
            either("%s %s" % (what, value))
    # NIL where a text is mandatory
    for command in ("APPLY SEEN %(USERID NIL UNIQUEID x LASTREAD 1 LASTUID 1 LASTCHANGE 1 SEENUIDS 1)",
                    "APPLY SEEN %%(USERID %s UNIQUEID NIL LASTREAD 1 LASTUID 1 LASTCHANGE 1 SEENUIDS 1)" % user,
                    "APPLY SUB %%(USERID %s MBOXNAME NIL)" % user, "APPLY UNSUB %(USERID NIL MBOXNAME NIL)",
                    "APPLY RENAME %%(OLDMBOXNAME %s NEWMBOXNAME NIL PARTITION default)" % inbox,
                    "APPLY RENAME %(OLDMBOXNAME NIL NEWMBOXNAME NIL PARTITION NIL)",
                    "APPLY EXPUNGE %(MBOXNAME NIL UNIQUEID NIL UID (1))", "APPLY QUOTA %(ROOT NIL LIMIT 5)", "APPLY UNQUOTA NIL",
                    "APPLY RESERVE %(PARTITION NIL MBOXNAME (NIL) GUID (NIL))", "APPLY ANNOTATION %(MBOXNAME NIL ENTRY NIL USERID NIL VALUE NIL)",
                    "APPLY SIEVE %(USERID NIL FILENAME NIL LAST_UPDATE 1 CONTENT NIL)", "APPLY ACTIVATE_SIEVE %(USERID NIL FILENAME NIL)",
                    "GET FETCH %(MBOXNAME NIL PARTITION NIL UNIQUEID NIL GUID NIL UID 1)", "GET FETCH_SIEVE %(USERID NIL FILENAME NIL)"):
        either(command)
    # names that are paths, that are too long, that hold control characters
    for name in ("../../etc/passwd", "user/../x", "user." + user + ".../x", "user." + user + "./", "/", "user.\x01", "user." + user + ".\x7f",
                 "user." + user + "." + "x" * 5000, "." * 50, "user", "user.", "user..x", "DELETED.", "DELETED.user.x.y", "user." + user + ".a/b"):
        either("GET FULLMAILBOX {%d+}\r\n%s" % (len(name), name), "APPLY UNMAILBOX {%d+}\r\n%s" % (len(name), name))
        bad("APPLY RENAME %%(OLDMBOXNAME %s.none NEWMBOXNAME {%d+}\r\n%s PARTITION default)" % (inbox, len(name), name))
    for name in ("../../../../tmp/x", "a/b", "..", ".", "/etc/passwd", "x" * 3000):
        either("APPLY SIEVE %%(USERID %s FILENAME {%d+}\r\n%s LAST_UPDATE 1 CONTENT keep;)" % (user, len(name), name),
               "APPLY UNUSER {%d+}\r\n%s" % (len(name), name), "GET META {%d+}\r\n%s" % (len(name), name),
               "APPLY SUB %%(USERID {%d+}\r\n%s MBOXNAME x)" % (len(name), name),
               "APPLY QUOTA %%(ROOT {%d+}\r\n%s LIMIT 5 STORAGE 5)" % (len(name), name))
        bad("GET FETCH %%(MBOXNAME %s PARTITION {%d+}\r\n%s UNIQUEID x GUID %s UID 1)" % (inbox, len(name), name, GUID),
            "GET FETCH %%(MBOXNAME %s PARTITION default UNIQUEID {%d+}\r\n%s GUID %s UID 1)" % (inbox, len(name), name, GUID))
    # file literals
    bad("APPLY MESSAGE (%%{nosuch %s 3}\r\nabc)" % GUID, "APPLY MESSAGE (%{default xyz 3}\r\nabc)", "APPLY MESSAGE (%%{default %s 3}\r\nabc)" % GUID[:39],
        "APPLY MESSAGE (%%{default %sab 3}\r\nabc)" % GUID, "APPLY MESSAGE (%{default " + "z" * 40 + " 6}\r\nNOOP\r\n)",
        "APPLY MESSAGE (%%{../x %s 3}\r\nabc)" % GUID, "APPLY MESSAGE (%%{\"\" %s 3}\r\nabc)" % GUID)
    either("APPLY MESSAGE (%%{default %s 3}\r\nabc)" % GUID, "APPLY MESSAGE %%{default %s 3}\r\nabc" % GUID, "APPLY MESSAGE (%%{default %s 0}\r\n)" % GUID, "APPLY MESSAGE abc", "APPLY MESSAGE (a b)",
           "GET USER %%{default %s 6}\r\nNOOP\r\n" % GUID, "APPLY RESERVE %%(PARTITION default MBOXNAME (%%{default %s 6}\r\nNOOP\r\n) GUID ())" % GUID)
    # updates with broken numbers, records and lists
    good = {"UNIQUEID": "hostile%017d" % 1, "MBOXNAME": inbox + ".hostile", "SYNC_CRC": "0", "SYNC_CRC_ANNOT": "0", "LAST_UID": "1",
            "HIGHESTMODSEQ": "5", "RECENTUID": "0", "RECENTTIME": "0", "LAST_APPENDDATE": "0", "POP3_LAST_LOGIN": "0", "UIDVALIDITY": "5",
            "PARTITION": "default", "ACL": '""', "OPTIONS": "P", "RECORD": "()"}

    def update(**more):
        return "APPLY MAILBOX %(" + " ".join("%s %s" % pair for pair in {**good, **more}.items() if pair[1] != "-") + ")"
    for key in good:
        if key not in ("SYNC_CRC", "SYNC_CRC_ANNOT"):
            bad(update(**{key: "-"}))
    bad(update(PARTITION="nosuch"), update(PARTITION="../x"), update(UNIQUEID="../../x"), update(UNIQUEID='""'), update(UNIQUEID="a/b"),
        *[update(MBOXTYPE=kind) for kind in "cabj"], update(MBOXTYPE="%"), update(MBOXTYPE="zz"), update(MBOXTYPE="q"), update(HIGHESTMODSEQ="99999999999999999999"),
        update(LAST_UID="x"), update(UIDVALIDITY="NIL"), update(RECORD="(a)"), update(RECORD="(%(UID 1))"), update(RECORD="(%())"))
    record = "UID 1 MODSEQ 2 LAST_UPDATED 1 FLAGS () INTERNALDATE 1 SIZE 3 GUID " + GUID
    bad(update(RECORD="(%(" + record + "))"), update(RECORD="(%%(%s) %%(%s))" % (record, record)), update(RECORD="(%(" + record[:-1] + "))"),
        update(RECORD="(%(" + record.replace("UID 1", "UID 0") + "))"), update(RECORD="(%(" + record.replace("UID 1", "UID x") + "))"),
        update(RECORD="(%(" + record.replace("FLAGS ()", "FLAGS (" + " ".join("k%d" % i for i in range(200)) + ")") + "))"),
        update(RECORD="(%(" + record + " ANNOTATIONS (%(ENTRY /a))))"), update(ANNOTATIONS="(a)"), update(ANNOTATIONS="(%(ENTRY /a USERID x))"),
        update(SINCE_MODSEQ="77"), update(ACL="{3+}\r\na\0b"))
    # kinds that the store can hold without more
    either(update(MBOXTYPE="s"), update(MBOXTYPE="p"))
    # limits
    rows.append((b"GET MAILBOXES " + b"(" * 5000 + b")" * 5000, REFUSED + ("OK",)))
    rows.append((b"GET USER " + b"x" * 100000, REFUSED + ("OK",)))
    rows.append((b"GET MAILBOXES (" + b"user.nobody " * 50000 + b")", REFUSED + ("OK",)))
    return rows


OVER_LIMITS = [(b"GET USER " + b"x" * 5000000 + b"\r\n", "an atom of 5 MB"), (b'GET USER "' + b"x" * 5000000 + b'"\r\n', "a quoted string of 5 MB"),
               (b"GET USER {999999999999+}\r\n", "a literal of 1 TB"), (b"GET USER {99999999999999999999999+}\r\n", "a literal of more than 2^64"),
               (b"APPLY MESSAGE (%{default " + GUID.encode() + b" 99999999999}\r\n", "a file of more than 2^32"),
               (b"GET MAILBOXES " + b"(" * 2000000 + b"\r\n", "two million open brackets"),
               (b"x" * 20000000 + b"\r\n", "a word of 20 MB"), (b"AUTHENTICATE PLAIN " + b"A" * 3000000 + b"\r\n", "a login of 3 MB")]


def put_all(s, session):
    """Sends every row and looks at its answer; 'in step' means NOOP is answered as NOOP."""
    wrong = []
    count = 0
    for command, expected in table(s.user):
        count += 1
        shown = command[-400:].decode("latin-1").encode("unicode_escape").decode()
        try:
            answer = session.client.line(command)
        except TimeoutError:
            raise Failed("\n".join(wrong + ["no answer to %s" % shown])) from None
        if answer.status == "EOF":
            wrong.append("closed the session: %s (after %s)" % (shown, answer.show()[:1]))
            raise Failed("\n".join(wrong))
        if not answer.status.startswith(expected):
            wrong.append("%s\n    %s, not %s" % (shown, answer.status, "/".join(expected)))
        noop = session.client.line("NOOP")
        if noop.status != "OK Noop completed":
            wrong.append("out of step after %s: %r" % (shown, noop.show()))
            raise Failed("\n".join(wrong))
    s.note("%d commands" % count)
    if wrong:
        raise Failed("%d of %d:\n%s" % (len(wrong), count, "\n".join(wrong)))


def sync_after(s, session, number):
    """A correct first update, as proof that session and store are in order."""
    box = s.box("after%d" % number, number)
    for index in range(3):
        box.append(mail(index))
    session.create(box)


@scenario(live=False, only="ours")
def hostile_commands(s):
    """More than 150 malformed commands in one session, which then does a correct synchronisation."""
    with s.csync(timeout=10) as session:
        session.create(s.box())
        put_all(s, session)
        sync_after(s, session, 2)


@scenario(live=False, only="ours")
def hostile_commands_compressed(s):
    """The same over DEFLATE."""
    with s.csync(timeout=10) as session:
        session.ok(session.compress())
        session.create(s.box())
        put_all(s, session)
        sync_after(s, session, 2)


@contextlib.contextmanager
def server_with_tls(s):
    """Another of our servers on the same store, which has a certificate; yields where it listens."""
    replica = s.replica
    certificate, key, config = (os.path.join(replica.dir, "hostile." + name) for name in ("crt", "key", "conf"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", key,
                    "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o644)
    with open(replica.dir + "/imapd.conf", encoding="utf-8") as file:
        text = file.read()
    with open(config, "w", encoding="utf-8") as file:
        file.write(text + "tls_server_cert: %s\ntls_server_key: %s\n" % (certificate, key))
    user = ["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups"] if os.geteuid() == 0 else []
    port = replica.base + 6
    server = subprocess.Popen([*user, replica.dir + "/lib/sync_server", "-C", config, "--listen", "127.0.0.1:%d" % port], cwd="/",
                              stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield "127.0.0.1:%d" % port
    finally:
        server.terminate()
        s.require(server.wait() == 0, "the server with TLS ended with %d" % server.returncode)


@scenario(live=False, only="ours")
def hostile_commands_over_tls(s):
    """The same over TLS, then over DEFLATE inside TLS."""
    with server_with_tls(s) as endpoint:
        for number, compressed in enumerate((False, True)):
            with s.csync(endpoint, timeout=10, tls=True) as session:
                if compressed:
                    session.ok(session.compress())
                else:
                    session.create(s.box())
                put_all(s, session)
                sync_after(s, session, 2 + number)


@scenario(live=False, only="ours")
def hostile_limits(s):
    """What exceeds every limit: one clear line, the session may end, and a new one works."""
    with s.csync() as session:
        session.create(s.box())
    for number, (command, label) in enumerate(OVER_LIMITS, 3):
        with s.csync(timeout=10) as session:
            try:
                session.send(command)
                answer = session.client.answer()
            except TimeoutError:
                raise Failed("%s: no answer within 10 seconds" % label) from None
            except OSError:
                # closed while the octets were still on their way
                answer = None
            session.open = answer is not None and answer.status != "EOF"
            said = [] if answer is None else answer.show()
            s.require(answer is None or said != ["EOF"], "%s: closed without a word" % label)
            if label in ("a literal of 1 TB", "a file of more than 2^32"):
                s.require(answer is not None and answer.status.startswith("BAD"), "%s: %s" % (label, said))
                session.open = False
                s.require(session.client.answer().status == "EOF", "%s: the session goes on" % label)
        with s.csync() as session:
            sync_after(s, session, number)


@scenario(live=False, only="ours")
def hostile_garbage_and_silence(s):
    """Random octets, a TLS greeting, an HTTP request, and connections that say nothing or end in the middle."""
    import random
    rng = random.Random(1)
    silent = [s.csync(login=False) for _ in range(20)]
    for data in (bytes(rng.randrange(256) for _ in range(5000)) + b"\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
                 b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"APPLY MESSAGE (%{default " + GUID.encode() + b" 100}\r\nabc", b"APPLY MAILBOX %(A"):
        for login in (False, True):
            session = s.csync(login=login)
            session.send(data)
            session.client.sock.close()
            session.open = False
    with s.csync() as session:
        session.create(s.box())
        sync_after(s, session, 2)
    for session in silent:
        session.quit()
