"""APPLY MAILBOX by hand: every check of algorithm §6, and what is stored."""
import csync
from csync import Annotation, Box, Record
from harness import scenario
from mail import BROKEN_MIME, EIGHT_BIT, LONG_LINES, MANY_RECIPIENTS, NO_BODY, NO_HEADERS, mail, multipart


@scenario(live=False)
def mailbox_created_empty(s):
    """A first update without records makes the mailbox as it says."""
    box = s.box(uidvalidity=1234567890, options="PSD")
    box.highestmodseq, box.createdmodseq, box.foldermodseq = 17, 5, 12
    with s.csync() as session:
        session.create(box)
        session.ok(session.get("MAILBOXES", [box.name]))
        session.ok(session.update(box, label="(again)"))


@scenario(live=False)
def mailbox_created_with_messages(s):
    """Messages of many kinds, with flags, keywords and all times; then the answers about them."""
    box = s.box()
    box.append(mail(1), ["\\Seen", "\\Answered"])
    box.append(multipart(2), ["\\Flagged", "$Forwarded", "Junk"], date=1000000000)
    box.append(EIGHT_BIT, ["\\Draft", "\\Deleted"], savedate=0)
    box.append(BROKEN_MIME, updated=1600000001)
    box.append(NO_HEADERS)
    box.append(NO_BODY)
    box.append(LONG_LINES)
    box.append(MANY_RECIPIENTS)
    with s.csync() as session:
        session.create(box)
        session.ok(session.get("FULLMAILBOX", box.name))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def nul_octets_and_bare_line_feeds(s):
    """Messages with NULs, bare LF and CR, an empty one, one without any line end."""
    box = s.box()
    for message in (b"From: a@b\r\nSubject: nul \0 in it\r\n\r\nbo\0dy\r\n", b"From: a@b\nSubject: bare\n\nlf\nonly\n",
                    b"From: a@b\rSubject: cr\r\rcr\r", b"x", bytes(range(256)) * 8, b"\r\n", b"\0"):
        box.append(message)
    with s.csync() as session:
        session.create(box)
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False, state=False)
def message_of_no_octets(s):
    """A file of length 0."""
    box = s.box()
    box.append(b"")
    with s.csync() as session:
        session.upload(box)
        session.update(box)


@scenario(live=False)
def delta_append(s):
    """New messages in a delta with SINCE keys."""
    box = s.box()
    box.append(mail(1))
    with s.csync() as session:
        session.create(box)
        since = box.state()
        new = [box.append(mail(2), ["\\Seen"]), box.append(mail(3))]
        session.ok(session.upload(box, new))
        session.ok(session.update(box, new, since))


@scenario(live=False)
def delta_flags(s):
    """Flags and keywords changed by deltas, one of them for the first time."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(3)]
    with s.csync() as session:
        session.create(box)
        since = box.state()
        box.touch(records[0], ["\\Seen", "key1", "KEY2"])
        box.touch(records[2], ["\\Deleted", "\\Flagged", "\\Draft", "\\Answered"])
        session.ok(session.update(box, [records[0], records[2]], since))
        since = box.state()
        box.touch(records[0], ["KEY2"])
        session.ok(session.update(box, [records[0]], since))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def delta_expunge(s):
    """Records expunged; the files stay, the records too."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(4)]
    with s.csync() as session:
        session.create(box)
        since = box.state()
        box.expunge(records[1])
        box.expunge(records[3])
        session.ok(session.update(box, [records[1], records[3]], since))
        session.ok(session.update(box, [records[1], records[3]], label="(again, without SINCE)"))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False, odd=True)
def expunged_record_without_file(s):
    """A record that is expunged already when it comes: no file is needed."""
    box = s.box()
    box.append(mail(1))
    gone = box.append(mail(2))
    box.append(mail(3))
    box.expunge(gone)
    with s.csync() as session:
        session.ok(session.upload(box, [r for r in box.records if r is not gone]))
        session.ok(session.update(box))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def since_does_not_match(s):
    """A delta made against another state: IMAP_SYNC_CHANGED, and nothing changes."""
    box = s.box()
    record = box.append(mail(1))
    with s.csync() as session:
        session.create(box)
        since = box.state()
        box.touch(record, ["\\Seen"])
        for key, value in (("SINCE_MODSEQ", 1), ("SINCE_CRC", 12345), ("SINCE_CRC_ANNOT", 999)):
            session.no(session.update(box, [record], {**since, key: value}, key), "NO IMAP_SYNC_CHANGED")
        session.ok(session.update(box, [record], {**since, "SINCE_CRC": 0}, "SINCE_CRC 0"))


