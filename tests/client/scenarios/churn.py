"""Everything that users do, while one client after the other follows the log."""
import collections
import random
import re
import threading
import time

from instances import labimap
from mail import Mail, deliver, message, quote
from pair import STOCK, Failure, expect, wait_until

USERS = ["churn%d" % number for number in range(4)]
SCRIPT = 'require ["fileinto"];\nif header :contains "subject" "%d" { fileinto "INBOX"; }\n'


def churn(pair):
    """Mail arrives and everything changes, while the stock client, ours, and the stock one again
    (or those of --clients) follow the log. In the end all lines ever written, once more, send
    nothing, so none was dropped; and both sides are equal."""
    pair.sync("-R", "-1")
    begin = len(pair.log_of(channel="witness"))
    people = [Person(pair, user, number) for number, user in enumerate(USERS)]
    for person in people:
        person.begin()
    programs = [{"stock": STOCK, "ours": None}[name] for name in pair.settings.clients.split(",")]
    restarts = collections.Counter()
    try:
        for program in programs:
            follow_for(pair, program, 60 * pair.settings.minutes / len(programs), people, restarts)
    finally:
        for person in people:
            person.going = False
    for person in people:
        person.join()
    lines = pair.log_of(channel="witness")[begin:]
    follow_for(pair, programs[-1], 0, people, restarts)
    expect(pair.is_drained(), "the log is not done:", pair.log_of("log-run"), pair.log_of())
    astray = replay(pair, lines)
    expect(not astray or STOCK in programs, "deleted mailboxes were left under another name:", astray)
    pair.expect_equal(*USERS)
    done = sum((person.done for person in people), collections.Counter())
    return "seed %d, %s: %s; %d lines; the stock client was started again %d times, and left %d deleted mailboxes astray" % (
        pair.settings.seed, pair.settings.clients, ", ".join("%s %d" % each for each in sorted(done.items())),
        len(lines.splitlines()), restarts[STOCK], len(astray))


def follow_for(pair, program, seconds, people, restarts):
    """A client at work for some time, and then, once people rest, until the log is done. As the
    Cyrus master does, it is started again if it ends: the stock one does after a failed run."""
    end = time.monotonic() + seconds
    deadline = end + 300
    while True:
        with pair.follow("-d", 1 if program else 0, program=program) as client:
            def is_over():
                return client.has_ended() or time.monotonic() >= end and (
                    any(person.going for person in people) or pair.is_drained())
            wait_until(is_over, lambda: "the log is done: %s\n%s" % (pair.log_of("log-run"), client.text()[-2000:]),
                       deadline - time.monotonic())
            if any(person.trouble for person in people):
                raise Failure("\n".join(str(person.trouble) for person in people if person.trouble))
            if not client.has_ended():
                client.shut_down()
                return
            restarts[program] += 1
            expect(program, "our client has ended:", client.text()[-3000:])
        time.sleep(0.2)


def replay(pair, lines):
    """All lines as one log: nothing is left to be sent, but for mailboxes that were deleted or whose
    user was, whose names are returned. If the stock client meets a deletion that is under way, it
    may let the replica delete the mailbox, which names what is left of it by its own clock."""
    path = pair.dir + "/replay"
    with open(path, "w", encoding="utf-8") as file:
        file.write(lines)
    pair.master.hand_over(path)
    shown = pair.sync("-v", "-R", "-f", path).stdout.splitlines()
    sent = [line for line in shown if line.startswith(("MAILBOX ", "RENAME ", "UNMAILBOX ", "FULLMAILBOX ", "  "))]
    gone = re.compile(r"(DELETED\.)?user\.guest|DELETED\.")
    left = [line for line in sent if not gone.match(line.split()[1])]
    expect(not left, "lines of the log were dropped, this was left to be done:", left[:20])
    return sorted({line.split()[1] for line in sent})


