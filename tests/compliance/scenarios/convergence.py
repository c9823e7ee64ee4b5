"""What a replica keeps beside the messages: it becomes what the master says, from whatever it was."""
from csync import Annotation, Box
from harness import scenario
from mail import mail


def of_user(s, user, number, below=""):
    """The model of another user's mailbox."""
    if user not in s.users:
        s.users.append(user)
    return Box("user." + user + ("." + below if below else ""), s.definition.unique_id(number), user + "\tlrswipkxtecdan\t")


def renamer(session):
    def rename(old, new, partition="default"):
        return session.apply("RENAME", {"OLDMBOXNAME": old, "NEWMBOXNAME": new, "PARTITION": partition})
    return rename


@scenario(live=False, options=["reverseacls: yes"])
def reverse_acls(s):
    """reverseacls: rights given, changed, taken; the mailbox renamed, set aside, another user's, back, removed."""
    friend, other = s.user + "friend", s.user + "other"
    inbox, box = s.box(), s.box("Shared", 2)
    full = "%s\tlrswipkxtecdan\t" % s.user
    with s.csync() as session:
        rename = renamer(session)
        session.create(inbox)
        session.create(of_user(s, friend, 3))
        session.create(box)
        for acl in (full + friend + "\tlrs\t", full + friend + "\tlr\t" + other + "\tl\tgroup:x\tlrs\tanyone\tp\t",
                    full + other + "\tl\t-" + friend + "\tl\t", full + friend + "\tlrs\t"):
            box.acl, box.highestmodseq = acl, box.highestmodseq + 1
            box.foldermodseq = box.highestmodseq
            session.ok(session.update(box, label=acl.replace("\t", " ")))
            session.ok(session.get("MAILBOXES", [box.name]))
        session.ok(rename(box.name, inbox.name + ".Renamed"))
        session.ok(rename(inbox.name + ".Renamed", "DELETED.%s.6B0294F8" % box.name))
        session.ok(rename("DELETED.%s.6B0294F8" % box.name, "user.%s.Taken" % friend))
        session.ok(session.get("USER", friend))
        session.ok(rename("user.%s.Taken" % friend, box.name))
        box.acl, box.highestmodseq = full + other + "\tlrs\t", box.highestmodseq + 1
        session.ok(session.update(box, label="(back, for another one)"))
    with s.configured("delete_mode: immediate"), s.csync() as session:
        session.ok(session.apply("UNMAILBOX", box.name))
    s.users.append(other)


@scenario(live=False)
def folder_modseqs(s):
    """FOLDERMODSEQ left out, lower, higher than all others; CREATEDMODSEQ higher and lower: as the update says."""
    inbox, box = s.box(), s.box("Work", 2)
    with s.csync() as session:
        session.create(inbox)
        session.ok(session.update(box, label="(without FOLDERMODSEQ)", FOLDERMODSEQ=...))
        for more in ({"FOLDERMODSEQ": 2}, {"FOLDERMODSEQ": ...}, {"FOLDERMODSEQ": 1}, {"FOLDERMODSEQ": 90}, {"FOLDERMODSEQ": 3},
                     {"CREATEDMODSEQ": 5}, {"CREATEDMODSEQ": 2}):
            box.highestmodseq += 1
            session.ok(session.update(box, label=str(sorted(more.items())).replace("Ellipsis", "left out"), **more))
            session.ok(session.get("MAILBOXES", [box.name]))
        box.highestmodseq, box.foldermodseq = 200, 200
        session.ok(session.update(box))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def recent_and_pop3_go_back(s):
    """RECENT and POP3 fields become what the update says, also lower than they are, and beyond LAST_UID."""
    box = s.box()
    for number in range(3):
        box.append(mail(number))
    with s.csync() as session:
        session.create(box)
        for more in ({"RECENTUID": 3, "RECENTTIME": 1700000100, "POP3_LAST_LOGIN": 1700000200, "POP3_SHOW_AFTER": 1700000300},
                     {"RECENTUID": 1, "RECENTTIME": 1600000100, "POP3_LAST_LOGIN": 1600000200, "POP3_SHOW_AFTER": 1600000300},
                     {"RECENTUID": 99, "RECENTTIME": 4294967295}, {"LAST_APPENDDATE": 1}, {}):
            since = box.state()
            box.highestmodseq += 1
            session.ok(session.update(box, [], since, label=str(sorted(more.items())), **more))
            session.ok(session.get("MAILBOXES", [box.name]))


