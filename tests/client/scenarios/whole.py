"""Users and mailboxes as a whole, and the log in one run."""
import subprocess
import time

from mail import message
from pair import expect


def everything(pair):
    """-A, a corpus of all kinds of things."""
    pair.master.corpus("variety", messages=12)
    pair.sync("-A")
    pair.expect_equal()
    pair.expect_settled()


def changes_by_user(pair):
    """-A after many changes."""
    pair.master.corpus("mutate", messages=12)
    pair.sync("-A", "--jobs", 3)
    pair.expect_equal()


def changes_by_log(pair):
    """The log of many changes, in one run."""
    pair.sync("-R", "-1")
    pair.master.corpus("mutate", messages=12)
    pair.sync("-R", "-1")
    expect(pair.log_of() == "", "the log was not emptied:", pair.log_of())
    pair.expect_equal()


def names(pair):
    """Swaps, chains, and a mailbox deleted and made again, between two runs."""
    pair.make_user("swapper")
    user = pair.of_master("swapper")
    for way in (("-R", "-1"), ("-u", "swapper")):
        for box in ("s1", "s2", "again", "c1", "c2", "c3"):
            user.create(box)
            user.append(box, "in-" + box)
        pair.sync("-u", "swapper")
        steps = (("s1", "s0"), ("s2", "s1"), ("s0", "s2"), ("c3", "c4"), ("c2", "c3"), ("c1", "c2"))
        for old, new in steps:
            user.rename(old, new)
        # imapd names what it deletes by the second, and refuses the same name twice
        time.sleep(1.1)
        user.delete("again")
        user.create("again")
        user.append("again", "second-again")
        pair.sync(*way)
        pair.expect_equal("swapper")
        time.sleep(1.1)
        for box in ("s1", "s2", "again", "c2", "c3", "c4"):
            user.delete(box)
        pair.sync("-u", "swapper")


def split_brain(pair):
    """Both sides append, flag and expunge: both end equal, nothing is lost."""
    pair.make_user("split")
    master, replica = pair.of_master("split"), pair.of_replica("split")
    for number in range(6):
        master.append("INBOX", "old%d" % number)
    pair.sync("-u", "split")
    master.append("INBOX", "only-master")
    replica.append("INBOX", "only-replica-1", "\\Flagged")
    replica.append("INBOX", "only-replica-2")
    master.select("INBOX")
    replica.select("INBOX")
    replica.command("STORE 1 +FLAGS (\\Answered $replica)")
    master.command("STORE 2 +FLAGS (\\Flagged)")
    replica.command("STORE 3 +FLAGS (\\Deleted)")
    replica.command("EXPUNGE")
    pair.sync("-u", "split")
    pair.expect_equal("split")
    for box in (pair.of_master("split"), pair.of_replica("split")):
        box.select("INBOX", "EXAMINE ")
        for subject in ("only-master", "only-replica-1", "only-replica-2", "old0", "old5"):
            found = box.search("SUBJECT ", subject)
            expect(len(found) == 1, subject, "is there", found)
        expect(box.search("KEYWORD $replica"), "the flag of the replica is lost")
        expect(not box.search("SUBJECT old2"), "old2 is back")
    pair.expect_settled()


def batches(pair):
    """A mailbox of several batches: the replica keeps staged no more than one of them."""
    pair.make_user("batched")
    user = pair.of_master("batched")
    for number in range(17):
        user.append("INBOX", "batched%d" % number)
    path = pair.dir + "/batches.conf"
    with open(pair.master.dir + "/imapd.conf") as given, open(path, "w") as file:
        file.write(given.read() + "sync_batchsize: 5\n")
    pair.master.hand_over(path)
    lines = pair.sync("-C", path, "-vv", "-u", "batched").stderr.splitlines()
    restarts = sum(line.startswith("> RESTART") for line in lines)
    expect(restarts >= 3, "the replica was to forget what is staged after each batch:", restarts)
    pair.expect_equal("batched")


def record_forms(pair):
    """Records travel in the compact form where the replica takes it, unless that is turned off, and say the same."""
    pair.make_user("compact")
    pair.sync("-u", "compact")
    user = pair.of_master("compact")
    path = pair.dir + "/plain-records.conf"
    with open(pair.master.dir + "/imapd.conf") as given, open(path, "w") as file:
        file.write(given.read() + "cyrus_sync_extensions: no\n")
    pair.master.hand_over(path)
    for box, options, compact in (("default", (), pair.kind == "ours"), ("off", ("-C", path), False)):
        user.create(box)
        for number in range(4):
            user.append(box, "compact-%s-%d" % (box, number), "\\Seen \\Draft $odd" if number % 2 else "")
        user.select(box)
        changes = (
            ("STORE 2 +FLAGS (\\Answered $Label1 NonJunk)",),
            ('STORE 1 ANNOTATION (/comment (value.shared "100% \\"so\\"" value.priv "NIL"))',),
            ("STORE 3 +FLAGS (\\Deleted)", "EXPUNGE"),
            ("STORE 2 -FLAGS (\\Seen $odd)",),
        )
        for commands in ((), *changes):
            for command in commands:
                user.command(command)
            trace = pair.sync("-vv", "-u", "compact", *options).stderr
            expect("MAILBOX %(" in trace, "nothing was sent after", commands)
            expect((" X-RECORDS (" in trace, " RECORD (" in trace) == (compact, not compact), "form of the records:", trace)
            pair.expect_equal("compact")


def statuses(pair):
    """Exit statuses, and what is said with them."""
    expect("No replication mode specified" in pair.sync(status=64).stderr, "no mode")
    several = pair.sync("-u", "-m", "x", status=64)
    expect("Mutually exclusive options defined" in several.stderr, several)
    pair.sync("--no-such-option", status=64)
    absent = pair.sync("-v", "-u", "nobody")
    expect("Does not exist locally nobody" in absent.stdout, absent.stdout)
    unreachable = subprocess.run(pair.command("-o", "-u", "nobody", target="127.0.0.1:1"), capture_output=True,
                                 text=True, timeout=120, **pair.environment())
    expect(unreachable.returncode == 1, unreachable)
    expect("Can not connect to server '127.0.0.1'" in unreachable.stderr, unreachable.stderr)


def dry_run(pair):
    """What would be sent is shown, and nothing is sent."""
    pair.make_user("dry")
    pair.of_master("dry").append("INBOX", message("not-yet"))
    shown = pair.sync("--dry-run", "-u", "dry").stdout
    expect("MAILBOX user.dry" in shown.splitlines(), shown)
    expect(pair.of_replica().count("user/dry") is None, "it was sent")
    pair.sync("-u", "dry")
    pair.expect_equal("dry")
