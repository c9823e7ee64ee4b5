"""One sick mailbox never keeps the others back, and the log says what is wrong with it."""
import contextlib
import fcntl
import os

from gate import FlakyLine
from mail import message
from pair import expect, wait_until


def sick(pair):
    """A missing file, a damaged file and a user to be skipped keep nobody else back."""
    users = ("sick1", "sick2", "sick3", "well")
    for user in users:
        pair.make_user(user)
        pair.of_master(user).append("INBOX", "old-for-" + user)
    pair.sync("-A")
    for user in users:
        box = pair.of_master(user)
        box.append("INBOX", "for-" + user)
        box.create("other")
        box.append("other", "other-for-" + user)
    missing = pair.master.path("user/sick1") + "/2."
    damaged = pair.master.path("user/sick2") + "/2."
    with open(damaged, "r+b") as file:
        whole = file.read()
        file.seek(0)
        file.write(whole.replace(b"body", b"BODY"))
    os.rename(missing, missing + "aside")
    skip = pair.master.dir + "/conf/sync/skipuser-sick3"
    with open(skip, "wb"):
        pass
    result = pair.sync("-v", "-A", status=1)
    for words in ("UID 2 is missing", "is damaged", "Skipping locked user sick3"):
        expect(words in result.stderr, result.stderr)
    for user in ("sick1", "sick2", "well"):
        expect(pair.of_replica(user).count("other") == 1, user, "has no other")
    pair.sync("-R", "-1")
    for line in ("USER sick1", "USER sick2", "MAILBOX user.sick3"):
        expect(line in pair.log_of().splitlines(), line, "is not in", pair.log_of())
    os.rename(missing + "aside", missing)
    with open(damaged, "r+b") as file:
        file.write(whole)
    os.unlink(skip)
    pair.sync("-R", "-1")
    expect(pair.log_of() == "", "the log was not emptied:", pair.log_of())
    pair.expect_equal(*users)


def locked_comes_last(pair):
    """Whoever's mailbox is locked keeps nobody else back, and is waited for at the end."""
    users = ("locked", "behind")
    for user in users:
        pair.make_user(user)
        with contextlib.closing(pair.of_master(user)) as mail:
            mail.append("INBOX", "for-" + user)
    with open(pair.master.path("user/locked") + "/cyrus.index", "r+b") as index:
        fcntl.lockf(index, fcntl.LOCK_EX)
        with pair.run("-u", *users, "--jobs", 1) as client:
            wait_until(lambda: pair.of_replica("behind").count("INBOX") == 1, "the other user there")
            expect(not client.has_ended(), "it did not wait:", client.text())
            fcntl.lockf(index, fcntl.LOCK_UN)
            wait_until(client.has_ended, lambda: "ended:\n" + client.text())
    expect(client.process.returncode == 0, "status", client.process.returncode, client.text())
    pair.expect_equal(*users)


def asked_to_end(pair):
    """A pass that is asked to end tells apart whether something had failed by then."""
    for user in ("stopped-locked", "stopped-sick"):
        pair.make_user(user)
        with contextlib.closing(pair.of_master(user)) as mail:
            mail.append("INBOX", "for-" + user)
    missing = pair.master.path("user/stopped-sick") + "/1."
    os.rename(missing, missing + "aside")
    with open(pair.master.path("user/stopped-locked") + "/cyrus.index", "r+b") as index:
        fcntl.lockf(index, fcntl.LOCK_EX)
        for users, words, status in ((("stopped-locked",), "", 75),
                                     (("stopped-sick", "stopped-locked"), "UID 1 is missing", 1)):
            with pair.run("-v", "-v", "-u", *users) as client:
                wait_until(lambda: "GET USER" in client.text() and words in client.text(), "at work")  # noqa: B023
                client.process.terminate()
                wait_until(client.has_ended, lambda: "ended:\n" + client.text())  # noqa: B023
            expect(client.process.returncode == status, users, client.process.returncode, client.text())
    os.rename(missing + "aside", missing)
    pair.sync("-u", "stopped-sick", "stopped-locked")
    pair.expect_equal("stopped-sick", "stopped-locked")


