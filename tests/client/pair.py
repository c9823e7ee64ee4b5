"""A master, a replica, and the clients between them."""
import contextlib
import os
import shutil
import signal
import subprocess
import time

import instances
from instances import ROOT, Failure, Instance
from mail import Mail

STOCK = instances.CYRUS + "/sync_client"
# Longest wait for something that must happen, in seconds: far above what it ever takes.
LONG = 180


def expect(condition, *what):
    if not condition:
        raise Failure(" ".join(str(part) for part in what))


def wait_until(condition, what, seconds=LONG):
    """Waits until a condition holds; what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure("after %d s still not: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.02)


class Pair:
    """`settings` are those of the command line, which scenarios may heed."""

    def __init__(self, directory, base, kind, binary, settings):
        self.dir, self.base, self.kind, self.settings = directory, base, kind, settings
        # All that is logged is logged to `witness` as well, which nobody replicates. A replica that
        # is gone for a moment is tried again soon.
        self.master = Instance(directory + "/m", base, options=(
            'sync_log_channels: "" witness', "sync_reconnect_maxwait: 1s"))
        self.replica = Instance(directory + "/r", base + 10, kind)
        # a copy that the instances' user can reach and that a new build leaves alone
        self.binary = directory + "/sync_client"
        shutil.copy(binary, self.binary)
        os.chmod(self.binary, 0o755)

    def start(self):
        self.master.start()
        self.replica.start()

    def destroy(self):
        self.master.destroy()
        self.replica.destroy()

    def of_master(self, user=""):
        return Mail(self.master, user)

    def of_replica(self, user=""):
        return Mail(self.replica, user)

    def make_user(self, user):
        """A new user; the administrator's session is closed again."""
        with contextlib.closing(self.of_master()) as admin:
            admin.create("user/" + user)

    # -- the clients
    def command(self, *arguments, program=None, target=None):
        return [program or self.binary, "-C", self.master.dir + "/imapd.conf", "-S",
                target or self.replica.csync, *map(str, arguments)]

    def environment(self):
        """As the instances' user, with the stock client's log where the master's is."""
        variables = dict(os.environ, CYRUS_LAB_LOG=self.master.dir + "/log/cyrus.log")
        if os.path.exists(self.master.dir + "/lib/labsyslog.so"):
            variables["LD_PRELOAD"] = self.master.dir + "/lib/labsyslog.so"
        user = {"user": "cyrus", "group": "mail", "extra_groups": []} if ROOT else {}
        return {"env": variables, "cwd": "/", **user}

    def sync(self, *arguments, status=0, program=None, target=None):
        """Runs a client to its end."""
        command = self.command(*arguments, program=program, target=target)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=900, **self.environment())
        expect(done.returncode == status, command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def run(self, *arguments):
        """A client at work; to be used with `with`."""
        return Client(self, self.command(*arguments))

    def follow(self, *arguments, program=None, target=None):
        """A client that follows the log; to be used with `with`."""
        return Client(self, self.command("-R", *arguments, program=program, target=target))

    # -- what came of it
    def expect_equal(self, *users):
        """All that both servers show is the same: of these users, or everything."""
        return instances.equal(self.master, self.replica, *(("--users", ",".join(users)) if users else ()))

    def expect_settled(self):
        """A second run finds nothing to do, neither ours nor the original's."""
        for program in (None, STOCK):
            lines = self.sync("-v", "-A", program=program).stdout.splitlines()
            # The original makes a Sieve mailbox for every user, and says what it enables.
            did = [line for line in lines if not line.startswith(("USER ", "MAILBOXES ", "ENABLE "))
                   and not line.endswith("#sieve")]
            expect(not did, "still to do:", did)

    def log_of(self, name="log", channel=""):
        path = "%s/conf/sync/%s%s" % (self.master.dir, channel and channel + "/", name)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def is_drained(self):
        """Whether all that was logged is replicated. What is put back into the log is there before
        the work file goes, so the log is looked at before and after."""
        return not self.log_of() and not self.log_of("log-run") and not self.log_of()

    def drain(self):
        wait_until(self.is_drained, lambda: "all lines replicated; left:\n" + (self.log_of("log-run") + self.log_of())[-2000:])


class Client:
    """A client at work; its log is the file `log`."""

    def __init__(self, pair, command):
        self.pair, self.command = pair, command
        self.log = "%s/client.%d.log" % (pair.dir, time.monotonic_ns())
        self.process = None

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            **self.pair.environment())
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def has_ended(self):
        return self.process.poll() is not None

    def shut_down(self):
        """Ends one that follows the log by the shutdown file, which it heeds and removes."""
        path = self.pair.master.dir + "/run/sync-shutdown"
        # complete when it appears, since the client removes it at once
        with open(path + ".new", "wb"):
            pass
        self.pair.master.hand_over(path + ".new")
        os.rename(path + ".new", path)
        wait_until(self.has_ended, lambda: "the client has ended:\n" + self.text()[-2000:])
        expect(self.process.returncode == 0, "rolling ended with", self.process.returncode, self.text()[-2000:])
        expect(not os.path.exists(path), "the shutdown file is still there")

