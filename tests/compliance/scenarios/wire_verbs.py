"""GET and APPLY by hand, but for MAILBOX: RESERVE, MESSAGE, FETCH, EXPUNGE, RENAME, seen and so on."""
import hashlib

import csync
from csync import Annotation, File
from harness import scenario
from mail import mail


def two_boxes(s, session, count=3):
    """INBOX with messages, and an empty mailbox."""
    inbox, other = s.box(), s.box("other", 2)
    for number in range(count):
        inbox.append(mail(number))
    session.create(inbox)
    session.create(other)
    return inbox, other


@scenario(live=False)
def reserve(s):
    """RESERVE finds messages in the named mailboxes; they can be used without an upload, until RESTART."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        guids = [r.guid for r in inbox.records]
        unknown = "00000000000000000000000000000000000000ff"
        ask = {"PARTITION": "default", "MBOXNAME": [inbox.name, "user.nosuch"], "GUID": guids + [unknown]}
        session.ok(session.line("RESTART"))
        session.ok(session.apply("RESERVE", ask))
        for number in range(3):
            other.append(mail(number))
        session.ok(session.update(other, label="(with reserved files)"))
        session.ok(session.line("RESTART"))
        session.ok(session.apply("RESERVE", {**ask, "MBOXNAME": []}))
        session.ok(session.apply("RESERVE", {**ask, "GUID": []}))
        session.ok(session.apply("RESERVE", {**ask, "MBOXNAME": [other.name]}))
        for broken in ({**ask, "GUID": ["xyz"]}, {k: v for k, v in ask.items() if k != "PARTITION"},
                       {k: v for k, v in ask.items() if k != "GUID"}, {k: v for k, v in ask.items() if k != "MBOXNAME"}):
            session.no(session.apply("RESERVE", broken), "NO")


@scenario(live=False)
def reserve_of_expunged(s):
    """A message whose record is expunged can still be reserved while its file is there."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        inbox.expunge(inbox.records[0])
        session.ok(session.update(inbox))
        session.ok(session.line("RESTART"))
        session.ok(session.apply("RESERVE", {"PARTITION": "default", "MBOXNAME": [inbox.name], "GUID": [inbox.records[0].guid]}))
        other.append(mail(0))
        session.ok(session.update(other))


@scenario(live=False)
def upload_forms(s):
    """MESSAGE with nothing, with what is no file, twice the same file, and a file nobody uses."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        session.ok(session.apply("MESSAGE", []))
        session.ok(session.apply("MESSAGE", ["atom", None]))
        session.ok(session.apply("MESSAGE", [File(mail(7)), File(mail(7))], "(twice)"))
        session.ok(session.apply("MESSAGE", [File(mail(8))], "(unused)"))
        session.ok(session.apply("MESSAGE", [File(mail(9), guid=hashlib.sha1(mail(9)).hexdigest().upper())], "(GUID in capitals)"))
        inbox.append(mail(7))
        inbox.append(mail(9))
        session.ok(session.update(inbox))


@scenario(live=False)
def file_missing(s):
    """A live record whose file was never sent, or was sent before RESTART (the stock server aborts)."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        session.ok(session.apply("MESSAGE", [File(mail(7))], "(then RESTART)"))
        session.ok(session.line("RESTART"))
        inbox.append(mail(7))
        session.update(inbox)
    with s.csync() as session:
        session.ok(session.get("FULLMAILBOX", inbox.name))


