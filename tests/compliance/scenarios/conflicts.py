"""Both sides changed: the stock client and the server must find their way together."""
import time

from harness import scenario
from mail import mail


def set_up(s, count=3, folders=()):
    s.make_user(folders=folders)
    for number in range(count):
        s.append("INBOX", mail(number))
    s.sync_user()


@scenario()
def uid_conflict(s):
    """Both sides gave the same UID to different messages: renumbering and copy-back."""
    set_up(s)
    s.append("INBOX", mail("on master"))
    s.append("INBOX", mail("on replica"), where=s.replica)
    s.sync("-u", s.user)
    s.equal()


@scenario()
def uid_conflict_of_several(s):
    """Three different messages on either side under the same UIDs, with flags."""
    set_up(s)
    for number in range(3):
        s.append("INBOX", mail("m%d" % number), "\\Seen" if number else "")
        s.append("INBOX", mail("r%d" % number), "\\Flagged" if number else "$kept", where=s.replica)
    s.sync("-u", s.user)
    s.equal()


@scenario()
def copy_back(s):
    """A message that exists only on the replica comes back (FULLMAILBOX, FETCH)."""
    set_up(s)
    s.append("INBOX", mail("only here"), "\\Answered", where=s.replica)
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Seen)")
    s.sync("-u", s.user)
    s.equal()


@scenario()
def same_message_on_both_sides(s):
    """Both sides appended the same message, at different times."""
    set_up(s)
    s.append("INBOX", mail("same"))
    # The records differ in a time that has whole seconds; by chance it is the same one.
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.02)
    s.append("INBOX", mail("same"), where=s.replica)
    s.sync("-u", s.user)
    s.equal()


@scenario()
def flags_on_replica(s):
    """Flags changed only on the replica: the higher modseq wins."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1:2 +FLAGS (\\Flagged replica)")
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 3 +FLAGS (\\Seen)")
    s.sync("-u", s.user)
    s.equal()


@scenario()
def flags_on_both_sides(s):
    """Flags of the same message changed on both sides."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Flagged)")
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Answered)")
        imap.command("STORE 1 +FLAGS (\\Draft)")
    s.sync("-u", s.user)
    s.equal()


@scenario()
def expunged_on_replica(s):
    """Expunged only on the replica."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 2 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 2 +FLAGS (\\Seen)")
    s.sync("-u", s.user)
    s.equal()


@scenario()
def mailbox_only_on_replica(s):
    """A mailbox made on the replica alone stays (no tombstone on the master)."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("CREATE Extra")
    s.append("Extra", mail("x"), where=s.replica)
    s.sync("-u", s.user)


@scenario()
def same_name_on_both_sides(s):
    """A mailbox of the same name, made separately and empty on the replica, is replaced."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("CREATE Both")
    with s.imap() as imap:
        imap.command("CREATE Both")
    s.append("Both", mail("m"))
    s.sync("-u", s.user)
    s.equal()


@scenario()
def same_name_with_messages_on_both_sides(s):
    """The same, but both hold messages: refused, and nothing is lost on either side."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("CREATE Both")
    s.append("Both", mail("r"), where=s.replica)
    with s.imap() as imap:
        imap.command("CREATE Both")
    s.append("Both", mail("m"))
    s.sync("-u", s.user, status=None)


@scenario(sound="ours")
def no_copyback(s):
    """-O: the replica's own message does not come back, lower modseqs are forced."""
    set_up(s)
    s.append("INBOX", mail("only here"), where=s.replica)
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Seen)")
    s.sync("-O", "-u", s.user, status=None)


@scenario(options=["delete_mode: immediate"])
def no_copyback_takes_over_name(s):
    """-O: a mailbox of another id under the same name is replaced though it holds messages."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("CREATE Both")
    s.append("Both", mail("r"), where=s.replica)
    with s.imap() as imap:
        imap.command("CREATE Both")
    s.append("Both", mail("m"))
    s.sync("-O", "-u", s.user, status=None)
    s.equal()


@scenario()
def lower_modseq_on_master(s):
    """The replica was changed more often than the master."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("SELECT INBOX")
        for _ in range(5):
            imap.command("STORE 1 +FLAGS (\\Seen)")
            imap.command("STORE 1 -FLAGS (\\Seen)")
    s.append("INBOX", mail("m"))
    s.sync("-u", s.user)
    s.equal()


@scenario()
def replica_lost_and_found(s):
    """The replica's user is removed altogether and synchronised again."""
    set_up(s, folders=["Work"])
    s.append("Work", mail("w"))
    with s.admin(s.replica) as admin:
        admin.command("SETACL user/%s cyrus lrswipkxtecda" % s.user)
        admin.command("DELETE user/" + s.user)
        # seen once, on a busy machine: imapd lists nothing
        for _ in range(5):
            names = admin.command('LIST "" "*%s*"' % s.user)
            if names:
                break
            time.sleep(0.2)
        s.require(len(names) == 2 and all(b"DELETED/" in name[0] for name in names), names)
    # within the second of the deletion it goes one way or another, with the stock server too
    time.sleep(1.1)
    s.sync("-u", s.user, status=None)
    s.sync("-u", s.user, status=None)


@scenario()
def annotation_on_replica(s):
    """Annotations of a message and a mailbox changed on the replica alone."""
    set_up(s)
    with s.imap(where=s.replica) as imap:
        imap.command("SELECT INBOX")
        imap.command('STORE 1 ANNOTATION (/comment (value.shared "replica"))')
        imap.command('SETMETADATA INBOX (/shared/comment "replica")')
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 2 +FLAGS (\\Seen)")
    s.sync("-u", s.user)
    s.equal()


@scenario(sound="ours")
def uidvalidity_higher_on_replica(s):
    """A UIDVALIDITY that the replica has higher is taken over by the client."""
    set_up(s, folders=["Work"])
    s.append("Work", mail("w"))
    s.sync_user()
    with s.csync() as session:
        answer = session.get("MAILBOXES", ["user.%s.Work" % s.user])
        item = answer.values("MAILBOX")[0]
        values = {k.decode(): v for k, v in item.pairs}
        values["UIDVALIDITY"] = int(values["UIDVALIDITY"]) + 5000
        values["RECORD"] = []
        session.ok(session.apply("MAILBOX", values, "(UIDVALIDITY raised)"))
    s.append("Work", mail("w2"))
    s.sync("-u", s.user)
    s.equal()
