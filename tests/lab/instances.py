"""Instances of the lab for test programs in Python: what they do with cyrus-instance and the rest."""
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import labimap  # noqa: E402

CYRUS = os.environ.get("CYRUS_BIN", "/usr/lib/cyrus/bin")
ROOT = os.geteuid() == 0
# It is the stock sync_client that replicates here, also where the environment names ours for other tests.
os.environ.pop("CYRUS_SYNC_CLIENT_BIN", None)


class Failure(Exception):
    """A test did not show what it must."""


def run(*words, check=True, timeout=900, **more):
    """Runs a program; its output as text."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, **more)
    if check and done.returncode:
        raise Failure("%s: status %d\n%s" % (" ".join(map(str, words)), done.returncode, done.stdout[-2000:]))
    return done


class Instance:
    """One Cyrus of the lab. Options are lines of imapd.conf in which {dir} is its directory."""

    def __init__(self, directory, base, server="stock", options=(), arguments=()):
        self.dir, self.base, self.server = str(directory), base, server
        self.imap, self.sieve = "127.0.0.1:%d" % base, "127.0.0.1:%d" % (base + 2)
        self.csync = "127.0.0.1:%d" % (base + 1)
        self.lmtp = self.dir + "/conf/socket/lmtp"
        words = []
        for option in options:
            words += ["--option", option.format(dir=self.dir)]
        self.lab("create", "--force", "--port-base", base, "--sync-server", server, *words, *arguments)
        for path in re.findall(re.escape(self.dir) + r"/\S+", "\n".join(words)):
            if not os.path.exists(path) and not path.endswith(".db"):
                os.makedirs(path)
                self.hand_over(path)

    def lab(self, command, *words, check=True):
        return run(HERE + "/cyrus-instance", command, self.dir, *words, check=check)

    def start(self):
        self.lab("start")
        return self

    def stop(self):
        self.lab("stop")

    def destroy(self):
        if os.path.exists(self.dir + "/lab.env"):
            self.lab("destroy", check=False)

    def tool(self, program, *words, check=True):
        return self.lab("tool", program, *words, check=check)

    def path(self, mailbox):
        return self.lab("path", mailbox).stdout.strip()

    def hand_over(self, path):
        """Gives a file to the user that the instance runs as."""
        if ROOT:
            user = pwd.getpwnam("cyrus")
            os.chown(path, user.pw_uid, user.pw_gid)

    def connect(self, user=""):
        """An IMAP session of a user, or of the administrator."""
        return labimap.connect(self.imap, "cyrus", "secret", user)

    def corpus(self, command, *words, seed=1, users=2, messages=3):
        return run(HERE + "/corpus.py", command, "--seed", seed, "--imap", self.imap, "--sieve", self.sieve,
                   "--lmtp", self.lmtp, "--instance", self.dir, "--users", users, "--messages", messages, *words)

    def sync(self, replica, *words, status=0):
        """The stock sync_client of this instance, against the csync port of another."""
        done = self.lab("sync", "--to", getattr(replica, "csync", replica), *words, check=False)
        if status is not None and done.returncode != status:
            raise Failure("sync_client %s: status %d\n%s\n%s" % (
                " ".join(words), done.returncode, done.stdout[-1500:], self.log_tail() + getattr(replica, "log_tail", str)()))
        return done.stdout

    def log_tail(self, count=6):
        lines = []
        for name in ("cyrus.log", "sync_server.log"):
            path = "%s/log/%s" % (self.dir, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines += [line for line in file if not re.search(r" (notice|info|debug): ", line)][-count:]
        return "".join(lines)

    def server_pid(self):
        with open(self.dir + "/run/sync_server.pid", encoding="ascii") as file:
            return int(file.read())

    def peak_memory(self):
        """What our server has had resident at most, in MiB."""
        with open("/proc/%d/status" % self.server_pid(), encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) / 1024


def equal(a, b, *words):
    """What compare.py says of two instances; it must be EQUAL."""
    done = run(HERE + "/compare.py", a.imap, b.imap, "--sieve", a.sieve, b.sieve, "--ignore", "servermetadata", *words, check=False)
    if done.returncode:
        raise Failure("%s and %s:\n%s" % (os.path.basename(a.dir), os.path.basename(b.dir), done.stdout[-4000:]))
    return done.stdout.splitlines()[-1]


def sound(instance, *words):
    """What validate says of an instance; it must be SOUND."""
    done = run(HERE + "/validate", instance.dir, *words, check=False)
    if done.returncode:
        raise Failure(done.stdout[-4000:])
    return done.stdout.splitlines()[-1]


def workplace(given):
    """The directory of a run, which the instances' user can reach."""
    directory = given or tempfile.mkdtemp(prefix="cyrus-sync-", dir="/tmp")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)
    return directory


def clear(directory):
    """Removes what a run left of its directory."""
    shutil.rmtree(directory, ignore_errors=True)


class Table:
    """One line per case, as they end, and the sum."""

    def __init__(self, title):
        self.title, self.passed, self.failed, self.began = title, 0, [], time.monotonic()

    def case(self, name, function, *arguments):
        """Runs a case and prints its line; what it returns is the line's text."""
        began = time.monotonic()
        try:
            text = function(*arguments)
            self.passed += 1
            verdict = "ok    "
        except (Failure, labimap.ImapError, OSError, subprocess.TimeoutExpired) as error:
            text, verdict = "%s: %s" % (type(error).__name__, error), "FAILED"
            self.failed.append(name)
        print("%s %-24s %5.1f s  %s" % (verdict, name, time.monotonic() - began, text), flush=True)

    def finish(self):
        """Prints the sum; the exit status."""
        print("%s: %d passed, %d failed%s in %.0f s" % (
            self.title, self.passed, len(self.failed), " (%s)" % ", ".join(self.failed) if self.failed else "",
            time.monotonic() - self.began), flush=True)
        return 1 if self.failed else 0