@scenario(live=False)
def names_in_a_circle(s):
    """Three mailboxes take each other's names by way of a fourth; updates then find each of them under its own."""
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        boxes = [s.box(name, number) for number, name in enumerate(("A", "B", "C"), 2)]
        for box in boxes:
            for count in range(box is boxes[0], 3):
                box.append(mail("%s %d" % (box.name, count)))
            session.create(box)
        a, b, c = [box.name for box in boxes]
        for old, new in ((a, a + "-way"), (b, a), (c, b), (a + "-way", c)):
            session.ok(rename(old, new))
        for box, name in zip(boxes, (c, a, b)):
            box.name = name
            since = box.state()
            box.touch(box.records[0], ["\\Flagged"])
            session.ok(session.update(box, [box.records[0]], since))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def name_reused_across_users(s):
    """A mailbox goes to another user, another one takes its name and goes the same way; the first comes home."""
    other = s.user + "2"
    with s.csync() as session:
        rename = renamer(session)
        session.create(s.box())
        session.create(of_user(s, other, 2))
        first, second = s.box("Work", 3), s.box("Work", 4)
        first.append(mail(1), annotations=[Annotation("/comment", "mine", s.user)])
        second.append(mail(2))
        session.create(first)
        session.ok(rename(first.name, "user.%s.Work" % other))
        session.create(second)
        session.no(rename(second.name, "user.%s.Work" % other), "NO")
        session.ok(rename("user.%s.Work" % other, "user.%s.Old" % other))
        session.ok(rename(second.name, "user.%s.Work" % other))
        session.ok(rename("user.%s.Old" % other, first.name))
        since = first.state()
        first.touch(first.records[0], ["\\Seen"])
        session.ok(session.update(first, [first.records[0]], since))
        session.no(session.update(second, label="(under the name of the first)"), "NO IMAP_MAILBOX_MOVED")
        session.ok(session.get("USER", other))


@scenario(live=False)
def quota_moves_with_the_mailbox(s):
    """A mailbox moves between users who both have a quota, and to one who has none: each root counts what is below it."""
    other, third = s.user + "2", s.user + "3"
    with s.csync() as session:
        rename = renamer(session)
        inbox = s.box()
        inbox.append(mail("of the first"))
        session.create(inbox)
        theirs = of_user(s, other, 2)
        theirs.append(mail("of the second"))
        session.create(theirs)
        session.create(of_user(s, third, 3))
        box = s.box("Work", 4)
        box.append(mail("moves", body="x" * 5000), annotations=[Annotation("/comment", "y" * 50)])
        session.create(box)
        for name in (inbox.name, theirs.name):
            limits = {"ROOT": name, "LIMIT": 10, "STORAGE": 10, "MESSAGE": 9, "X-ANNOTATION-STORAGE": 8, "X-NUM-FOLDERS": 7, "MODSEQ": 2}
            session.ok(session.apply("QUOTA", limits))
        session.ok(rename(box.name, "user.%s.Work" % other))
        for name in (inbox.name, theirs.name):
            session.ok(session.get("QUOTA", name))
        session.ok(rename("user.%s.Work" % other, "user.%s.Work" % third))
        session.ok(rename("user.%s.Work" % third, box.name))
        since = box.state()
        box.expunge(box.records[0])
        session.ok(session.update(box, [box.records[0]], since))


@scenario()
def replica_follows_sessions_of_its_own(s):
    """Sessions on the replica change RECENT, \\Seen and the seen state; the next synchronisation makes both the same."""
    s.make_user(folders=["Work"])
    s.append("INBOX", mail(1))
    s.append("Work", mail(2))
    s.sync_user()
    for mailbox in ("INBOX", "Work"):
        with s.imap(where=s.replica) as imap:
            imap.command("SELECT ", mailbox)
            imap.command("FETCH 1 (FLAGS)")
    s.append("INBOX", mail(3))
    with s.imap() as imap:
        imap.command("SELECT Work")
        imap.command(r"STORE 1 +FLAGS (\Seen $mine)")
        imap.command("SELECT INBOX")
    s.sync_user()
    s.equal()
