"""The jobs that are measured: what the master holds, what the replica holds already, what is timed."""
import labimap


class Job:
    """One job. Numbers of users, mailboxes and messages are for scale 1."""
    title = ""
    users, mailboxes, messages_each = 1, 20, 1000
    rtt = 0                     # milliseconds
    counted = False             # count round trips where there is no delay: the counting costs time
    rolling = False             # the client follows the log while mail is delivered
    backlog = False             # it begins to when all mail is there
    plain = False               # hide that the server can compress
    synced_before = False       # the replica is up to date before the change
    any_client_before = False   # whichever client brought it up to date
    long = []                   # pairings that --quick leaves out
    spoils_store = False        # the master must be filled anew for each run
    ours = []                   # arguments that only our client knows
    arguments = ["-o", "-A"]

    def __init__(self, scale):
        if self.users > 1:
            self.users = max(2, int(self.users * scale))
        else:
            self.messages_each = max(5, int(self.messages_each * scale))
        self.messages = self.users * self.mailboxes * self.messages_each

    def store(self):
        """What the master must hold: jobs with the same share it."""
        return self.users, self.mailboxes, self.messages_each

    def change(self, master):
        """Changes the master after the first synchronisation (`synced_before`)."""


class First(Job):
    title = "first full sync, one user, 20 mailboxes, compressed as offered"


class FirstPlain(First):
    title = "first full sync, one user, 20 mailboxes, without compression"
    plain = True


class FirstFar(First):
    title = "first full sync, one user, 20 mailboxes, round trip of 100 ms"
    rtt = 100


class Users(Job):
    title = "first full sync, 200 users x 200 messages, ours with --jobs 4"
    users, mailboxes, messages_each = 200, 4, 50
    ours = ["--jobs", "4"]


class UsersFar(Users):
    title = "first full sync, 200 users x 200 messages, round trip of 100 ms, ours with --jobs 4"
    rtt = 100
    long = [("stock", "ours")]


class Unchanged(Job):
    title = "nothing to do: -A over 1,000 users x 5 mailboxes"
    users, mailboxes, messages_each = 1000, 5, 1
    synced_before, any_client_before = True, True


class UnchangedFar(Unchanged):
    title = "nothing to do: -A over 1,000 users x 5 mailboxes, round trip of 20 ms"
    rtt = 20


class Flags(Job):
    title = "flag changes of all messages of one mailbox"
    counted = True
    mailboxes, messages_each = 1, 20000
    synced_before = True
    arguments = ["-o", "-u", "u0001"]

    def change(self, master):
        self.flagged = not getattr(self, "flagged", False)
        with_inbox(master, "UID STORE 1:* %sFLAGS.SILENT (\\Flagged $Bench)" % ("+" if self.flagged else "-"))


class Expunge(Job):
    title = "expunge of half of the messages of one mailbox"
    counted = True
    mailboxes, messages_each = 1, 20000
    synced_before = True
    arguments = ["-o", "-u", "u0001"]
    spoils_store = True

    def change(self, master):
        with_inbox(master, "UID STORE 1:%d +FLAGS.SILENT (\\Deleted)" % (self.messages // 2), "EXPUNGE")


class Rename(Job):
    title = "rename of a mailbox with all messages"
    counted = True
    mailboxes, messages_each = 2, 10000
    synced_before = True
    arguments = ["-o", "-u", "u0001"]

    def change(self, master):
        self.names = getattr(self, "names", ("Sent", "Shipped"))
        imap = labimap.connect(master.imap, "cyrus", "secret", "u0001")
        imap.command("RENAME %s %s" % self.names)
        imap.close()
        self.names = self.names[::-1]


class RollingMost(Job):
    title = "rolling while mail is delivered as fast as LMTP takes it"
    users, mailboxes, messages_each = 20, 1, 5
    rolling, synced_before = True, True
    seconds, deliverers = 20, 2
    spoils_store = True

    def __init__(self, scale):
        super().__init__(1)
        self.seconds = max(5, int(self.seconds * min(1, 2 * scale)))


class Rolling(RollingMost):
    title = "rolling at the rate that stock sustains"
    deliverers = 1


class Backlog(RollingMost):
    title = "catching up with the log of deliveries: the highest rate that the two sustain"
    backlog = True


def with_inbox(master, *commands):
    imap = labimap.connect(master.imap, "cyrus", "secret", "u0001")
    imap.command("SELECT INBOX")
    for command in commands:
        imap.command(command)
    imap.close()


JOBS = {
    "first": First, "first-plain": FirstPlain, "first-100ms": FirstFar,
    "users": Users, "users-100ms": UsersFar,
    "unchanged": Unchanged, "unchanged-20ms": UnchangedFar,
    "flags": Flags, "rename": Rename, "expunge": Expunge,
    "rolling-most": RollingMost, "rolling": Rolling, "backlog": Backlog,
}
