"""What is not a message: ACL, quota, annotations, seen, subscriptions, Sieve, options."""
import os

from harness import scenario
from mail import mail

SCRIPT = 'require ["fileinto"];\r\nif header :contains "Subject" "%s" { fileinto "Work"; }\r\n'


@scenario()
def acl(s):
    """Rights given and taken, negative ones, groups, odd identifiers."""
    s.make_user(folders=["Work"])
    s.append("Work", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SETACL Work bert lrs")
        imap.command('SETACL Work "group:staff" lrswi')
        imap.command('SETACL Work "-carl" w')
        imap.command('SETACL Work "dora@other.test" lr')
        imap.command("SETACL INBOX anyone p")
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("DELETEACL Work bert")
        imap.command("SETACL INBOX anyone lrs")
    s.sync_user()
    s.equal()


@scenario()
def acl_only_change_of_empty_mailbox(s):
    """A change of nothing but the ACL, in a mailbox without messages."""
    s.make_user(folders=["Empty"])
    s.sync_user()
    with s.imap() as imap:
        imap.command("SETACL Empty bert lrs")
    s.sync_user()
    s.equal()


@scenario()
def quota(s):
    """A quota root with several limits; usage follows; limits change and go."""
    s.make_user(folders=["Work"])
    s.append("Work", mail(1))
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s (STORAGE 100000 MESSAGE 500)" % s.user)
    s.sync_user()
    s.equal()
    s.append("Work", mail(2, body="x" * 5000 + "\r\n"))
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s (STORAGE 200000 X-ANNOTATION-STORAGE 70 X-NUM-FOLDERS 20)" % s.user)
    s.sync_user()
    s.equal()
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s ()" % s.user)
    s.sync_user()
    s.equal()


@scenario(state=False)
def quota_root_below(s):
    """A root of its own for a subfolder, made after messages came; then messages and a mailbox move between the
    roots. (Stock, master and replica, leave the renamed mailbox with its old root; the validators look at ours.)"""
    s.make_user(folders=["Work", "Work/Big"])
    for number in range(3):
        s.append("Work/Big", mail(number))
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s (STORAGE 100000)" % s.user)
    s.sync_user()
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s/Work (STORAGE 5000)" % s.user)
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("SELECT Work/Big")
        imap.command("UID MOVE 1 INBOX")
        imap.command("RENAME Work/Big Big")
    s.sync_user()
    s.equal(except_lines="/Big: quota:")


@scenario()
def quota_used_by_expunged(s):
    """Expunging gives the quota back."""
    s.make_user()
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s (STORAGE 100000 MESSAGE 100)" % s.user)
    for number in range(4):
        s.append("INBOX", mail(number, body="y" * 3000))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1:2 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.sync_user()
    s.equal()


@scenario()
def annotations_of_mailboxes(s):
    """Shared and private annotations of mailboxes: set, changed, removed; odd values."""
    s.make_user(folders=["Work"])
    s.sync_user()
    with s.imap() as imap:
        imap.command('SETMETADATA Work (/shared/comment "shared 100% note" /private/comment "mine")')
        imap.command("SETMETADATA Work (/shared/vendor/example/bin {6+}\r\na\r\n\"b\\)")
        imap.command("SETMETADATA Work (/private/vendor/example/long {3000+}\r\n" + "z" * 3000 + ")")
        imap.command("SETMETADATA INBOX (/shared/comment \"gr\\\"uess\")")
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command('SETMETADATA Work (/shared/comment NIL /private/comment "changed")')
    s.sync_user()
    s.equal()


@scenario()
def annotations_of_messages(s):
    """Annotations of messages: set, changed, removed, and gone with the message."""
    s.make_user()
    for number in range(3):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command('STORE 1 ANNOTATION (/comment (value.shared "for all" value.priv "for me"))')
        imap.command('STORE 2:3 ANNOTATION (/altsubject (value.priv "other 100% subject"))')
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command('STORE 1 ANNOTATION (/comment (value.shared NIL value.priv "changed"))')
        imap.command("STORE 2 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.sync_user()
    s.equal()


@scenario()
def annotations_of_copied_messages(s):
    """Annotated messages are copied and moved."""
    s.make_user(folders=["Work"])
    for number in range(2):
        s.append("INBOX", mail(number))
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command('STORE 1:2 ANNOTATION (/comment (value.shared "note"))')
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("COPY 1 Work")
        imap.command("MOVE 2 Work")
    s.sync_user()
    s.equal()


@scenario(state=False)
def annotations_of_the_server(s):
    """Annotations of the server itself, which only the log's ANNOTATION line transfers."""
    path = s.master.dir + "/run/annotation-log"

    def seen_by_both():
        views = []
        for where in (s.master, s.replica):
            with s.admin(where) as admin:
                views.append(sorted(repr(a) for a in admin.command('GETMETADATA "" (/shared/comment /shared/admin /shared/vendor/x/y)')))
        return views
    for values in ('(/shared/comment "of the server" /shared/admin "mailto:root@lab.test")',
                   '(/shared/comment NIL /shared/vendor/x/y "v")', "(/shared/admin NIL /shared/vendor/x/y NIL)"):
        with s.admin() as admin:
            admin.command('SETMETADATA "" ' + values)
        with open(path, "w", encoding="ascii") as file:
            file.write('ANNOTATION ""\n')
        os.chmod(path, 0o666)
        s.sync("-R", "-f", path)
        a, b = seen_by_both()
        s.require(a == b, "master %s, replica %s" % (a, b))
        s.note(repr(b))


@scenario()
def seen_by_others(s):
    """Another user's \\Seen in a mailbox of this one's, which is in the other's seen database."""
    other = s.user + "other"
    s.make_user(folders=["Work"])
    s.make_user(other)
    for number in range(5):
        s.append("Work", mail(number))
    with s.imap() as imap:
        imap.command("SETACL Work %s lrsw" % other)
    s.sync_user()
    box = '"Other Users/%s/Work"' % s.user
    with s.imap(other) as imap:
        imap.command("SELECT " + box)
        imap.command("STORE 1:3 +FLAGS (\\Seen)")
    s.sync_user()
    s.sync_user(other)
    s.equal()
    with s.imap(other) as imap:
        imap.command("SELECT " + box)
        imap.command("STORE 2 -FLAGS (\\Seen)")
    s.sync_user()
    s.sync("-s", other)
    s.equal()


@scenario()
def shared_seen(s):
    """A mailbox with the option sharedseen."""
    other = s.user + "other"
    s.make_user(folders=["Work"])
    s.make_user(other)
    for number in range(3):
        s.append("Work", mail(number))
    with s.imap() as imap:
        imap.command("SETACL Work %s lrsw" % other)
        imap.command('SETMETADATA Work (/shared/vendor/cmu/cyrus-imapd/sharedseen "true")')
    with s.imap(other) as imap:
        imap.command('SELECT "Other Users/%s/Work"' % s.user)
        imap.command("STORE 1:2 +FLAGS (\\Seen)")
    s.sync_user()
    s.sync_user(other)
    s.equal()


@scenario()
def subscriptions(s):
    """Subscribed and unsubscribed, also to what does not exist and to odd names."""
    s.make_user(folders=["Work", "a b", "Deep/er"])
    with s.imap() as imap:
        for name in ("INBOX", "Work", "a b", "Deep/er"):
            imap.command('SUBSCRIBE "%s"' % name)
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command('UNSUBSCRIBE "a b"')
        imap.command("DELETE Work")
    s.sync_user()
    s.equal()
    s.log_lines()
    with s.imap() as imap:
        imap.command("UNSUBSCRIBE Deep/er")
        imap.command('SUBSCRIBE "a b"')
    s.sync_log()
    s.equal()


@scenario(state=False)
def sieve_put(s):
    """Scripts stored, replaced, and the first one activated."""
    s.make_user(folders=["Work"])
    with s.sieve() as sieve:
        sieve.put("main", SCRIPT % "one", active=True)
        sieve.put("second", SCRIPT % "two")
    s.sync_user()
    s.equal()
    with s.sieve() as sieve:
        sieve.put("main", SCRIPT % "changed")
    s.sync_user()
    s.equal()


@scenario(state=False)
def sieve_activate(s):
    """Another script becomes the active one, then none is."""
    s.make_user()
    with s.sieve() as sieve:
        sieve.put("one", "keep;\r\n", active=True)
        sieve.put("two", "discard;\r\n")
    s.sync_user()
    with s.sieve() as sieve:
        sieve.command(b'SETACTIVE "two"')
    s.sync_user()
    s.equal()
    with s.sieve() as sieve:
        sieve.command(b'SETACTIVE ""')
    s.sync_user()
    s.equal()


@scenario(state=False)
def sieve_delete(s):
    """Scripts deleted and renamed."""
    s.make_user()
    with s.sieve() as sieve:
        for name in ("one", "two", "three"):
            sieve.put(name, "keep;\r\n# %s\r\n" % name)
    s.sync_user()
    with s.sieve() as sieve:
        sieve.command(b'DELETESCRIPT "two"')
        sieve.command(b'RENAMESCRIPT "three" "drei vier"')
    s.sync_user()
    s.equal()


@scenario(state=False)
def sieve_filters_on_the_promoted_replica(s):
    """The replicated script works: lmtpd on the replica files by it."""
    s.make_user(folders=["Work"])
    with s.sieve() as sieve:
        sieve.put("main", SCRIPT % "filter me", active=True)
    s.sync_user()
    s.deliver(mail(1, subject="please filter me"), where=s.replica)
    with s.imap(where=s.replica) as imap:
        found = imap.command("STATUS Work (MESSAGES)")
    s.require(b"(MESSAGES 1)" in found[0][0], "the replica's lmtpd did not file the message: %r" % found)


@scenario()
def mailbox_options(s):
    """Options of mailboxes: duplicate delivery, POP3 show-after, expire."""
    s.make_user(folders=["Work"])
    with s.imap() as imap:
        imap.command('SETMETADATA Work (/shared/vendor/cmu/cyrus-imapd/duplicatedeliver "true")')
        imap.command('SETMETADATA Work (/shared/vendor/cmu/cyrus-imapd/expire "30")')
        imap.try_command('SETMETADATA INBOX (/shared/vendor/cmu/cyrus-imapd/pop3showafter "01-Jan-2020 00:00:00 +0000")')
    s.sync_user()
    s.equal()


@scenario()
def meta_mode(s):
    """sync_client -s: seen and subscriptions only."""
    s.make_user(folders=["Work"])
    s.sync_user()
    with s.imap() as imap:
        imap.command("SUBSCRIBE Work")
    s.sync("-s", s.user)
    s.equal()


@scenario()
def dotted_user(s):
    """A user id with dots, plus and at sign."""
    user = "anna.maria+x"
    s.make_user(user, folders=["a.b", "Work"])
    s.append("Work", mail(1), user=user)
    with s.imap(user) as imap:
        imap.command("SUBSCRIBE Work")
    s.sync("-u", user)
    s.equal([user])
    s.users = [user]