def flaky_line(pair):
    """A mailbox during which connections break now and then arrives; one during which each breaks is given up,
    and keeps no other back."""
    pair.make_user("flaky")
    mail = pair.of_master("flaky")
    boxes = ("above", "ill", "under")
    for box in boxes:
        mail.create(box)
    told = []
    for way, times, status in ((("-u", "flaky"), 3, 0), (("-A",), 3, 0), (("-u", "flaky"), 1000, 1), (("-A",), 1000, 1)):
        for box in boxes:
            mail.append(box, "%s-%d" % (box, len(told)))
        with FlakyLine(pair.base + 20, pair.replica.csync, b"MBOXNAME user.flaky.ill ", times) as line:
            result = pair.sync(*way, status=status, target=line.address)
            told.append("%d broken" % line.broken)
        expect(0 < line.broken < 10 and (status or line.broken == times), way, line.broken, "connections were broken")
        if status:
            expect("user.flaky.ill" in result.stderr, "it is not said which:", result.stderr)
            replica = pair.of_replica("flaky")
            expect([replica.count(box) for box in boxes] == [len(told), len(told) - 1, len(told)],
                   "there are", [replica.count(box) for box in boxes], "after", told)
            pair.sync("-u", "flaky")
        pair.expect_equal("flaky")
    return ", ".join(told)


def flaky_batches(pair):
    """A large mailbox comes over however often connections break, as long as some of it arrives each time."""
    pair.make_user("flaky-batches")
    with contextlib.closing(pair.of_master("flaky-batches")) as mail:
        for number in range(16):
            mail.append("INBOX", "flaky%d" % number)
    path = pair.dir + "/flaky.conf"
    with open(pair.master.dir + "/imapd.conf") as given, open(path, "w") as file:
        file.write(given.read() + "sync_batchsize: 2\n")
    pair.master.hand_over(path)
    with FlakyLine(pair.base + 20, pair.replica.csync, b"MBOXNAME user.flaky-batches ", 1000, every=2) as line:
        pair.sync("-C", path, "-u", "flaky-batches", target=line.address)
    pair.expect_equal("flaky-batches")
    return "%d broken" % line.broken


USERS = ["fifty%d" % number for number in range(5)]
BOXES = ["INBOX"] + ["box%d" % number for number in range(9)]


def three_of_fifty(pair):
    """Of fifty mailboxes one is locked, one corrupt, one refused: the log brings the other 47 over,
    and names the three and why. Once they are well, they follow by themselves."""
    for user in USERS:
        pair.make_user(user)
        with contextlib.closing(pair.of_master(user)) as mail:
            for box in BOXES[1:]:
                mail.create(box)
    # The replica has another mailbox of that name, with a message.
    with contextlib.closing(pair.of_replica()) as admin:
        admin.create("user/" + USERS[2])
    with contextlib.closing(pair.of_replica(USERS[2])) as mail:
        mail.create("box3")
        mail.append("box3", "of-the-replica")
    for user in USERS:
        with contextlib.closing(pair.of_master(user)) as mail:
            for box in BOXES:
                mail.append(box, "for-%s-%s" % (user, box))
    locked, corrupt, refused = (USERS[0], "box1"), (USERS[1], "box2"), (USERS[2], "box3")
    well = [(user, box) for user in USERS for box in BOXES if (user, box) not in (locked, corrupt, refused)]
    index = pair.master.path("user/%s/%s" % corrupt) + "/cyrus.index"
    with open(index, "r+b") as file:
        sound = file.read()
        file.seek(len(sound) - 60)              # in its only record
        file.write(b"\xff" * 40)
    with open(pair.master.path("user/%s/%s" % locked) + "/cyrus.index", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with pair.follow("-d", 0) as client:
            replica = {user: pair.of_replica(user) for user in USERS}
            arrived = lambda user, box: replica[user].count(box) == 1  # noqa: E731
            wait_until(lambda: all(arrived(*each) for each in well),
                       lambda: "the 47 there; not: %s\n%s" % (
                           [each for each in well if not arrived(*each)], client.text()[-3000:]))
            for (user, box), why in ((locked, "lock"), (corrupt, "checksum|corrupt|CRC"), (refused, "MAILBOX_MOVED|belongs to another")):
                name = "user.%s.%s" % (user, box)
                wait_until(lambda: any(name in line and any(word in line for word in why.split("|"))  # noqa: B023
                                       for line in client.text().splitlines()),
                           lambda: "the log names %s and why (%s):\n%s" % (name, why, client.text()[-6000:]))  # noqa: B023
            for user, box in (locked, corrupt):
                expect(not arrived(user, box), box, "of", user, "should not be there")
            # and now well
            fcntl.lockf(file, fcntl.LOCK_UN)
            with open(index, "r+b") as again:
                again.write(sound)
            replica[USERS[2]].rename("box3", "aside")
            pair.drain()
            client.shut_down()
    replica[USERS[2]].delete("aside")
    pair.expect_equal(*USERS)
    return "47 arrived beside them"