@scenario(live=False)
def file_damaged(s):
    """A file whose content is not what its GUID says (the stock server aborts when it is used)."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        guid = hashlib.sha1(mail(7)).hexdigest()
        session.apply("MESSAGE", [File(mail(8), guid=guid)], "(other content)")
        inbox.append(mail(7))
        session.update(inbox)
    with s.csync() as session:
        session.ok(session.get("FULLMAILBOX", inbox.name))
        session.ok(session.upload(inbox))
        session.ok(session.update(inbox))


@scenario(live=False)
def file_for_unknown_partition(s):
    """A file for a partition that is not configured (the stock server dies)."""
    with s.csync() as session:
        two_boxes(s, session)
        session.apply("MESSAGE", [File(mail(7), partition="nosuch")])
    with s.csync() as session:
        session.ok(session.line("NOOP"))


@scenario(live=False)
def get_forms(s):
    """GET of what is there, what is not, lists and single names, NIL and empty."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session, 1)
        session.ok(session.get("USER", s.user))
        session.ok(session.get("USER", "nobody"))
        session.ok(session.get("USER", ""))
        session.ok(session.get("META", s.user))
        session.ok(session.get("META", "nobody"))
        session.ok(session.get("MAILBOXES", [other.name, "user.nobody", inbox.name, other.name]))
        session.ok(session.get("MAILBOXES", []))
        session.ok(session.get("MAILBOXES", inbox.name))
        session.ok(session.get("UNIQUEIDS", [other.uniqueid, "nosuchid", inbox.uniqueid]))
        session.ok(session.get("UNIQUEIDS", inbox.uniqueid))
        session.no(session.get("FULLMAILBOX", "user.nobody"), "NO IMAP_MAILBOX_NONEXISTENT")
        session.ok(session.get("QUOTA", inbox.name))
        session.ok(session.get("QUOTA", "user.nobody"))
        session.ok(session.get("ANNOTATION", inbox.name))
        session.ok(session.get("ANNOTATION", "user.nobody"))


@scenario(live=False)
def fetch(s):
    """GET FETCH of a message, with wrong GUID, UID, mailbox, partition and missing keys."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        record = inbox.records[1]
        ask = {"MBOXNAME": inbox.name, "PARTITION": "default", "UNIQUEID": inbox.uniqueid, "GUID": record.guid, "UID": 2}
        answer = session.ok(session.get("FETCH", ask))
        s.require(answer.values("MESSAGE")[0].data == record.message, "not the message")
        session.get("FETCH", {**ask, "GUID": inbox.records[0].guid})
        session.no(session.get("FETCH", {**ask, "UID": 77}), "NO IMAP_MAILBOX_NONEXISTENT")
        session.no(session.get("FETCH", {**ask, "UNIQUEID": "nosuchuniqueid0000000000"}), "NO")
        for key in ask:
            session.no(session.get("FETCH", {k: v for k, v in ask.items() if k != key}), "NO")


@scenario(live=False)
def expunge_by_uid(s):
    """APPLY EXPUNGE is silent: flags and CRC change, modseqs do not."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        ask = {"MBOXNAME": inbox.name, "UNIQUEID": inbox.uniqueid, "UID": [2]}
        session.ok(session.apply("EXPUNGE", ask))
        session.ok(session.get("FULLMAILBOX", inbox.name))
        session.ok(session.apply("EXPUNGE", {**ask, "UID": [77, 3]}))
        session.apply("EXPUNGE", {**ask, "UID": [1, 78]})
        session.apply("EXPUNGE", {**ask, "UID": []})
        session.no(session.apply("EXPUNGE", {**ask, "UNIQUEID": "wrongid00000000000000000"}), "NO")
        session.no(session.apply("EXPUNGE", {**ask, "MBOXNAME": "user.nobody"}), "NO")
        for key in ask:
            session.no(session.apply("EXPUNGE", {k: v for k, v in ask.items() if k != key}), "NO")
        session.ok(session.get("FULLMAILBOX", inbox.name))