class Person(threading.Thread):
    """One user at work: everything that clients, lmtpd and administrators do, by chance."""

    def __init__(self, pair, user, number):
        super().__init__(name=user)
        self.pair, self.user, self.going, self.trouble = pair, user, True, None
        self.rng = random.Random("%d %s" % (pair.settings.seed, user))
        self.mail, self.admin = Mail(pair.master, user), Mail(pair.master)
        self.done, self.boxes, self.made = collections.Counter(), ["INBOX"], 0
        self.friend = USERS[number - 1]
        self.guest, self.guest_is_here = "guest%d" % number, False

    def begin(self):
        self.pair.make_user(self.user)
        self.start()

    def run(self):
        steps = [(self.arrive, 8), (self.append, 3), (self.flag, 6), (self.move, 4), (self.copy, 2), (self.expunge, 2),
                 (self.make, 2), (self.rename, 2), (self.delete, 1), (self.subscribe, 2), (self.grant, 2),
                 (self.annotate, 1), (self.look, 2), (self.script, 1), (self.come_and_go, 1)]
        try:
            while self.going:
                step = self.rng.choices([step for step, _ in steps], [weight for _, weight in steps])[0]
                if step() not in (None, False):         # else it was refused
                    self.done[step.__name__] += 1
                time.sleep(self.rng.uniform(0, 0.1))
            self.mail.close()
            self.admin.close()
        except (labimap.ImapError, OSError) as error:
            self.trouble = "%s: %s: %s" % (self.user, type(error).__name__, error)

    def some(self):
        return self.rng.choice(self.boxes)

    def enter(self):
        self.mail.select(self.some())

    def number(self):
        return self.rng.randrange(1, 12)

    def arrive(self):
        self.made += 1
        deliver(self.pair.master, self.user, message("%s-%d" % (self.user, self.made), self.rng.choice((0, 0, 3000, 200000))))
        return True

    def append(self):
        self.made += 1
        self.mail.append(self.some(), "%s-%d" % (self.user, self.made), self.rng.choice(("", "\\Seen", "\\Draft $x")))
        return True

    def flag(self):
        self.enter()
        return self.mail.attempt("STORE %d %sFLAGS (%s)" % (
            self.number(), self.rng.choice("+-"), self.rng.choice(("\\Seen", "\\Flagged", "\\Answered $k", "NonJunk"))))

    def move(self):
        self.enter()
        return self.mail.attempt("MOVE %d " % self.number(), quote(self.some()))

    def copy(self):
        self.enter()
        return self.mail.attempt("COPY %d:%d " % (self.number(), self.number()), quote(self.some()))

    def expunge(self):
        self.enter()
        self.mail.attempt("STORE %d +FLAGS (\\Deleted)" % self.number())
        return self.mail.attempt("EXPUNGE")

    def make(self):
        """A new mailbox, often with the name of one that was renamed or deleted."""
        name = "b%d" % self.rng.randrange(6)
        if name not in self.boxes and self.mail.attempt("CREATE ", name) is not None:
            self.boxes.append(name)
            return True
        return False

    def rename(self):
        old, new = self.some(), "b%d" % self.rng.randrange(6)
        if old == "INBOX" or new in self.boxes or self.mail.attempt("RENAME ", old, " ", new) is None:
            return False
        self.boxes[self.boxes.index(old)] = new
        return True

    def delete(self):
        """imapd names what it deletes by the second, and refuses the same name twice."""
        name = self.some()
        if name == "INBOX" or self.mail.attempt("DELETE ", name) is None:
            return False
        self.boxes.remove(name)
        return True

    def subscribe(self):
        return self.mail.attempt(self.rng.choice(("SUBSCRIBE ", "UNSUBSCRIBE ")), self.some())

    def grant(self):
        return self.mail.attempt("SETACL ", self.some(), " %s %s" % (self.friend, self.rng.choice(("lrs", "lrswi", '""'))))

    def annotate(self):
        value = '"%d"' % self.number() if self.rng.random() < 0.7 else "NIL"
        return self.mail.attempt("SETMETADATA ", self.some(), " (/shared/comment %s)" % value)

    def look(self):
        """What a friend reads in a mailbox that is not his is remembered elsewhere."""
        self.enter()
        return self.mail.attempt("FETCH %d BODY[]" % self.number())

    def script(self):
        sieve = labimap.Sieve(self.pair.master.sieve, "cyrus", "secret", self.user)
        sieve.put("s%d" % self.rng.randrange(3), SCRIPT % self.number(), active=self.rng.random() < 0.5)
        sieve.close()
        return True

    def come_and_go(self):
        """Another user is made, gets mail, and is removed again by and by."""
        name = "user/" + self.guest
        if self.guest_is_here:
            self.admin.command("SETACL %s cyrus lrswipkxtecdan" % name)
            self.guest_is_here = self.admin.attempt("DELETE ", name) is None
            return not self.guest_is_here
        self.admin.create(name)
        self.guest_is_here = True
        deliver(self.pair.master, self.guest, message("welcome-" + self.guest))
        return True