@scenario(live=False)
def checksum_mismatch(s):
    """CRCs that do not fit: IMAP_SYNC_CHECKSUM (the stock server keeps the changes all the same)."""
    box = s.box()
    record = box.append(mail(1))
    with s.csync() as session:
        session.create(box)
        since = box.state()
        box.touch(record, ["\\Seen"])
        session.no(session.update(box, [record], since, "SYNC_CRC 1", SYNC_CRC=1), "NO IMAP_SYNC_CHECKSUM")
        session.ok(session.get("FULLMAILBOX", box.name))
        session.ok(session.update(box, label="(complete)"))
        box.touch(record, ["\\Flagged"])
        session.no(session.update(box, label="SYNC_CRC_ANNOT 1", SYNC_CRC_ANNOT=1), "NO IMAP_SYNC_CHECKSUM")
        session.ok(session.update(box, label="CRCs 0", SYNC_CRC=0, SYNC_CRC_ANNOT=0))


@scenario(live=False)
def lower_values(s):
    """HIGHESTMODSEQ, UIDVALIDITY, LAST_UID below the replica's: refused, nothing changes; then forced."""
    box = s.box()
    for number in range(3):
        box.append(mail(number))
    with s.csync() as session:
        session.create(box)
        for key, value in (("HIGHESTMODSEQ", 2), ("UIDVALIDITY", 5), ("LAST_UID", 1)):
            session.no(session.update(box, [], label=key, **{key: value}), "NO IMAP_SYNC_CHECKSUM")
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def record_modseq_lower(s):
    """A record whose MODSEQ is below the replica's: refused."""
    box = s.box()
    record = box.append(mail(1))
    box.touch(record, ["\\Seen"])
    with s.csync() as session:
        session.create(box)
        record.modseq -= 1
        record.flags = []
        box.highestmodseq += 3
        session.no(session.update(box), "NO IMAP_SYNC_CHECKSUM")
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def record_guid_differs(s):
    """The same UID with another GUID: refused, alive or expunged on one side."""
    box = s.box()
    box.append(mail(1))
    gone = box.append(mail(2))
    box.expunge(gone)
    with s.csync() as session:
        session.ok(session.upload(box))
        session.ok(session.update(box))
        other = s.box()
        other.append(mail(8))
        second = other.append(mail(9))
        other.highestmodseq = box.highestmodseq
        session.upload(other)
        session.no(session.update(other, [other.records[0]], label="GUID of a live record"), "NO IMAP_SYNC_CHECKSUM")
        session.no(session.update(other, [second], label="alive, but expunged there"), "NO IMAP_SYNC_CHECKSUM")
        other.expunge(second)
        other.records[0] = box.records[0]
        session.update(other, [second], label="both expunged, GUIDs differ")
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False, odd=True)
def record_resurrected(s):
    """A record that is expunged on the replica comes alive in an update: refused."""
    box = s.box()
    record = box.append(mail(1))
    box.expunge(record)
    with s.csync() as session:
        session.ok(session.update(box))
        box.touch(record, ["\\Seen"])
        session.ok(session.upload(box))
        session.no(session.update(box), "NO IMAP_SYNC_CHECKSUM")


@scenario(live=False)
def record_below_last_uid_unknown(s):
    """A UID below LAST_UID that the replica does not have: alive refused, expunged skipped."""
    box = s.box()
    first = box.append(mail(1))
    box.last_uid = 5
    with s.csync() as session:
        session.ok(session.upload(box))
        session.ok(session.update(box, label="LAST_UID 5"))
        box.highestmodseq += 1
        late = Record(3, box.highestmodseq, mail(3))
        box.records.append(late)
        session.ok(session.upload(box, [late]))
        session.no(session.update(box, label="UID 3 alive"), "NO IMAP_SYNC_CHECKSUM")
        late.flags = ["\\Expunged"]
        session.ok(session.update(box, label="UID 3 expunged"))
        box.records.remove(late)
        session.ok(session.update(box, [first], label="without it"))


@scenario(live=False)
def records_not_ascending(s):
    """Records out of order, or twice the same UID (the stock server aborts)."""
    box = s.box()
    for number in range(3):
        box.append(mail(number))
    item = box.item()
    with s.csync() as session:
        session.ok(session.upload(box))
        session.apply("MAILBOX", {**item, "RECORD": [item["RECORD"][i] for i in (1, 0, 2)]}, "UIDs 2 1 3")
    with s.csync() as session:
        session.ok(session.upload(box))
        session.apply("MAILBOX", {**item, "RECORD": [item["RECORD"][i] for i in (0, 1, 1, 2)]}, "UIDs 1 2 2 3")
    with s.csync() as session:
        session.create(box)


