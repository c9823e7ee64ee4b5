#!/usr/bin/env python3
"""Compares the mail that two IMAP servers hold, as their clients see it.

  compare.py 127.0.0.1:21300 127.0.0.1:21310
  compare.py A B --users anna,bert --sieve 127.0.0.1:21302 127.0.0.1:21312

Each user is entered with the administrator's name and password (PLAIN proxy
authorization).  Compared, and the name each has for --ignore and --only:

  mailboxes        names of the mailboxes, with deleted ones (DELETED/...) and shared ones
  attributes       LIST attributes with special use       subscriptions   LSUB
  uidvalidity uidnext highestmodseq recent mailboxid      of each mailbox
  keywords         FLAGS of the mailbox, in their order (only with --strict: the order of
                   the keyword table, and keywords without a message, are a server's own)
  acl quota        as the administrator sees them
  metadata         annotations of mailboxes, private and shared (on Cyrus that includes
                   its sync CRCs and foldermodseq), and a user's counters
  servermetadata   annotations of the server
  uids flags internaldate size modseq body envelope bodystructure
  savedate createdmodseq guid emailid threadid annotations       of each message
  vanished         UIDs of expunged messages (QRESYNC)
  seen             \\Seen of users in mailboxes that others share with them
  sieve            scripts, and which is active (with --sieve A B)

'body' is the SHA-1 of BODY[]; what a server does not offer is left out on both sides.
Left out unless --strict, because a server's own: free space, partition, the time of
the last change of the index file, squat.

Both servers must present mailboxes in the same way (hierarchy separator, altnamespace).
With --users, mailboxes of users not named and shared ones are left out.

Exit status: 0 equal, 1 different, 2 could not compare.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import os
import re
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import labimap  # noqa: E402
from labimap import ImapError, parse, quote  # noqa: E402

OWN_METADATA = re.compile(rb"/(freespace(/.*)?|partition|lastupdate|squat|server|motd|shutdown)$")
# a user's annotations of the server, by their names: the docstring of metadata() says why
USER_METADATA = "/private/comment /private/vendor/cmu/cyrus-imapd/usermodseq /private/vendor/cmu/cyrus-imapd/usercounters"
FIELDS = ("mailboxes attributes subscriptions uidvalidity uidnext highestmodseq recent mailboxid keywords acl quota "
          "metadata servermetadata uids flags internaldate size modseq body envelope bodystructure savedate createdmodseq guid "
          "emailid threadid annotations vanished seen sieve").split()
# FETCH item -> (field, capability that promises it)
ITEMS = {"FLAGS": ("flags", ""), "INTERNALDATE": ("internaldate", ""), "RFC822.SIZE": ("size", ""),
         "MODSEQ": ("modseq", "CONDSTORE"), "ENVELOPE": ("envelope", ""), "BODYSTRUCTURE": ("bodystructure", ""),
         "SAVEDATE": ("savedate", "SAVEDATE"), "CREATEDMODSEQ": ("createdmodseq", "X-CREATEDMODSEQ"),
         "DIGEST.SHA1": ("guid", "DIGEST=SHA1"), "EMAILID": ("emailid", "OBJECTID"),
         "THREADID": ("threadid", "OBJECTID"),
         "ANNOTATION (/* (value.shared value.priv))": ("annotations", "ANNOTATE-EXPERIMENT-1"),
         "BODY.PEEK[]": ("body", "")}
KEYS = {item.split(" ")[0].replace("BODY.PEEK", "BODY").encode(): field for item, (field, _) in ITEMS.items()}


class Side:
    """One of the two servers."""

    def __init__(self, options, number):
        self.endpoint = (options.a, options.b)[number]
        self.admin = (options.admin, options.admin_b or options.admin)[number]
        self.password = (options.password, options.password_b or options.password)[number]
        self.sieve = options.sieve[number] if options.sieve else None

    def connect(self, user=""):
        return labimap.connect(self.endpoint, self.admin, self.password, user)


def capabilities(imap):
    found = set()
    for answer in imap.command("CAPABILITY"):
        found.update(answer[0].upper().decode("ascii", "replace").split()[2:])
    return found


def plain(value):
    """Nested lists as nested tuples, to compare and to print."""
    return tuple(plain(v) for v in value) if isinstance(value, list) else value


def show(value, limit=160):
    def text(v):
        if v is None:
            return "NIL"
        if isinstance(v, (tuple, list, set, frozenset)):
            return "(" + " ".join(text(x) for x in (sorted(v, key=repr) if isinstance(v, (set, frozenset)) else v)) + ")"
        if isinstance(v, dict):
            return "(" + ", ".join("%s %s" % (text(k), text(v[k])) for k in sorted(v)) + ")"
        return v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)
    out = text(value).replace("\r", "\\r").replace("\n", "\\n")
    return out if len(out) <= limit else out[:limit] + "... (%d characters)" % len(out)


def metadata(imap, box, strict, scopes="/private /shared"):
    """{entry: value} of a mailbox or, for '', of the server.

    Asking for all of the server's computes its free space, whatever the scope, after which an imapd of 3.6
    makes unique ids by a generator seeded with the second of that question: two processes
    asked in the same second then give the same ids to different mailboxes.
    """
    found = {}
    try:
        answers = imap.command("GETMETADATA (DEPTH infinity) ", quote(box), " (%s)" % scopes)
    except ImapError as error:
        if "closed" in str(error):
            raise
        return {}
    for answer in answers:
        item = parse(answer)
        if len(item) < 4 or item[1] != b"METADATA" or not isinstance(item[3], list):
            continue
        pairs = item[3]
        for entry, value in zip(pairs[::2], pairs[1::2]):
            if value is not None and (strict or not OWN_METADATA.search(entry)):
                found[bytes(entry)] = bytes(value)
    return found


def is_mailbox(attributes):
    lower = {a.lower() for a in attributes}
    return not lower & {b"\\noselect", b"\\nonexistent"}


def own_and_other(imap, owners):
    """(own mailboxes, others', shared ones) that this user sees, each {name: attributes};
    of others' only those of the owners named, if any are, and no shared ones then."""
    own, other, shared = {}, {}, {}
    prefixes = [[], []]
    for answer in imap.try_command("NAMESPACE") or []:
        item = parse(answer)
        if len(item) >= 5 and item[1] == b"NAMESPACE":
            for number, space in enumerate(item[3:5]):
                prefixes[number] += [bytes(entry[0]) for entry in space or [] if entry[0]]
    for attributes, _, name in imap.list():
        where = own
        for space, names in zip(prefixes, (other, shared)):
            for prefix in space:
                if name.startswith(prefix):
                    owner = name[len(prefix):].split(imap.delimiter)[0].decode("utf-8", "replace")
                    where = names if not owners or (names is other and owner in owners) else {}
        where[name] = attributes
    return own, other, shared


def view_user(side, user, options):
    """What concerns a user as a whole."""
    want, strict = options.want, options.strict
    imap = side.connect(user)
    own, other, shared = own_and_other(imap, options.users.split(",") if options.users else ())
    data = {"mailboxes": {n: is_mailbox(a) for n, a in own.items()},
            "shared": sorted(n for n, a in shared.items() if is_mailbox(a))}
    data["other"] = sorted(n for n, a in other.items() if is_mailbox(a)) + data["shared"]
    if "attributes" in want:
        data["attributes"] = {n: frozenset(a) for n, a in own.items()}
    if "subscriptions" in want:
        data["subscriptions"] = sorted(name for _, _, name in imap.list(verb="LSUB"))
    if "metadata" in want:
        data["metadata"] = {e: v for e, v in metadata(imap, "", strict, USER_METADATA).items()}
    if "seen" in want:
        data["seen"] = {}
        for name in data["other"]:
            if imap.try_command("EXAMINE ", quote(name)) is None:
                continue
            for answer in imap.command("UID SEARCH SEEN"):
                item = parse(answer)
                if len(item) > 1 and item[1] == b"SEARCH":
                    data["seen"][name] = frozenset(item[2:])
        imap.try_command("UNSELECT")
    imap.close()
    if side.sieve and "sieve" in want:
        sieve = labimap.Sieve(side.sieve, side.admin, side.password, user)
        data["sieve"] = sieve.scripts()
        sieve.close()
    return data


def view_mailbox(imap, name, want, items, strict):
    """What one mailbox holds: (facts, {uid: {field: value}}, bytes of bodies)."""
    facts, messages, total = {}, {}, [0]
    imap.command("EXAMINE ", quote(name), handler=lambda s: facts_of(s, facts))
    for answer in imap.try_command("STATUS ", quote(name), " (UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID MESSAGES)") or \
            imap.try_command("STATUS ", quote(name), " (UIDNEXT UIDVALIDITY MESSAGES)") or []:
        item = parse(answer)
        if len(item) >= 4 and item[1] == b"STATUS":
            for key, value in zip(item[3][::2], item[3][1::2]):
                facts[key.decode().lower()] = plain(value)
    if "metadata" in want:
        facts["metadata"] = metadata(imap, name, strict)

    def fetched(segments):
        item = parse(segments)
        if len(item) < 4 or item[2] != b"FETCH":
            return
        pairs, uid, entry = item[3], None, {}
        for key, value in zip(pairs[::2], pairs[1::2]):
            if key == b"UID":
                uid = int(value)
            elif key == b"BODY[]":
                total[0] += len(value or b"")
                entry["body"] = hashlib.sha1(value or b"").hexdigest()
            elif key == b"FLAGS":
                entry["flags"] = tuple(sorted(f for f in value if f != b"\\Recent"))
                if "recent" in want:
                    entry["recent"] = b"\\Recent" in value
            elif key in KEYS:
                entry[KEYS[key]] = plain(value)
        if uid is not None:
            messages.setdefault(uid, {}).update(entry)

    if int(facts.get("messages") or 0):
        imap.command("UID FETCH 1:* (UID ", " ".join(items), ")", handler=fetched)
    if "vanished" in want and imap.qresync:
        def gone(segments):
            match = re.match(rb"\* VANISHED \(EARLIER\) (\S+)", segments[0])
            if match:
                facts.setdefault("vanished", set()).update(uid_set(match.group(1)))
        facts["vanished"] = set()
        imap.try_handler("UID FETCH 1:4294967295 (UID) (CHANGEDSINCE 1 VANISHED)", gone)
    imap.try_command("UNSELECT")
    return facts, messages, total[0]


def uid_set(text):
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        for uid in range(int(first), int(last or first) + 1):
            yield uid


def facts_of(segments, facts):
    line = segments[0]
    match = re.match(rb"\* (\d+) RECENT", line)
    if match:
        facts["recent"] = int(match.group(1))
    if line.startswith(b"* FLAGS "):
        facts["keywords"] = plain(parse([line])[2])


class Imap2(labimap.Imap):
    """A connection that knows which extensions are in use."""
    qresync = False

    def try_handler(self, command, handler):
        try:
            self.command(command, handler=handler)
        except ImapError as error:
            if "closed" in str(error):
                raise


def open_user(side, user):
    host, port = labimap.host_port(side.endpoint)
    imap = Imap2(host, port).login(side.admin, side.password, user)
    imap.qresync = imap.try_command("ENABLE QRESYNC") is not None
    return imap


class Report:
    """Collects differences; at most so many lines per subject."""

    def __init__(self, limit):
        self.limit, self.lines, self.count = limit, [], 0
        self.by_field = collections.Counter()
        self.per = collections.Counter()

    def differ(self, subject, field, a, b):
        self.count += 1
        self.by_field[field] += 1
        self.per[subject, field] += 1
        if self.per[subject, field] <= self.limit:
            self.lines.append("%s: %s: A %s | B %s" % (subject, field, show(a), show(b)))
        elif self.per[subject, field] == self.limit + 1:
            self.lines.append("%s: %s: more of the same (--max)" % (subject, field))

    def mapping(self, subject, field, a, b, absent="(none)"):
        for key in sorted(set(a) | set(b), key=repr):
            if a.get(key, absent) != b.get(key, absent):
                self.differ("%s %s" % (subject, show(key, 200)), field, a.get(key, absent), b.get(key, absent))


def compare_user(task):
    """One user as a whole; returns (report, own mailboxes, shared ones), what both sides have."""
    options, user = task
    report = Report(options.max)
    sides = [Side(options, 0), Side(options, 1)]
    try:
        a, b = (view_user(side, user, options) for side in sides)
    except (ImapError, OSError) as error:
        return "user %s: %s" % (user, error), None, None
    subject = "user " + user
    for name in sorted(set(a["mailboxes"]) ^ set(b["mailboxes"])) if "mailboxes" in options.want else ():
        report.differ("%s %s" % (subject, show(name)), "mailboxes", name in a["mailboxes"], name in b["mailboxes"])
    if a["other"] != b["other"] and "seen" in options.want:
        report.differ(subject, "mailboxes", "others' mailboxes: " + show(sorted(set(a["other"]) - set(b["other"]))),
                      show(sorted(set(b["other"]) - set(a["other"]))))
    both = [n for n in sorted(a["mailboxes"]) if a["mailboxes"][n] and b["mailboxes"].get(n)]
    for field in ("attributes", "metadata", "seen", "sieve"):
        if field in a and field in b:
            keep = both if field == "attributes" else None
            report.mapping(subject, field, {k: v for k, v in a[field].items() if keep is None or k in keep},
                           {k: v for k, v in b[field].items() if keep is None or k in keep})
    if "subscriptions" in a and a["subscriptions"] != b["subscriptions"]:
        only_a, only_b = set(a["subscriptions"]) - set(b["subscriptions"]), set(b["subscriptions"]) - set(a["subscriptions"])
        report.differ(subject, "subscriptions", "only: " + show(only_a), "only: " + show(only_b))
    return report, both, [n for n in a["shared"] if n in b["shared"]]


def compare_mailboxes(task):
    """Some mailboxes of one user."""
    options, user, names = task
    report = Report(options.max)
    sides = [Side(options, 0), Side(options, 1)]
    try:
        imaps = [open_user(side, user) for side in sides]
        common = capabilities(imaps[0]) & capabilities(imaps[1])
        items = [item for item, (field, needs) in ITEMS.items()
                 if (field in options.want or (field == "flags" and "recent" in options.want)) and (not needs or needs in common)]
        if not items:
            items = ["FLAGS"]
        messages = size = 0
        for name in names:
            views = [view_mailbox(imap, name, options.want, items, options.strict) for imap in imaps]
            count = compare_mailbox(report, options, "%s %s" % (user, show(name)), views)
            messages += count
            size += views[0][2]
        for imap in imaps:
            imap.close()
    except (ImapError, OSError) as error:
        return "user %s, %s: %s" % (user, show(names), error), 0, 0
    return report, messages, size


def compare_mailbox(report, options, subject, views):
    (facts_a, messages_a, _), (facts_b, messages_b, _) = views
    for field in ("uidvalidity", "uidnext", "highestmodseq", "recent", "mailboxid", "keywords", "vanished"):
        if field in options.want and field in facts_a and field in facts_b and facts_a[field] != facts_b[field]:
            a, b = facts_a[field], facts_b[field]
            if field == "vanished":
                a, b = a - b, b - a
            report.differ(subject, field, a, b)
    if "metadata" in facts_a:
        sides = ({entry: value for entry, value in facts.get("metadata", {}).items() if entry.decode("utf-8", "replace") not in options.excepted}
                 for facts in (facts_a, facts_b))
        report.mapping(subject, "metadata", *sides)
    if "uids" in options.want:
        for uid in sorted(set(messages_a) ^ set(messages_b)):
            report.differ(subject, "uids", uid if uid in messages_a else "-", uid if uid in messages_b else "-")
    for uid, a in messages_a.items():
        b = messages_b.get(uid)
        if b is None or a == b:
            continue
        for field in sorted(set(a) | set(b)):
            if field in options.want and a.get(field) != b.get(field):
                # the field last, so that --max counts per mailbox and field
                report.differ(subject, field, "uid %d %s" % (uid, show(a.get(field))), show(b.get(field)))
    return len(messages_a)


def compare_admin(options):
    """What the administrator sees: names, ACLs, quota, the server's annotations."""
    report = Report(options.max)
    trees = []
    for number in (0, 1):
        imap = Side(options, number).connect()
        boxes = {name: is_mailbox(attributes) for attributes, _, name in imap.list()}
        tree = {"mailboxes": {n: ok for n, ok in boxes.items()}, "acl": {}, "quota": {}, "servermetadata": {}}
        mark = imap.delimiter
        users = options.users.split(",") if options.users else None

        def mine(name):
            if users is None:
                return True
            parts = name.split(mark)
            return len(parts) > 1 and parts[0] == b"user" and parts[1].decode("utf-8", "replace") in users

        tree["mailboxes"] = {n: ok for n, ok in tree["mailboxes"].items() if mine(n)}
        for name, usable in tree["mailboxes"].items():
            if not usable or name.startswith(b"DELETED" + mark):
                continue
            if "acl" in options.want:
                for answer in imap.try_command("GETACL ", quote(name)) or []:
                    item = parse(answer)
                    if len(item) > 2 and item[1] == b"ACL":
                        tree["acl"][name] = dict(zip(item[3::2], (bytes(sorted(r)) for r in item[4::2])))
            if "quota" in options.want:
                for answer in imap.try_command("GETQUOTAROOT ", quote(name)) or []:
                    item = parse(answer)
                    if item[1] == b"QUOTAROOT":
                        tree["quota"][name] = plain(item[3:])
                    elif item[1] == b"QUOTA":
                        tree["quota"][b"root " + item[2]] = plain(item[3])
        if "servermetadata" in options.want and users is None:
            tree["servermetadata"] = metadata(imap, "", options.strict)
        imap.close()
        trees.append((tree, mark))
    (a, mark_a), (b, mark_b) = trees
    if "mailboxes" in options.want:
        # the mailboxes of users are compared as the users see them; the rest here
        rest = lambda tree, mark: {n for n in tree["mailboxes"] if not n.startswith(b"user" + mark)}  # noqa: E731
        for name in sorted(rest(a, mark_a) ^ rest(b, mark_b)):
            report.differ("server " + show(name), "mailboxes", name in a["mailboxes"], name in b["mailboxes"])
    for field in ("acl", "quota", "servermetadata"):
        report.mapping("server", field, a[field], b[field])
    users = set()
    for tree, mark in trees:
        for name in tree["mailboxes"]:
            # with domains, user/anna/Sent@example.com is anna@example.com's
            local, _, domain = name.rpartition(b"@")
            inbox = mark.join(local.split(mark)[:2]) + b"@" + domain
            if inbox not in tree["mailboxes"]:
                inbox = mark.join(name.split(mark)[:2])
            if inbox.startswith(b"user" + mark):
                users.add(inbox[len(b"user" + mark):].decode("utf-8", "replace"))
    return report, sorted(users), len([n for n in a["mailboxes"] if not n.startswith(b"user" + mark_a)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="HOST:PORT")
    parser.add_argument("b", metavar="B", help="HOST:PORT")
    parser.add_argument("--admin", default="cyrus")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--admin-b", help="where B's differs")
    parser.add_argument("--password-b")
    parser.add_argument("--users", help="only these, separated by commas (default: all on either side)")
    parser.add_argument("--sieve", nargs=2, metavar=("A", "B"), help="ManageSieve HOST:PORT of each side")
    parser.add_argument("--ignore", default="", help="fields not to compare, separated by commas")
    parser.add_argument("--only", default="", help="only these fields")
    parser.add_argument("--except", dest="excepted", action="append", default=[], metavar="ENTRY",
                        help="an annotation of mailboxes not to compare, since only one version of Cyrus has it (repeatable)")
    parser.add_argument("--no-body", action="store_true", help="do not fetch messages (still compares their GUIDs)")
    parser.add_argument("--strict", action="store_true", help="also annotations that are a server's own")
    parser.add_argument("--max", type=int, default=5, help="lines per mailbox and field (default 5)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--quiet", "-q", action="store_true", help="only the last line")
    options = parser.parse_args()
    named = {f for f in (options.ignore + "," + options.only).split(",") if f}
    if named - set(FIELDS):
        parser.error("no such field: %s (there are: %s)" % (", ".join(sorted(named - set(FIELDS))), ", ".join(FIELDS)))
    options.want = (set(options.only.split(",")) if options.only else set(FIELDS)) - set(options.ignore.split(","))
    if options.no_body:
        options.want.discard("body")
    if not options.strict and "keywords" not in options.only:
        options.want.discard("keywords")

    started = time.monotonic()
    reports, failures = [], []
    mailboxes = messages = size = 0
    try:
        report, users, others = compare_admin(options)
    except (ImapError, OSError) as error:
        print("compare.py: %s" % error, file=sys.stderr)
        return 2
    reports.append(report)
    if options.users:
        users = options.users.split(",")
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as workers:
        tasks, seen_shared = [], set()
        for user, (report, both, shared) in zip(users, workers.map(compare_user, [(options, user) for user in users])):
            if both is None:
                failures.append(report)
                continue
            reports.append(report)
            mailboxes += len(both)
            shared = [name for name in shared if name not in seen_shared]
            seen_shared.update(shared)
            if shared:
                tasks.append((options, user, shared))
            # a user with many mailboxes is shared out among the jobs
            step = max(1, min(20, -(-len(both) // options.jobs)))
            tasks += [(options, user, both[i:i + step]) for i in range(0, len(both), step)]
        for report, count, octets in workers.map(compare_mailboxes, tasks):
            if isinstance(report, str):
                failures.append(report)
                continue
            reports.append(report)
            messages, size = messages + count, size + octets

    differences = sum(r.count for r in reports)
    fields = collections.Counter()
    for report in reports:
        fields.update(report.by_field)
        if not options.quiet:
            for line in report.lines:
                print(line)
    for failure in failures:
        print("could not compare " + failure, file=sys.stderr)
    what = "%d users, %d mailboxes (%d outside users), %d messages, %.1f MB read, %.1f s" % (
        len(users), mailboxes + others, others, messages, size / 1e6, time.monotonic() - started)
    if failures:
        print("NOT COMPARED: %d failures; %s" % (len(failures), what))
        return 2
    if differences:
        print("DIFFERENT: %d differences (%s); %s" % (
            differences, ", ".join("%s %d" % pair for pair in fields.most_common()), what))
        return 1
    print("EQUAL: " + what)
    return 0


if __name__ == "__main__":
    sys.exit(main())
