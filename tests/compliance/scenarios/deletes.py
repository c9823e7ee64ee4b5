"""Deletes that arrive by replication: what goes, what stays, and what must not be hit."""
from harness import scenario
from mail import mail


def filled(s, session, below="", number=1, messages=2):
    box = s.box(below, number)
    for count in range(messages):
        box.append(mail("%d %d" % (number, count)))
    session.create(box)
    return box


def unmailbox_of_all_kinds(s):
    """A mailbox with a child, the child, one that is deleted already, and one under DELETED."""
    with s.csync() as session:
        filled(s, session)
        parent, child = filled(s, session, "Work", 2), filled(s, session, "Work.Deep", 3)
        old = filled(s, session, "Old", 4)
        aside = "DELETED.%s.6B0294F8" % old.name
        session.ok(session.apply("RENAME", {"OLDMBOXNAME": old.name, "NEWMBOXNAME": aside, "PARTITION": "default"}))
        session.ok(session.apply("UNMAILBOX", parent.name))
        session.ok(session.apply("UNMAILBOX", child.name))
        session.ok(session.apply("UNMAILBOX", old.name))
        session.ok(session.apply("UNMAILBOX", aside))
        session.ok(session.get("USER", s.user))
        session.no(session.apply("UNMAILBOX", "user.%s.never" % s.user), "NO IMAP_MAILBOX_NONEXISTENT")


@scenario(live=False)
def unmailbox_immediate(s):
    """With delete_mode immediate UNMAILBOX removes a mailbox at once."""
    with s.configured("delete_mode: immediate"):
        unmailbox_of_all_kinds(s)


@scenario(live=False, only="ours")
def unmailbox_delayed(s):
    """With delete_mode delayed a living mailbox is set aside, with its messages; one under DELETED goes."""
    with s.configured("delete_mode: delayed"):
        unmailbox_of_all_kinds(s)
        with s.csync() as session:
            kept = [item.get("MBOXNAME").decode() for key, item in session.ok(session.get("USER", s.user)).lines
                    if key == b"MAILBOX" and item.get("MBOXNAME").startswith(b"DELETED.")]
            s.require(sorted(name.rsplit(".", 1)[0] for name in kept) == [
                "DELETED.user.%s.Work" % s.user, "DELETED.user.%s.Work.Deep" % s.user], kept)
            for name in kept:
                full = session.ok(session.get("FULLMAILBOX", name))
                s.require(len(full.lines[0][1].get("RECORD")) == 2, "no messages in " + name)