@scenario(live=False)
def rename_by_hand(s):
    """APPLY RENAME: a mailbox, one with children, onto an existing name, unknown ones, to DELETED."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        child = s.box("other.child", 3)
        session.create(child)
        name = inbox.name

        def rename(old, new, **more):
            return session.apply("RENAME", {"OLDMBOXNAME": old, "NEWMBOXNAME": new, "PARTITION": "default",
                                            "UIDVALIDITY": 1600000000, **more})
        session.ok(rename(other.name, name + ".renamed"))
        session.ok(session.get("USER", s.user))
        session.no(rename(other.name, name + ".again"), "NO")
        session.no(rename(name + ".renamed", name + ".other.child"), "NO")
        session.no(rename(name + ".renamed", name + ".renamed"), "NO")
        session.no(rename("user.nobody.x", name + ".y"), "NO IMAP_MAILBOX_NONEXISTENT")
        session.ok(rename(child.name, "DELETED.%s.other.child.6B0294F8" % name))
        session.ok(session.get("USER", s.user))
        session.ok(session.apply("LOCAL_RENAME", {"OLDMBOXNAME": name + ".renamed", "NEWMBOXNAME": name + ".local", "PARTITION": "default"}))
        session.no(session.apply("RENAME", {"OLDMBOXNAME": name + ".local"}), "NO")
        session.ok(session.get("USER", s.user))


@scenario(live=False, options=["delete_mode: immediate"])
def unmailbox(s):
    """APPLY UNMAILBOX: at once; then again; of a parent; of an unknown name; and LOCAL_UNMAILBOX."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        child = s.box("other.child", 3)
        other.append(mail(1))
        session.ok(session.upload(other))
        session.ok(session.update(other))
        session.create(child)
        session.ok(session.apply("UNMAILBOX", other.name))
        session.ok(session.get("USER", s.user))
        session.apply("UNMAILBOX", other.name)
        session.ok(session.apply("LOCAL_UNMAILBOX", child.name))
        session.apply("UNMAILBOX", child.name)
        session.no(session.apply("UNMAILBOX", "user.nobody.never"), "NO IMAP_MAILBOX_NONEXISTENT")
        session.ok(session.get("USER", s.user))


