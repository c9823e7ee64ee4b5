"""APPLY RENAME at its edges: partitions, the legacy layout, swaps, names used again, whole users."""
from csync import Annotation, Box
from harness import scenario
from mail import mail


def renamer(session):
    """Sends one RENAME of the session."""
    def rename(old, new, partition="default", **more):
        return session.apply("RENAME", {"OLDMBOXNAME": old, "NEWMBOXNAME": new, "PARTITION": partition, **more})
    return rename


def filled(s, session, below, number, messages=2):
    """A mailbox of that many messages, with annotations of its own."""
    box = s.box(below, number)
    for count in range(messages):
        box.append(mail("%d %s %d" % (number, below, count)), ["\\Seen", "$label"] if count else [])
    box.annotations = [Annotation("/comment", below, s.user)]
    session.create(box)
    return box


@scenario(live=False)
def partition_move(s):
    """A mailbox with messages moves to another partition and back; it can be used in between."""
    with s.csync() as session:
        rename = renamer(session)
        inbox = s.box()
        session.create(inbox)
        box = filled(s, session, "Work", 2)
        session.ok(session.apply("QUOTA", {"ROOT": inbox.name, "LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 9}))
        session.no(rename(box.name, box.name, "nowhere"), "NO Unknown error")
        session.ok(rename(box.name, box.name, "second"))
        session.no(rename(box.name, box.name, "second"), "NO Unknown error")
        session.ok(session.get("FULLMAILBOX", box.name))
        session.ok(session.get("FETCH", {"MBOXNAME": box.name, "PARTITION": "second", "UNIQUEID": box.uniqueid,
                                         "GUID": box.records[0].guid, "UID": 1}))
        box.partition = "second"
        new = box.append(mail(7))
        session.ok(session.upload(box, [new]))
        session.ok(session.update(box))
        session.ok(rename(inbox.name, inbox.name, "second"))
        session.ok(rename(inbox.name, inbox.name, "default"))


@scenario(live=False)
def rename_and_partition_at_once(s):
    """One RENAME with another name and another partition; what a client asks next brings either server there."""
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        box = filled(s, session, "Work", 2)
        session.no(rename("user.nobody.x", box.name + "2", "second"), "NO IMAP_MAILBOX_NONEXISTENT")
        session.ok(rename(box.name, box.name + "2", "second"))
        rename(box.name + "2", box.name + "2", "second")


@scenario(live=False, state=False)
def rename_to_unknown_partition(s):
    """A partition that is not configured is found before anything is changed."""
    with s.csync() as session:
        session.create(s.box())
        box = filled(s, session, "Work", 2)
        renamer(session)(box.name, box.name + "2", "nowhere")
        session.ok(session.get("MAILBOXES", [box.name, box.name + "2"]))


@scenario(live=False)
def names_swapped_by_hand(s):
    """Two mailboxes swap their names by way of a third, which 3.12 clients take from the history."""
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        a, b = filled(s, session, "A", 2, 3), filled(s, session, "B", 3, 1)
        session.ok(rename(a.name, a.name + ".old"))
        session.ok(rename(b.name, a.name))
        session.ok(rename(a.name + ".old", b.name))
        a.name, b.name = b.name, a.name
        for box in (a, b):
            since = box.state()
            box.touch(box.records[0], ["\\Flagged"])
            session.ok(session.update(box, [box.records[0]], since))


@scenario(live=False)
def name_taken_twice_by_hand(s):
    """A name is given up by a rename and taken by a new mailbox, twice; the old ones keep what they had."""
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        boxes = []
        for number in range(2, 5):
            boxes.append(filled(s, session, "Work", number, number))
            if number < 4:
                session.ok(rename(boxes[-1].name, "%s.done%d" % (boxes[-1].name, number)))
        late = boxes[0]
        late.name += ".done2"
        since = late.state()
        late.touch(late.records[0], ["\\Answered"])
        session.ok(session.update(late, [late.records[0]], since))
        session.no(rename(late.name, boxes[-1].name), "NO Unknown error")


@scenario(live=False)
def nested_renames_by_hand(s):
    """A tree moves level by level, as a client sends it, below a mailbox that was below it."""
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        top = filled(s, session, "T", 2)
        middle, low = filled(s, session, "T.M", 3), filled(s, session, "T.M.L", 4)
        root = "user." + s.user
        session.ok(rename(low.name, root + ".L"))
        session.ok(rename(top.name, root + ".L.T"))
        session.ok(rename(middle.name, root + ".L.T.M"))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def rename_across_users(s):
    """A mailbox goes to another user, with private annotations of its owner, and comes back under another name."""
    other = s.user + "2"
    s.users.append(other)
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        theirs = Box("user." + other, s.definition.unique_id(5), other + "\tlrswipkxtecdan\t")
        session.create(theirs)
        box = filled(s, session, "Gift", 2)
        session.ok(rename(box.name, theirs.name + ".Gift"))
        session.ok(session.get("USER", other))
        session.ok(rename(theirs.name + ".Gift", box.name + "back"))
        box.name += "back"
        since = box.state()
        box.touch(box.records[0], ["\\Flagged"])
        session.ok(session.update(box, [box.records[0]], since))


@scenario(live=False, sound="ours")
def user_rename_by_hand(s):
    """All mailboxes of a user get another owner; UNUSER of the old name leaves the new user's files alone."""
    new = s.user + "2"
    with s.csync() as session:
        rename = renamer(session)
        inbox = s.box()
        session.create(inbox)
        box = filled(s, session, "Work", 2)
        for name in (inbox.name, box.name):
            session.ok(session.apply("SUB", {"USERID": s.user, "MBOXNAME": name}))
        session.ok(session.apply("SEEN", {"USERID": s.user, "UNIQUEID": s.definition.unique_id(9), "LASTREAD": 5,
                                          "LASTUID": 4, "LASTCHANGE": 3, "SEENUIDS": "1:2"}))
        session.ok(session.apply("QUOTA", {"ROOT": inbox.name, "LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 9}))
        session.ok(rename(inbox.name, "user." + new))
        session.ok(rename(box.name, "user.%s.Work" % new))
        session.ok(session.apply("QUOTA", {"ROOT": "user." + new, "LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 9}))
        session.get("META", s.user)
        session.ok(session.apply("UNUSER", s.user))
        session.ok(session.get("META", new))
    s.users = [new]


@scenario(state=False)
def user_renamed_with_everything(s):
    """A user with subscriptions, seen state, scripts and quota is renamed on the master; the log tells the replica."""
    friend, new = s.user + "friend", s.user + "new"
    s.make_user(folders=["Work", "Work/Deep"])
    s.make_user(friend, folders=["Shared"])
    s.append("Work", mail(1), "\\Seen $mine")
    s.append("INBOX", mail(2))
    s.append("Shared", mail(3), user=friend)
    with s.imap(friend) as imap:
        imap.command("SETACL Shared %s lrs" % s.user)
    with s.imap() as imap:
        imap.command("SUBSCRIBE Work")
        imap.command('SETMETADATA Work (/private/comment "mine")')
        imap.command('SELECT "Other Users/%s/Shared"' % friend)
        imap.command("STORE 1 +FLAGS (\\Seen)")
    with s.sieve() as sieve:
        sieve.put("main", "keep;\r\n", active=True)
    with s.admin() as admin:
        admin.command("SETQUOTA user/%s (STORAGE 100000)" % s.user)
    s.sync_user()
    s.sync_user(friend)
    s.equal()
    s.log_lines()
    s.users.append(new)
    with s.admin() as admin:
        admin.command("RENAME user/%s user/%s" % (s.user, new))
    s.sync_log(status=None)
    s.sync("-u", new, status=None)
    s.users = [new, friend]
    s.equal()
    s.lines = ["passed"]


def make_legacy(s, session):
    """INBOX, and a mailbox with another below it, both with messages, in directories by name."""
    session.create(s.box())
    top = filled(s, session, "Top", 2)
    return top, filled(s, session, "Top.Below", 3)


@scenario(live=False)
def legacy_rename(s):
    """In the legacy layout a rename moves the files: with mailboxes below, to a deeper level, to DELETED."""
    with s.configured("mailbox_legacy_dirs: yes"), s.csync() as session:
        rename = renamer(session)
        top, below = make_legacy(s, session)
        session.ok(rename(top.name, top.name + "2"))
        session.ok(rename(below.name, top.name + "2.Below"))
        session.ok(session.get("USER", s.user))
        top.name += "2"
        since = top.state()
        top.touch(top.records[0], ["\\Flagged"])
        new = top.append(mail(9))
        session.ok(session.upload(top, [new]))
        session.ok(session.update(top, [top.records[0], new], since))
        session.ok(rename(top.name + ".Below", "DELETED.%s.Below.6B0294F8" % top.name))
        session.ok(rename(top.name, "user.%s.deep.er.Top" % s.user))


@scenario(live=False)
def legacy_partition_move(s):
    """In the legacy layout: to another partition, and with another name to another partition."""
    with s.configured("mailbox_legacy_dirs: yes"), s.csync() as session:
        rename = renamer(session)
        top, below = make_legacy(s, session)
        session.ok(rename(top.name, top.name, "second"))
        session.ok(rename(below.name, "user.%s.Moved" % s.user, "second"))
        session.no(rename(top.name, top.name + "x", "nowhere"), "NO")
        session.ok(session.get("USER", s.user))


@scenario()
def legacy_user_renamed(s):
    """A replica with legacy directories follows a user's rename, subscriptions and scripts included."""
    new = s.user + "new"
    with s.configured("mailbox_legacy_dirs: yes"):
        s.make_user(folders=["Work", "Work/Deep"])
        s.append("Work", mail(1))
        s.append("INBOX", mail(2))
        with s.imap() as imap:
            imap.command("SUBSCRIBE Work")
        s.sync_user()
        s.equal()
        s.log_lines()
        s.users.append(new)
        with s.admin() as admin:
            admin.command("RENAME user/%s user/%s" % (s.user, new))
        s.sync_log(status=None)
        s.sync("-u", new, status=None)
        s.users = [new]
        s.equal()
