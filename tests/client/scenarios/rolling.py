"""Following the log: that it ends as asked, how long a delivery takes, and how often it waits."""
import signal
import sys

import instances
from gate import Gate
from mail import deliver, message
from pair import expect, wait_until


def rolling(pair):
    """Changes while the client follows the log; the shutdown file ends it."""
    with pair.follow("-d", 0) as client:
        pair.master.corpus("mutate", "--only", "flags,expunge,copy,move,rename", messages=12)
        pair.drain()
        client.shut_down()
    pair.expect_equal()


def latency(pair):
    """From lmtpd's acceptance to visible on the replica, with -d 0 and with -d 3."""
    found = []
    deliveries = pair.settings.deliveries
    for delay, count in ((0, deliveries), (3, max(2, deliveries // 20))):
        with pair.follow("-d", delay, "-t", 0) as client:
            done = instances.run(
                sys.executable, instances.HERE + "/bench.py", "rolling", "--label", "-d %d" % delay,
                "--master", pair.master.dir, "--replica", pair.replica.dir, "--user", "latency%d" % delay,
                "--messages", count, "--pause", "0.02,0.2", "--client", pair.binary, "--server", pair.replica.dir)
            pair.drain()
            client.shut_down()
        found.append(done.stdout.strip().partition("; CPU")[0])
        pair.expect_equal("latency%d" % delay)
    return "\n    " + "\n    ".join(found)


def one_round_trip(pair):
    """A delivery is complete on the replica before the client has had any answer: it needs one
    round trip. So do a second one of the same user, and a flag."""
    user = "single"
    pair.make_user(user)
    deliver(pair.master, user, message("first"))
    with Gate(pair.base + 20, pair.replica.csync) as gate, pair.follow("-d", 0, "-t", 0, target=gate.address) as client:
        pair.drain()
        replica = pair.of_replica(user)
        replica.select("INBOX", "EXAMINE ")
        master = pair.of_master(user)
        master.select("INBOX")                  # a change: nothing in it is recent any more
        pair.drain()

        def without_answer(what, change, *words):
            gate.close()
            before = gate.kept_back
            change()
            wait_until(lambda: replica.search(*words), lambda: "%s there without an answer:\n%s" % (what, client.text()[-2000:]))
            # the client has got none of the answers, so this was all it needed
            wait_until(lambda: gate.kept_back > before, "answered")
            expect(pair.log_of("log-run"), "the run is over, though nothing was answered")
            gate.open()
            pair.drain()

        without_answer("a delivery", lambda: deliver(pair.master, user, message("second")), "SUBJECT second")
        without_answer("a large one", lambda: deliver(pair.master, user, message("third", 1 << 20)), "SUBJECT third")
        without_answer("a flag", lambda: master.command("STORE 1 +FLAGS (\\Flagged)"), "FLAGGED")
        client.shut_down()
    for mail in (replica, master):
        mail.close()
    pair.expect_equal(user)
    return "a delivery, one of 1 MiB, a flag: each there before any answer"


def questions_at_once(pair):
    """Which messages the replica has elsewhere is asked for three mailboxes before the first answer,
    and what it has is not sent again."""
    user, boxes = "asker", ("one", "two", "three")
    pair.make_user(user)
    mail = pair.of_master(user)
    for box in boxes:
        mail.create(box)
    mail.append("INBOX", message("copied", 200 << 10))
    pair.sync("-R", "-1")
    mail.select("INBOX")
    for box in boxes:
        mail.command("COPY 1 ", box)
        mail.append(box, message("new-in-" + box, 200 << 10))
    mail.close()
    trace = pair.sync("-R", "-1", "-vv").stderr
    lines = [line for line in trace.splitlines() if line.startswith(("> APPLY RESERVE", "> APPLY MESSAGE", "< * MISSING", "< MISSING"))]
    expect([line[2:15] for line in lines[:3]] == ["APPLY RESERVE"] * 3, "asked one by one:", *(line[:60] for line in lines))
    expect(", 3 messages, " in trace, "not 3 messages were sent:", trace[-1000:])
    pair.expect_equal(user)


def several_connections(pair):
    """One user of a run whose answers do not come holds up no other: further connections take them."""
    users = ["many%02d" % number for number in range(16)]
    for user in users:
        pair.make_user(user)
    pair.sync("-R", "-1")
    with Gate(pair.base + 20, pair.replica.csync) as gate, pair.follow("-d", 0, "-t", 0, "--jobs", 4, target=gate.address) as client:
        wait_until(lambda: "connected to" in client.text(), "connected")
        # all of it in one run
        client.process.send_signal(signal.SIGSTOP)
        for user in users:
            deliver(pair.master, user, message("for-" + user))
        gate.close()
        client.process.send_signal(signal.SIGCONT)
        replicas = [pair.of_replica(user) for user in users]
        there = lambda: sum(replica.count("INBOX") == 1 for replica in replicas)  # noqa: E731
        wait_until(lambda: there() >= len(users) - 1, lambda: "all users there but one: %d\n%s" % (there(), client.text()[-2000:]))
        expect(len(gate.ways_back) > 1, "there is but one connection")
        expect(pair.log_of("log-run"), "the run is over, though one connection got no answer")
        gate.open()
        pair.drain()
        client.shut_down()
        connections = len(gate.ways_back)
    for replica in replicas:
        replica.close()
    pair.expect_equal(*users)
    return "%d connections" % connections