@scenario(live=False, options=["delete_mode: immediate"])
def name_used_again(s):
    """A mailbox is removed and another one takes its name, and the old id another name."""
    with s.csync() as session:
        _, other = two_boxes(s, session)
        session.ok(session.apply("UNMAILBOX", other.name))
        second = s.box("other", 3)
        second.append(mail(5))
        session.create(second)
        session.update(s.box("elsewhere", 2), label="(the id of the removed one)")
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def subscriptions_by_hand(s):
    """SUB and UNSUB, of mailboxes that do not exist too; LSUB in GET META."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        for name in (other.name, inbox.name, inbox.name + ".no such", "user.nobody.x"):
            session.ok(session.apply("SUB", {"USERID": s.user, "MBOXNAME": name}))
        session.ok(session.apply("SUB", {"USERID": s.user, "MBOXNAME": other.name}, "(again)"))
        session.ok(session.get("META", s.user))
        session.ok(session.apply("UNSUB", {"USERID": s.user, "MBOXNAME": inbox.name}))
        session.ok(session.apply("UNSUB", {"USERID": s.user, "MBOXNAME": "user.never"}))
        session.no(session.apply("SUB", {"USERID": s.user}), "NO")
        session.no(session.apply("SUB", {"MBOXNAME": inbox.name}), "NO")
        session.ok(session.get("META", s.user))


@scenario(live=False)
def seen_by_hand(s):
    """SEEN entries, stored as they come, replaced, for mailboxes that are not there."""
    with s.csync() as session:
        two_boxes(s, session)
        entry = {"USERID": s.user, "UNIQUEID": "someuniqueid000000000001", "LASTREAD": 1700000000, "LASTUID": 5,
                 "LASTCHANGE": 1700000001, "SEENUIDS": "1:3,5"}
        session.ok(session.apply("SEEN", entry))
        session.ok(session.apply("SEEN", {**entry, "UNIQUEID": "someuniqueid000000000002", "SEENUIDS": "", "LASTUID": 0}))
        session.ok(session.get("META", s.user))
        session.ok(session.apply("SEEN", {**entry, "LASTUID": 9, "SEENUIDS": "1:9"}))
        session.ok(session.get("META", s.user))
        for key in entry:
            session.no(session.apply("SEEN", {k: v for k, v in entry.items() if k != key}), "NO")


@scenario(live=False)
def seen_nil(s):
    """SEENUIDS NIL (the stock server crashes)."""
    with s.csync() as session:
        two_boxes(s, session)
        session.apply("SEEN", {"USERID": s.user, "UNIQUEID": "someuniqueid000000000001", "LASTREAD": 1, "LASTUID": 5,
                               "LASTCHANGE": 1, "SEENUIDS": None})
    with s.csync() as session:
        session.ok(session.get("META", s.user))


@scenario(live=False)
def quota_by_hand(s):
    """QUOTA with one and all resources, unlimited, new names, without MODSEQ; UNQUOTA."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        for limits in ({"LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 3}, {"LIMIT": 2000, "STORAGE": 2000, "MESSAGE": 50, "MODSEQ": 4},
                       {"LIMIT": 4294967295, "X-ANNOTATION-STORAGE": 70, "X-NUM-FOLDERS": 9, "MODSEQ": 5},
                       {"LIMIT": 4294967295, "MODSEQ": 6}, {"LIMIT": 500, "STORAGE": 500}):
            session.ok(session.apply("QUOTA", {"ROOT": inbox.name, **limits}))
            session.ok(session.get("QUOTA", inbox.name))
        session.ok(session.apply("QUOTA", {"ROOT": other.name, "LIMIT": 77, "STORAGE": 77, "MODSEQ": 9}))
        session.ok(session.get("USER", s.user))
        session.ok(session.apply("UNQUOTA", other.name))
        session.ok(session.apply("UNQUOTA", other.name))
        session.ok(session.apply("UNQUOTA", "user.never"))
        session.no(session.apply("QUOTA", {"LIMIT": 5}), "NO")
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def quota_usage_by_updates(s):
    """Usage follows appends, expunges and annotations of updates; a limit does not refuse them."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        session.ok(session.apply("QUOTA", {"ROOT": inbox.name, "LIMIT": 1, "STORAGE": 1, "MESSAGE": 2, "MODSEQ": 3}))
        inbox.append(mail(7, body="x" * 3000), annotations=[Annotation("/comment", "y" * 40)])
        session.ok(session.upload(inbox))
        session.ok(session.update(inbox))
        inbox.expunge(inbox.records[0])
        session.ok(session.update(inbox))


@scenario(live=False)
def server_annotations(s):
    """ANNOTATION and UNANNOTATION of the server; entries that are not permitted."""
    with s.csync() as session:
        entry = {"MBOXNAME": "", "ENTRY": "/vendor/example/" + s.user, "USERID": "", "VALUE": "of the server"}
        session.apply("ANNOTATION", entry)
        answer = session.client.get("ANNOTATION", "")
        mine = [csync.show(v) for _, v in answer.lines if s.user.encode() in v.get("ENTRY")]
        s.note("GET ANNOTATION: %s" % mine)
        session.apply("UNANNOTATION", {k: v for k, v in entry.items() if k != "VALUE"})
        session.no(session.apply("ANNOTATION", {k: v for k, v in entry.items() if k != "VALUE"}), "NO")
        session.no(session.apply("ANNOTATION", {**entry, "MBOXNAME": "user.nobody"}), "NO")


@scenario(live=False)
def mailbox_annotation_command(s):
    """ANNOTATION on a mailbox, which counts as a change of the replica."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        for user, value in (("", "for all"), (s.user, "private"), ("", "changed")):
            session.ok(session.apply("ANNOTATION", {"MBOXNAME": inbox.name, "ENTRY": "/comment", "USERID": user, "VALUE": value}))
        session.ok(session.get("MAILBOXES", [inbox.name]))
        session.ok(session.apply("UNANNOTATION", {"MBOXNAME": inbox.name, "ENTRY": "/comment", "USERID": ""}))
        session.ok(session.get("MAILBOXES", [inbox.name]))


