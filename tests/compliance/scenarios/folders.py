"""Mailboxes made, renamed and deleted on the master, replicated by the stock sync_client."""
import time

from harness import scenario
from mail import mail


@scenario()
def rename(s):
    """A mailbox with messages and a child is renamed."""
    s.make_user(folders=["Old", "Old/Child"])
    s.append("Old", mail(1), "\\Seen")
    s.append("Old/Child", mail(2))
    s.sync_user()
    with s.imap() as imap:
        imap.command("RENAME Old New")
    s.sync_user()
    s.equal()


@scenario()
def rename_into_deeper_level(s):
    """A mailbox moves below another one, and up again."""
    s.make_user(folders=["A", "B"])
    s.append("A", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("RENAME A B/A")
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("RENAME B/A C")
    s.append("C", mail(2))
    s.sync_user()
    s.equal()


@scenario()
def rename_nested(s):
    """A tree of three levels, renamed twice at different levels before one synchronisation."""
    s.make_user(folders=["T", "T/1", "T/1/2", "T/1/2/3"])
    for number, box in enumerate(["T", "T/1", "T/1/2", "T/1/2/3"]):
        s.append(box, mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("RENAME T/1/2 T/1/two")
        imap.command("RENAME T Tree")
    s.sync_user()
    s.equal()


@scenario()
def rename_chain(s):
    """A becomes B while B becomes C."""
    s.make_user(folders=["A", "B"])
    s.append("A", mail(1))
    s.append("B", mail(2))
    s.sync_user()
    with s.imap() as imap:
        imap.command("RENAME B C")
        imap.command("RENAME A B")
    s.sync_user()
    s.equal()


@scenario()
def rename_swap(s):
    """Two mailboxes swap their names; the stock client of 3.6 gives up on the cycle."""
    s.make_user(folders=["A", "B"])
    s.append("A", mail(1))
    s.append("B", mail(2))
    s.sync_user()
    with s.imap() as imap:
        imap.command("RENAME A X")
        imap.command("RENAME B A")
        imap.command("RENAME X B")
    ours = s.pair.our_client
    s.sync("-u", s.user, status=0 if ours else None)
    if ours:
        s.equal()


@scenario()
def delete(s):
    """A mailbox is deleted (delayed: it becomes DELETED...)."""
    s.make_user(folders=["Gone", "Stays"])
    s.append("Gone", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("DELETE Gone")
    s.sync_user()
    s.equal()


@scenario()
def delete_and_recreate(s):
    """A mailbox is deleted and another one takes its name."""
    s.make_user(folders=["Box"])
    s.append("Box", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("DELETE Box")
        imap.command("CREATE Box")
    s.append("Box", mail(2), "\\Flagged")
    s.sync_user()
    s.equal()


@scenario()
def delete_and_recreate_unsynced(s):
    """Deleted and made again twice, with a mailbox the replica never saw in between."""
    s.make_user(folders=["Box"])
    s.append("Box", mail(1))
    s.sync_user()
    with s.imap() as imap:
        for _ in range(2):
            imap.command("DELETE Box")
            imap.command("CREATE Box")
            # the names of deleted mailboxes tell them apart by the second
            time.sleep(1.1)
    s.append("Box", mail(3))
    s.sync_user()
    s.equal()


@scenario()
def delete_for_good(s):
    """Delayed deletes are purged on the master (cyr_expire -D 0): the replica gets UNMAILBOX."""
    s.make_user(folders=["Gone"])
    s.append("Gone", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("DELETE Gone")
    s.sync_user()
    s.master.tool("cyr_expire", "-E", "1", "-D", "0", "-u", s.user)
    s.sync_user()
    s.equal()


@scenario()
def name_of_deleted_reused_by_rename(s):
    """A mailbox takes over the name of a deleted one."""
    s.make_user(folders=["A", "B"])
    s.append("A", mail(1))
    s.append("B", mail(2))
    s.sync_user()
    with s.imap() as imap:
        imap.command("DELETE A")
        imap.command("RENAME B A")
    s.sync_user()
    s.equal()


@scenario()
def parents_made_with_the_child(s):
    """Creating a mailbox three levels down makes the levels above, which are then used."""
    s.make_user(folders=["Deep/er/still"])
    s.append("Deep/er/still", mail(1))
    s.sync_user()
    s.equal()
    s.append("Deep/er", mail(2))
    s.sync_user()
    s.equal()


ODD_NAMES = ["with space", "a.b.c", "plus+and-minus", "[brackets]", "(parens)", "&AOQ-&APY-", "R&-D", "~tilde", "'apos'",
             "x\"y", "back\\slash", "100%", "star*", "curly{brace}", "semi;colon", "comma,", "equal=", "#hash", "$dollar",
             "at@home", "UPPER", "upper", "n" * 150, "caret^roof", "pipe|", "<angle>", "que?stion", "trailing.",
             "&ZeVnLIqe-"]


@scenario()
def odd_names(s):
    """Mailboxes with every odd character that the master lets pass, also as a parent."""
    s.make_user()
    with s.imap() as imap:
        made = [name for name in ODD_NAMES if imap.try_command("CREATE ", b'"' + name.replace("\\", "\\\\").replace(
            '"', '\\"').encode() + b'"') is not None]
        s.note("made: " + " ".join(made))
        for name in made:
            imap.try_command("CREATE ", b'"' + name.encode() + b'/child"')
    for number, name in enumerate(made):
        s.append(name, mail(number))
    s.sync_user()
    s.equal()
    s.require(len(made) >= 20, "the master made only %d of the odd names" % len(made))


@scenario()
def special_use(s):
    """Mailboxes with special uses, which are private annotations."""
    s.make_user()
    with s.imap() as imap:
        for use in ("Drafts", "Sent", "Trash", "Junk", "Archive"):
            imap.command("CREATE %s (USE (\\%s))" % (use, use))
    s.sync_user()
    s.equal()


@scenario()
def many_mailboxes(s):
    """Eighty mailboxes at once, then half of them gone."""
    s.make_user()
    with s.imap() as imap:
        for number in range(80):
            imap.command("CREATE box%03d" % number)
    s.append("box041", mail(1))
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        for number in range(0, 80, 2):
            imap.command("DELETE box%03d" % number)
    s.sync_user()
    s.equal()


@scenario(slow=True, state=False)
def ten_thousand_mailboxes(s):
    """One user with 10,000 mailboxes."""
    s.make_user()
    with s.imap() as imap:
        for number in range(10000):
            imap.command("CREATE m%02d%s%02d" % (number // 100, "/" if number % 100 else "x", number % 100))
    s.sync_user()
    s.require_memory_below(96)
    s.equal(sieve=False)


@scenario()
def user_renamed(s):
    """A whole user gets another name (rolling, as the log says it)."""
    s.make_user(folders=["Work", "Work/Deep"])
    s.append("Work", mail(1))
    s.append("INBOX", mail(2))
    with s.imap() as imap:
        imap.command("SUBSCRIBE Work")
    s.sync_user()
    s.log_lines()
    new = s.user + "new"
    s.users.append(new)
    with s.admin() as admin:
        admin.command("RENAME user/%s user/%s" % (s.user, new))
    s.sync_log(status=None)
    s.sync("-u", new, status=None)
    s.equal([new])


@scenario()
def user_removed(s):
    """A user's INBOX is deleted on the master; UNUSER is sent by the log."""
    s.make_user(folders=["Work"])
    s.append("Work", mail(1))
    with s.imap() as imap:
        imap.command("SUBSCRIBE Work")
    s.sync_user()
    s.log_lines()
    with s.admin() as admin:
        admin.command("SETACL user/%s cyrus lrswipkxtecda" % s.user)
        admin.command("DELETE user/" + s.user)
    s.sync_log(status=None)


@scenario()
def user_without_inbox_at_master(s):
    """sync_client -u for a user that the master does not know leaves the replica alone."""
    s.sync("-u", s.user, status=None)


@scenario()
def mailbox_mode(s):
    """sync_client -m with names of mailboxes: one known, one new, one that is nowhere."""
    s.make_user(folders=["Known", "New"])
    s.append("Known", mail(1))
    s.sync("-m", "user/%s" % s.user, "user/%s/Known" % s.user)
    s.append("Known", mail(2))
    s.append("New", mail(3))
    s.sync("-m", "user/%s/Known" % s.user, "user/%s/New" % s.user, "user/%s/Nowhere" % s.user, status=None)
    s.sync_user()
    s.equal()


@scenario()
def mailbox_before_inbox(s):
    """sync_client -m with a mailbox whose owner's INBOX the replica does not have: refused."""
    s.make_user(folders=["Work"])
    s.append("Work", mail(1))
    s.sync("-m", "user/%s/Work" % s.user, status=None)


@scenario()
def shared_mailbox(s):
    """A mailbox that belongs to no user."""
    name = "shared" + s.user
    with s.admin() as admin:
        admin.command("CREATE " + name)
        admin.command("CREATE %s/sub" % name)
        admin.command("SETACL %s anyone lrsip" % name)
        message = mail(1)
        admin.command("SETACL %s cyrus lrswipkxtecda" % name)
        admin.command('APPEND %s () "01-Jan-2020 00:00:00 +0000" {%d+}\r\n' % (name, len(message)), message)
    s.extra_mailboxes = [name, name + ".sub"]
    s.sync("-m", name, name + "/sub")
    with s.admin() as admin:
        admin.command("RENAME %s/sub %s/below" % (name, name))
    s.extra_mailboxes[1] = name + ".below"
    s.sync("-m", name, name + "/below", name + "/sub", status=None)


@scenario()
def log_of_a_working_day(s):
    """The lines of the sync log after appends, flags, moves, renames, deletes: fed to -R -f."""
    s.make_user(folders=["Work", "Old"])
    s.append("INBOX", mail(1))
    s.sync_log()
    s.equal()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Seen $label)")
        imap.command("COPY 1 Work")
        imap.command("CREATE Third")
        imap.command("RENAME Work Done")
        imap.command("DELETE Old")
        imap.command("SUBSCRIBE Done")
        imap.command("SETACL Done anyone lrs")
        imap.command("SETMETADATA Done (/shared/comment \"done\")")
    s.append("Third", mail(2))
    s.sync_log()
    s.equal()
