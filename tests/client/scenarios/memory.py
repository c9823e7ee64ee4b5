"""What the client needs does not grow with mailboxes and messages."""
import concurrent.futures
import contextlib
import os
import subprocess

from mail import message
from pair import expect

MIB = 1 << 20
# Messages of the large mailbox, and of one APPEND.
MESSAGES, AT_ONCE = 20000, 500


def memory(pair):
    """A mailbox of 20,000 messages, two messages of 200 MiB and small ones, over four connections:
    less than 64 MiB, at first and when flags of all messages change."""
    users = ("manifold", "heavy1", "heavy2", "light")
    for user in users:
        pair.make_user(user)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda fill: fill(), (
            lambda: many(pair, "manifold"), lambda: heavy(pair, "heavy1"), lambda: heavy(pair, "heavy2"),
            lambda: pair.of_master("light").append("INBOX", "light"))))
    first = peak(pair, "-u", *users)
    with contextlib.closing(pair.of_master("manifold")) as mail:
        mail.select("INBOX")
        mail.command("STORE 1:* +FLAGS.SILENT (\\Seen $all)")
    again = peak(pair, "-u", *users)
    by_log = peak(pair, "-R", "-1")
    for user in users:
        expect(pair.of_master(user).count("INBOX") == pair.of_replica(user).count("INBOX"), user, "is not complete")
    pair.expect_equal("manifold", "light")
    return "peak %.1f MiB at first, %.1f MiB after the flags, %.1f MiB by the log" % (first, again, by_log)


def many(pair, user):
    with contextlib.closing(pair.of_master(user)) as mail:
        for start in range(0, MESSAGES, AT_ONCE):
            parts = ["APPEND INBOX"]
            for number in range(start, start + AT_ONCE):
                data = message("%s-%d" % (user, number))
                parts += [" () {%d+}\r\n" % len(data), data]
            mail.command(*parts)


def heavy(pair, user):
    with contextlib.closing(pair.of_master(user)) as mail:
        mail.append("INBOX", message(user, 200 * MIB))


def peak(pair, *arguments):
    """Runs the client with four jobs; the most that it had in memory, in MiB."""
    client = subprocess.Popen(pair.command("--jobs", 4, *arguments), stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, **pair.environment())
    errors = client.stderr.read()
    _, status, usage = os.wait4(client.pid, 0)
    client.returncode = os.waitstatus_to_exitcode(status)
    expect(client.returncode == 0, arguments, client.returncode, errors.decode("utf-8", "replace")[-2000:])
    used = usage.ru_maxrss / 1024
    expect(used < 64, arguments, "took", "%.1f" % used, "MiB")
    return used