@scenario(live=False, options=["delete_mode: immediate"])
def unuser(s):
    """APPLY UNUSER removes mailboxes, seen, subscriptions, quota; then again; unknown users."""
    with s.csync() as session:
        inbox, other = two_boxes(s, session)
        session.ok(session.apply("SUB", {"USERID": s.user, "MBOXNAME": other.name}))
        session.ok(session.apply("QUOTA", {"ROOT": inbox.name, "LIMIT": 1000, "STORAGE": 1000, "MODSEQ": 3}))
        session.ok(session.apply("RENAME", {"OLDMBOXNAME": other.name, "NEWMBOXNAME": "DELETED.%s.6B0294F8" % other.name,
                                            "PARTITION": "default", "UIDVALIDITY": 5}))
        session.ok(session.apply("UNUSER", s.user))
        session.ok(session.get("USER", s.user))
        session.ok(session.get("META", s.user))
        session.ok(session.apply("UNUSER", s.user))
        session.ok(session.apply("LOCAL_UNUSER", "nobody"))
        again = s.box("", 5)
        again.append(mail(9))
        session.create(again)


@scenario(live=False, state=False)
def sieve_commands(s):
    """SIEVE, ACTIVATE_SIEVE, UNACTIVATE_SIEVE, UNSIEVE and FETCH_SIEVE without SIEVE-MAILBOX."""
    with s.csync(capabilities=()) as session:
        session.create(s.box())

        def put(name, content, **more):
            return session.apply("SIEVE", {"USERID": s.user, "FILENAME": name, "LAST_UPDATE": 1700000000, "CONTENT": content, **more})
        session.ok(put("main.script", "keep;\r\n"))
        session.ok(put("other.script", "discard;\r\n"))
        session.ok(put("main.script", "# changed\r\nkeep;\r\n"))
        session.ok(put("ignored.txt", "keep;\r\n"))
        put("broken.script", "this is no sieve {\r\n")
        session.apply("UNSIEVE", {"USERID": s.user, "FILENAME": "broken.script"})
        session.ok(session.apply("ACTIVATE_SIEVE", {"USERID": s.user, "FILENAME": "main.bc"}))
        session.no(session.apply("ACTIVATE_SIEVE", {"USERID": s.user, "FILENAME": "none.bc"}), "NO")
        session.ok(session.get("META", s.user))
        session.ok(session.get("FETCH_SIEVE", {"USERID": s.user, "FILENAME": "main.script"}))
        session.no(session.get("FETCH_SIEVE", {"USERID": s.user, "FILENAME": "none.script"}), "NO")
        session.ok(session.apply("UNACTIVATE_SIEVE", {"USERID": s.user}))
        session.ok(session.apply("UNSIEVE", {"USERID": s.user, "FILENAME": "other.script"}))
        session.no(session.apply("UNSIEVE", {"USERID": s.user, "FILENAME": "other.script"}), "NO")
        session.ok(session.apply("UNSIEVE", {"USERID": s.user, "FILENAME": "main.bc"}))
        session.ok(session.get("META", s.user))
    with s.sieve(where=s.replica) as sieve:
        s.note("scripts: %r" % sorted(sieve.scripts().items()))


SIEVE_MESSAGE = ("From: <%s@lab.test>\r\nSubject: %s\r\nDate: Wed, 01 Jan 2020 10:00:00 +0000\r\nMessage-ID: <%s@lab.test>\r\n"
                 "Content-Type: application/sieve; charset=utf-8\r\nContent-Length: %d\r\n"
                 "Content-Disposition: attachment;\r\n\tfilename=\"%s.sieve\"\r\nMIME-Version: 1.0\r\n\r\n%s")


def script(user, name, content):
    """A Sieve script as the message that carries it."""
    return (SIEVE_MESSAGE % (user, name, name, len(content), name, content)).encode()