def unuser_with_everything(s):
    with s.csync() as session:
        inbox = filled(s, session)
        filled(s, session, "Work", 2)
        session.ok(session.apply("SUB", {"USERID": s.user, "MBOXNAME": inbox.name}))
        session.ok(session.apply("QUOTA", {"ROOT": inbox.name, "LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 9}))
        for _ in range(2):
            session.ok(session.apply("UNUSER", s.user))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def unuser_immediate(s):
    """With delete_mode immediate UNUSER removes mailboxes and files at once; twice does no harm."""
    with s.configured("delete_mode: immediate"):
        unuser_with_everything(s)


@scenario(live=False, only="ours")
def unuser_delayed(s):
    """With delete_mode delayed a user's mailboxes are set aside, all with the same time; the user can come back,
    however often UNUSER was sent."""
    with s.configured("delete_mode: delayed"):
        unuser_with_everything(s)
        with s.csync() as session:
            kept = [item.get("MBOXNAME").decode() for key, item in session.ok(session.get("USER", s.user)).lines if key == b"MAILBOX"]
            s.require(len(kept) == 2 and len({name.rsplit(".", 1)[1] for name in kept}) == 1, kept)
            for name in sorted(kept, key=len):
                back = name[len("DELETED."):].rsplit(".", 1)[0]
                session.ok(session.apply("RENAME", {"OLDMBOXNAME": name, "NEWMBOXNAME": back, "PARTITION": "default"}))
            meta = session.ok(session.get("META", s.user))
            s.require([key for key, _ in meta.lines] == [b"LSUB"], meta.show())


@scenario(live=False, only="ours")
def late_delete_by_id(s):
    """UNMAILBOX-ID: a delete that names its mailbox by id does not hit another one of that name."""
    with s.configured("delete_mode: immediate"), s.csync() as session:
        s.require(any("* UNMAILBOX-ID" in str(line) for line in session.banner), "not announced: %r" % session.banner)
        filled(s, session)
        old = filled(s, session, "Work", 2)
        session.ok(session.apply("RENAME", {"OLDMBOXNAME": old.name, "NEWMBOXNAME": old.name + "2", "PARTITION": "default"}))
        new = filled(s, session, "Work", 3)
        late = {"MBOXNAME": old.name, "UNIQUEID": old.uniqueid, "UIDVALIDITY": old.uidvalidity}
        session.no(session.apply("UNMAILBOX", late), "NO IMAP_MAILBOX_MOVED")
        session.no(session.apply("UNMAILBOX", {**late, "UNIQUEID": new.uniqueid, "UIDVALIDITY": 7}), "NO IMAP_MAILBOX_MOVED")
        session.no(session.apply("UNMAILBOX", {"MBOXNAME": old.name}), "NO IMAP_PROTOCOL_BAD_PARAMETERS")
        session.no(session.apply("LOCAL_UNMAILBOX", {**late, "MBOXNAME": "user.%s.never" % s.user}), "NO IMAP_MAILBOX_NONEXISTENT")
        session.ok(session.get("FULLMAILBOX", new.name))
        session.ok(session.apply("LOCAL_UNMAILBOX", {**late, "MBOXNAME": old.name + "2"}))
        session.ok(session.apply("UNMAILBOX", {**late, "UNIQUEID": new.uniqueid}))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def force_belongs_to_its_session(s):
    """FORCE in one session does not force another one, at the same time or later."""
    box = s.box()
    record = box.append(mail(1))
    with s.csync() as first:
        first.create(box)
        since = box.state()
        box.touch(record, ["\\Seen"])
        first.ok(first.update(box, [record], since))
        first.ok(first.apply("FORCE", {}))
        with s.csync() as second:
            second.no(second.update(box, [record], None, "(lower HIGHESTMODSEQ)", HIGHESTMODSEQ=2), "NO IMAP_SYNC_CHECKSUM")
        first.ok(first.update(box, [record], None, "(forced)", LAST_UID=1))
    with s.csync() as third:
        third.no(third.update(box, [record], None, "(lower HIGHESTMODSEQ)", HIGHESTMODSEQ=2), "NO IMAP_SYNC_CHECKSUM")


@scenario(live=False, only="ours")
def replaced_by_force(s):
    """FORCE: a mailbox with messages that another one replaces is set aside; not if the new one cannot be made."""
    with s.csync() as session:
        filled(s, session)
        old = filled(s, session, "Work", 2)
        new = s.box("Work", 3)
        new.append(mail("new"))
        session.ok(session.apply("FORCE", {}))
        session.ok(session.upload(new))
        session.no(session.update(new, label="(unknown partition)", PARTITION="nowhere"), "NO")
        session.no(session.update(new, label="(calendar)", MBOXTYPE="c"), "NO")
        session.no(session.update(new, label="(wrong CRC)", SYNC_CRC=1), "NO IMAP_SYNC_CHECKSUM")
        still = session.ok(session.get("MAILBOXES", [old.name]))
        s.require(still.lines[0][1].get("UNIQUEID").decode() == old.uniqueid, still.show())
        session.ok(session.update(new))
        kept = [item for key, item in session.ok(session.get("USER", s.user)).lines
                if key == b"MAILBOX" and item.get("MBOXNAME").startswith(b"DELETED.")]
        s.require(len(kept) == 1 and kept[0].get("UNIQUEID").decode() == old.uniqueid, kept)


@scenario()
def purge_reaches_replica(s):
    """A mailbox deleted and purged on the master goes from a replica that sets deletes aside."""
    s.make_user(folders=["Gone", "Stays"])
    s.append("Gone", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("DELETE Gone")
    s.sync_user()
    s.log_lines()
    s.master.tool("cyr_expire", "-E", "1", "-D", "0", "-u", s.user)
    s.sync_log()
    s.sync_user()
    s.equal()