@scenario(live=False)
def unique_id_in_use(s):
    """A new name with the unique id of another mailbox: IMAP_MAILBOX_MOVED."""
    inbox, box = s.box(), s.box("one", 2)
    box.append(mail(1))
    with s.csync() as session:
        session.create(inbox)
        session.create(box)
        other = s.box("two", 2)
        session.no(session.update(other), "NO IMAP_MAILBOX_MOVED")
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def other_unique_id(s):
    """An existing name with another unique id: replaced while empty, refused once it has held messages."""
    inbox, empty, full = s.box(), s.box("empty", 2), s.box("full", 3)
    full.append(mail(1))
    with s.csync() as session:
        for box in (inbox, empty, full):
            session.create(box)
        other = s.box("empty", 4)
        other.append(mail(2))
        session.ok(session.upload(other))
        session.ok(session.update(other, label="instead of the empty one"))
        session.no(session.update(s.box("full", 5), label="instead of the full one"), "NO IMAP_MAILBOX_MOVED")
        session.ok(session.get("USER", s.user))


@scenario(live=False, sound="ours", options=["delete_mode: immediate"])
def forced(s):
    """APPLY FORCE: lower values are taken, another unique id replaces the mailbox; GUIDs still must fit."""
    inbox, box = s.box(), s.box("box", 2)
    records = [box.append(mail(n)) for n in range(3)]
    with s.csync() as session:
        session.create(inbox)
        session.create(box)
        session.ok(session.apply("FORCE", {}))
        lower = s.box("box", 2, uidvalidity=1400000000)
        lower.records, lower.last_uid, lower.highestmodseq = records[:2], 2, 3
        session.update(lower, label="lower values", SYNC_CRC=0, SYNC_CRC_ANNOT=0)
        session.ok(session.get("FULLMAILBOX", box.name))
        other = s.box("box", 3)
        other.append(mail(8))
        session.ok(session.upload(other))
        session.ok(session.update(other, label="another unique id"))
        wrong = s.box("box", 3)
        wrong.append(mail(9))
        session.ok(session.upload(wrong))
        session.no(session.update(wrong, label="another GUID"), "NO IMAP_SYNC_CHECKSUM")
    with s.csync() as session:
        lower = s.box("box", 3)
        lower.highestmodseq = 1
        session.no(session.update(lower, [], label="force is over", LAST_UID=1), "NO IMAP_SYNC_CHECKSUM")


@scenario(live=False)
def message_annotations(s):
    """Annotations of messages: given, replaced, removed; they count in the CRC and in the quota."""
    box = s.box()
    record = box.append(mail(1), annotations=[Annotation("/comment", "for all", "", 3), Annotation("/comment", "mine", "anna", 4)])
    with s.csync() as session:
        session.create(box)
        session.ok(session.apply("QUOTA", {"ROOT": box.name, "LIMIT": 1000, "STORAGE": 1000, "X-ANNOTATION-STORAGE": 50, "MODSEQ": 9}))
        box.touch(record, annotations=[Annotation("/altsubject", "a \"quoted\" 100%\r\nvalue", "anna", 5)])
        session.ok(session.update(box))
        session.ok(session.get("FULLMAILBOX", box.name))
        session.ok(session.get("QUOTA", box.name))
        box.touch(record, annotations=[])
        session.ok(session.update(box))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False, state=False)
def message_annotation_not_in_crc(s):
    """An annotation list that does not fit SYNC_CRC_ANNOT."""
    box = s.box()
    record = box.append(mail(1), annotations=[Annotation("/comment", "x")])
    with s.csync() as session:
        session.ok(session.upload(box))
        _, annotations = box.crcs()
        record.annotations = []
        session.no(session.update(box, label="annotation missing", SYNC_CRC_ANNOT=annotations), "NO IMAP_SYNC_CHECKSUM")


