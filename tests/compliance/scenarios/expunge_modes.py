"""When the files and records of expunged messages go, by the option expunge_mode."""
import os

from csync import Annotation
from harness import scenario
from mail import mail
from state import directories


def expunge_some(s):
    """Messages expunged by updates and by EXPUNGE, some never seen alive; a delta follows."""
    box = s.box()
    records = [box.append(mail(n), annotations=[Annotation("/comment", "note %d" % n)]) for n in range(6)]
    with s.csync() as session:
        session.create(box)
        for record in records[1:3]:
            box.expunge(record)
        gone = box.append(mail("never here"))
        box.expunge(gone)
        session.ok(session.update(box, [*records[1:3], gone]))
        session.ok(session.get("FULLMAILBOX", box.name))
        session.ok(session.apply("EXPUNGE", {"MBOXNAME": box.name, "UNIQUEID": box.uniqueid, "UID": [4]}))
        session.ok(session.get("FULLMAILBOX", box.name))
        box.records = [r for r in box.records if r not in (records[1], records[2], records[3], gone)]
        since = box.state()
        box.touch(records[0], ["\\Seen"])
        session.ok(session.update(box, [records[0]], since))
        session.ok(session.line("NOOP"))
    return box


def files_left(s, box):
    [path] = directories(s.replica, box.name, box.uniqueid).values()
    return sorted(name for name in os.listdir(path) if name[:-1].isdigit())


@scenario(live=False, odd=True)
def expunge_semidelayed(s):
    """semidelayed: the files go at once, the records stay."""
    with s.configured("expunge_mode: semidelayed"):
        box = expunge_some(s)
        s.require(files_left(s, box) == ["1.", "5.", "6."], files_left(s, box))


@scenario(live=False, odd=True)
def expunge_immediate(s):
    """immediate: files and records go at once."""
    with s.configured("expunge_mode: immediate"):
        box = expunge_some(s)
        s.require(files_left(s, box) == ["1.", "5.", "6."], files_left(s, box))


@scenario(live=False, odd=True)
def expunge_delayed(s):
    """delayed, the default: files and records stay, but for what never had a file."""
    with s.configured("expunge_mode: delayed"):
        box = expunge_some(s)
        s.require(files_left(s, box) == ["1.", "2.", "3.", "4.", "5.", "6."], files_left(s, box))


@scenario(live=False)
def expunge_mode_changed(s):
    """A message expunged under delayed keeps its file when the mode becomes immediate, until it is expired."""
    box = s.box()
    records = [box.append(mail(n)) for n in range(3)]
    with s.csync() as session:
        session.create(box)
        box.expunge(records[0])
        session.ok(session.update(box, [records[0]]))
    with s.configured("expunge_mode: immediate"):
        with s.csync() as session:
            since = box.state()
            box.expunge(records[1])
            session.ok(session.update(box, [records[1]], since))
            session.ok(session.get("FULLMAILBOX", box.name))
        s.require(files_left(s, box) == ["1.", "3."], files_left(s, box))