@scenario(live=False)
def sieve_mailbox(s):
    """Scripts as messages of #sieve: put, activated (\\Flagged), replaced, deleted."""
    box = s.box("#sieve", 2)
    box.kind = "f"
    with s.csync() as session:
        session.create(s.box())
        first = box.append(script(s.user, "first", "keep;\r\n"), ["\\Flagged"])
        second = box.append(script(s.user, "second", "discard;\r\n"))
        session.create(box)
        session.ok(session.get("FULLMAILBOX", box.name))
        with s.sieve(where=s.replica) as sieve:
            s.note("scripts: %r" % sorted(sieve.scripts().items()))
        since = box.state()
        box.touch(first, [])
        box.touch(second, ["\\Flagged"])
        session.ok(session.update(box, None, since, "(the other one active)"))
        with s.sieve(where=s.replica) as sieve:
            s.note("scripts: %r" % sorted(sieve.scripts().items()))
        box.expunge(first)
        session.ok(session.update(box, label="(first deleted)"))
        with s.sieve(where=s.replica) as sieve:
            s.note("scripts: %r" % sorted(sieve.scripts().items()))


@scenario(live=False, state=False)
def restore_into_existing(s):
    """RESTORE MAILBOX appends to a mailbox with new UIDs."""
    with s.csync() as session:
        inbox, _ = two_boxes(s, session)
        back = s.box()
        back.append(mail(50), ["\\Seen"])
        back.append(mail(51), annotations=[Annotation("/comment", "back")])
        session.ok(session.upload(back))
        session.ok(session.restore("MAILBOX", {"MBOXNAME": inbox.name, "RECORD": [r.item() for r in back.records]}, "(existing)"))
        answer = session.client.get("FULLMAILBOX", inbox.name)
        s.note(str([(int(r.get("UID")), r.get("GUID").decode(), csync.show(r.get("FLAGS"))) for r in answer.values("MAILBOX")[0].get("RECORD")]))


@scenario(live=False)
def restore_into_new(s):
    """RESTORE MAILBOX makes a mailbox, with the given id, UIDs and modseqs."""
    with s.csync() as session:
        two_boxes(s, session)
        back = s.box("back", 7, uidvalidity=1600000000)
        back.last_uid, back.highestmodseq = 10, 19
        back.append(mail(50), ["\\Seen"])
        back.append(mail(51))
        back.highestmodseq = 30
        session.ok(session.upload(back))
        session.ok(session.restore("MAILBOX", {
            "MBOXNAME": back.name, "UNIQUEID": back.uniqueid, "HIGHESTMODSEQ": 30, "UIDVALIDITY": 1600000000, "PARTITION": "default",
            "ACL": back.acl, "OPTIONS": "P", "RECORD": [r.item() for r in back.records]}, "(new)"))
        answer = session.client.get("FULLMAILBOX", back.name)
        s.note(str([(int(r.get("UID")), int(r.get("MODSEQ")), r.get("GUID").decode()) for r in answer.values("MAILBOX")[0].get("RECORD")]))


@scenario(live=False)
def broken_guid_in_file_literal(s):
    """A file literal with a malformed GUID: the octets must not be read as commands."""
    with s.csync() as session:
        two_boxes(s, session)
        session.send(b"APPLY MESSAGE (%{default xyz 6}\r\nNOOP\r\n)\r\n")
        session.answer("APPLY MESSAGE (malformed GUID)")
    with s.csync() as session:
        session.ok(session.line("NOOP"))


@scenario(live=False)
def nothing_for_nobody(s):
    """Commands about users and mailboxes that do not exist."""
    with s.csync() as session:
        session.apply("SUB", {"USERID": s.user, "MBOXNAME": "user.%s.x" % s.user})
        session.apply("SEEN", {"USERID": s.user, "UNIQUEID": "someuniqueid000000000001", "LASTREAD": 1, "LASTUID": 1, "LASTCHANGE": 1, "SEENUIDS": "1"})
        session.apply("QUOTA", {"ROOT": "user." + s.user, "LIMIT": 5, "STORAGE": 5, "MODSEQ": 1})
        session.apply("UNQUOTA", "user." + s.user)
        session.get("META", s.user)
        session.apply("UNUSER", s.user)
        session.get("FETCH_SIEVE", {"USERID": s.user, "FILENAME": "x.script"})
        session.apply("RENAME", {"OLDMBOXNAME": "user." + s.user, "NEWMBOXNAME": "user.%s2" % s.user, "PARTITION": "default"})
        session.line(b"GET USER \xff\xfe")