@scenario(live=False)
def mailbox_annotations(s):
    """Annotations of a mailbox are replaced by the list of each update."""
    box = s.box()
    box.annotations = [Annotation("/comment", "one"), Annotation("/comment", "private", s.user),
                       Annotation("/vendor/cmu/cyrus-imapd/expire", "30"), Annotation("/vendor/example/x", "\0\1binary\xff")]
    with s.csync() as session:
        session.create(box)
        session.ok(session.get("MAILBOXES", [box.name]))
        box.annotations = [Annotation("/comment", "changed"), Annotation("/new", "")]
        box.highestmodseq += 1
        session.ok(session.update(box))
        session.ok(session.get("MAILBOXES", [box.name]))
        box.annotations = []
        box.highestmodseq += 1
        session.ok(session.update(box, label="none"))
        session.ok(session.get("MAILBOXES", [box.name]))


@scenario(live=False)
def conversation_ids(s):
    """Thread ids and base thread ids of messages, though this store keeps no conversations."""
    box = s.box()
    record = box.append(mail(1))
    record.annotations = [Annotation("/vendor/cmu/cyrus-imapd/thrid", "0e35718f4f112505")]
    with s.csync() as session:
        session.ok(session.upload(box))
        # up to 3.12 a thread id counts without its leading zeros
        _, annotations = box.crcs()
        annotations ^= csync.crc("1 /vendor/cmu/cyrus-imapd/thrid  0e35718f4f112505")
        annotations ^= csync.crc("1 /vendor/cmu/cyrus-imapd/thrid  e35718f4f112505")
        session.update(box, SYNC_CRC_ANNOT=annotations)
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def acl_options_and_times(s):
    """ACL, options, RECENT and POP3 fields are taken as they come."""
    inbox = s.box()
    with s.csync() as session:
        session.create(inbox)
        for acl, options, more in (("", "", {}), ("anyone\tlrs\t", "S", {"RECENTUID": 4, "RECENTTIME": 1700000001}),
                                   ("a\tlrswipkxtecdan\t-b\tw\tgroup:x y\tlr\t", "PSDA", {"POP3_LAST_LOGIN": 1650000000}),
                                   ("%s\tlrswipkxtecdan\t" % s.user, "PZ9", {"POP3_SHOW_AFTER": 1650000001, "LAST_APPENDDATE": 5})):
            inbox.highestmodseq += 1
            inbox.acl, inbox.options = acl, options
            session.ok(session.update(inbox, label="%r %s" % (acl, options), **more))
            session.ok(session.get("MAILBOXES", [inbox.name]))


@scenario(live=False, sound="ours")
def uidvalidity_raised(s):
    """A higher UIDVALIDITY is taken."""
    box = s.box()
    box.append(mail(1))
    with s.csync() as session:
        session.create(box)
        box.uidvalidity += 1000
        box.highestmodseq += 1
        session.ok(session.update(box, []))
        session.ok(session.get("MAILBOXES", [box.name]))


@scenario(live=False)
def partial_update(s):
    """A batch as old clients send it: CRC 0, lower LAST_UID and HIGHESTMODSEQ; then the rest."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(6)]
    with s.csync() as session:
        session.ok(session.upload(box, records[:3]))
        session.ok(session.update(box, records[:3], label="(first three)", SYNC_CRC=0, SYNC_CRC_ANNOT=..., LAST_UID=3,
                                  HIGHESTMODSEQ=records[2].modseq, LAST_APPENDDATE=0))
        session.ok(session.get("MAILBOXES", [box.name]))
        session.ok(session.upload(box, records[3:]))
        session.ok(session.update(box, records[3:], label="(the rest)"))


@scenario(live=False)
def intermediate_entries(s):
    """Intermediates are entries of the mailbox list only; they become mailboxes, and tombstones come."""
    inbox = s.box()
    middle = {"UNIQUEID": "rawmiddle%015d" % 1, "MBOXNAME": inbox.name + ".mid", "MBOXTYPE": "ei", "HIGHESTMODSEQ": 5,
              "CREATEDMODSEQ": 4, "FOLDERMODSEQ": 5}
    below = s.box("mid.below", 2)
    with s.csync() as session:
        session.create(inbox)
        session.ok(session.apply("MAILBOX", middle))
        session.create(below)
        session.ok(session.get("USER", s.user))
        session.ok(session.get("MAILBOXES", [inbox.name + ".mid"]))
        session.get("FULLMAILBOX", inbox.name + ".mid")
        session.apply("MAILBOX", {**middle, "HIGHESTMODSEQ": 9, "FOLDERMODSEQ": 9}, "(again, higher)")
        session.apply("MAILBOX", {**middle, "MBOXNAME": inbox.name + ".tomb", "MBOXTYPE": "ed",
                                  "UNIQUEID": "rawtomb%017d" % 1}, "(tombstone)")
        session.ok(session.get("USER", s.user))
        session.apply("MAILBOX", {k: v for k, v in middle.items() if k != "HIGHESTMODSEQ"}, "(without HIGHESTMODSEQ)")


@scenario(live=False)
def folder_below_inbox(s):
    """A client's INBOX/a is user.x.INBOX.a where the namespace is the alternative one: nothing is made between."""
    with s.csync() as session:
        session.create(s.box())
        session.create(s.box("INBOX.a", 2))
        session.create(s.box("INBOX.b.c", 3))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def mailbox_types(s):
    """A type that differs from the mailbox's; a #sieve mailbox without and with the capability."""
    inbox = s.box()
    sieve = s.box("#sieve", 2)
    sieve.kind = "f"
    with s.csync(capabilities=()) as session:
        session.create(inbox)
        session.no(session.update(sieve, label="(without SIEVE-MAILBOX)"), "NO")
        session.ok(session.get("USER", s.user))
    with s.csync() as session:
        session.ok(session.update(sieve, label="(with SIEVE-MAILBOX)"))
        session.ok(session.get("USER", s.user))
        inbox.kind, inbox.highestmodseq = "f", 9
        session.no(session.update(inbox, label="(INBOX as Sieve)"), "NO")
    with s.csync(capabilities=()) as session:
        session.ok(session.get("USER", s.user))
        session.ok(session.get("MAILBOXES", [sieve.name]))


@scenario(live=False)
def mailbox_names_odd(s):
    """Names with every printable character, modified UTF-7, deep and long; then all of the user's list."""
    boxes = [s.box()]
    for number, name in enumerate(["a b", "a^b", "[x]", "(y)", "st*ar", "50%", 'q"q', "back\\slash", "{curly}", "~", "&AOQ-",
                                   "pipe|", ";", "'", "x" * 200, ".".join("abcdefghij"), "&"], 2):
        boxes.append(s.box(name, number))
    with s.csync() as session:
        for box in boxes:
            session.update(box)
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def parents_missing(s):
    """A mailbox whose parents do not exist yet."""
    deep = s.box("a.b.c", 2)
    with s.csync() as session:
        session.create(s.box())
        session.update(deep)
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def user_without_inbox(s):
    """A subfolder before its INBOX."""
    with s.csync() as session:
        session.update(s.box("sub", 2))
        session.ok(session.get("USER", s.user))


@scenario(live=False)
def shared_and_domain_names(s):
    """Mailboxes outside users; names that are none."""
    shared = Box("sharedby" + s.user, "rawshared%015d" % 1, "anyone\tlrs\t")
    shared.append(mail(1))
    s.extra_mailboxes = [shared.name]
    with s.csync() as session:
        session.create(shared)
        for name in ("", "user", "user.", ".x", "a..b", "x" * 600, "user.x/y", "a\x7fb", "DELETED", "user..x"):
            box = Box(name, "rawname%017d" % len(name), "")
            session.update(box, label="(name %r)" % name)


@scenario(live=False)
def many_records(s):
    """A thousand records in one update, then all flags changed in one."""
    box = s.box()
    for number in range(1000):
        box.append(mail(number % 50), ["\\Seen"] if number % 3 else [])
    with s.csync() as session:
        session.create(box)
        since = box.state()
        for record in box.records:
            box.touch(record, ["\\Flagged", "k%d" % (record.uid % 7)])
        session.ok(session.update(box, None, since))


@scenario(live=False, slow=True, state=False)
def mailbox_of_200000_messages(s):
    """Two hundred thousand records in one mailbox: by updates of ten thousand, read back, one flag changed."""
    box = s.box()
    messages = [mail(number) for number in range(100)]
    with s.csync(timeout=600) as session:
        for start in range(0, 200000, 10000):
            since = {"SINCE_MODSEQ": box.highestmodseq} if start else None
            new = [box.append(messages[number % 100], ["\\Seen"]) for number in range(start, start + 10000)]
            session.ok(session.upload(box, new))
            answer = session.client.apply("MAILBOX", box.item(new, since))
            s.require(answer.ok, answer.status)
        answer = session.client.get("FULLMAILBOX", box.name)
        s.require(answer.ok and len(answer.values("MAILBOX")[0].get("RECORD")) == 200000, answer.status)
        s.require_memory_below(96)
        box.touch(box.records[123456], ["\\Flagged"])
        session.ok(session.update(box, [box.records[123456]]))
        session.ok(session.get("MAILBOXES", [box.name]))
