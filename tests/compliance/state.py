"""What a replica holds, as lines of text that two replicas can be compared by.

Everything is read by stock programs: a stock sync_server on a port of its own (GET USER,
GET FULLMAILBOX), cyr_dbtool, mbexamine, reconstruct and imapd; only directory listings
and the rows of the Sieve database are read directly.  What differs between any two runs
(times of now, random ids) is masked.
"""
import argparse
import datetime
import hashlib
import os
import re
import sqlite3
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
import compare  # noqa: E402
import csync  # noqa: E402
import labimap  # noqa: E402


LEVEL = "\x1f"     # what separates the levels of a name in mailboxes.db


class Mask:
    """Replaces what no two runs share.  Ids are numbered in the order of their appearance."""

    def __init__(self, instance, master, crcs=False):
        self.instance, self.master, self.crcs = instance, master, crcs
        self.now = time.time()
        self.known, self.ids = set(), {}

    def learn(self, ids):
        self.known.update(i for i in ids if re.fullmatch(r"[0-9a-z]{24}", i))

    def lines(self, lines):
        return [self.line(line) for line in lines]

    def line(self, line):
        line = line.replace(self.instance.dir, "DIR").replace(self.master.dir, "MASTER")
        line = re.sub(r"/spool/uuid/./(?:.)/", "/spool/uuid/./", line)
        line = re.sub(r"\b[0-9a-z]{24}\b", self.id, line)
        line = re.sub(r"(?<![\d.])1\d{9}(?![\d.])", self.time, line)
        line = re.sub(r"\b[ \d]\d-\w{3}-\d{4} \d\d:\d\d:\d\d [-+]\d{4}", self.date, line)
        line = re.sub(r"(DELETED[./^][^ ]*?[./^])[0-9A-F]{8}\b", r"\1HEXTIME", line)
        line = re.sub(r"NOW\) \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", "NOW)", line)
        if self.crcs:
            line = re.sub(r"((?:SYNC|SINCE)_CRC(?:_ANNOT)?) \d+", r"\1 CRC", line)
            line = re.sub(r"(synccrcs/(?:basic|annot)\S*|/synccrcs) \S+( \d+)?", r"\1 CRC", line)
        return line

    def id(self, match):
        word = match.group(0)
        if word not in self.known:
            return word
        return self.ids.setdefault(word, "<id%d>" % (len(self.ids) + 1))

    def date(self, match):
        try:
            then = datetime.datetime.strptime(match.group(0).strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
        except ValueError:
            return match.group(0)
        return "NOW" if abs(self.now - then) < 86400 else match.group(0)

    def time(self, match):
        number = int(match.group(0))
        return "NOW" if self.now - 86400 < number < self.now + 86400 else match.group(0)


def internal(user):
    """A user's INBOX as an internal name."""
    return "user." + user.replace(".", "^")


def external(name):
    """Internal to the administrator's form, for stock tools (unixhierarchysep)."""
    return name.replace(".", "/").replace("^", ".")


def item_lines(head, item):
    """A MAILBOX item: one line, and one per record."""
    records = item.get("RECORD")
    rest = csync.Pairs([(k, v) for k, v in item.pairs if k != b"RECORD"])
    lines = ["%s %s" % (head, csync.show(rest))]
    lines += ["  RECORD " + csync.show(record) for record in records or []]
    return lines


def by_csync(endpoint, users, extra=()):
    """What a sync server says of these users: (lines, names of mailboxes, ids)."""
    lines, names, ids = [], [], []
    client = csync.Csync(endpoint)
    for user in users:
        answer = client.get("USER", user)
        mailboxes = []
        for key, value in answer.lines:
            if key == b"MAILBOX":
                mailboxes.append(value.get("MBOXNAME"))
                ids.append(value.get("UNIQUEID").decode())
                if b"i" in (value.get("MBOXTYPE") or b""):
                    lines.append("USER %s MAILBOX %s" % (user, csync.show(value)))
                    mailboxes.pop()
            else:
                lines.append("USER %s %s %s" % (user, csync.show(key), csync.show(value)))
        lines.append("USER %s %s" % (user, answer.status))
        names += [n for n in mailboxes if n not in names]
    names += [csync.octets(n) for n in extra]
    for name in names:
        answer = client.get("FULLMAILBOX", name)
        for _, value in answer.lines:
            lines += item_lines("FULL", value)
            ids.append(value.get("UNIQUEID").decode())
        if not answer.ok:
            lines.append("FULL %s %s" % (csync.show(name), answer.status))
    client.close()
    return lines, [n.decode("utf-8", "replace") for n in names], ids


def of_user(key, users):
    """Whether a key of mailboxes.db (with its separators as dots) belongs to one of the users."""
    for user in users:
        box = re.escape(internal(user))
        if re.match(r"(DELETED\.)?%s(\.|$)" % box, key):
            return True
    return False


def mailboxes_db(instance, users, extra=()):
    """The entries of the mailbox list, N and I keys and RACLs; and {name: unique id}."""
    output = instance.tool("cyr_dbtool", instance.dir + "/conf/mailboxes.db", "twoskip", "show").stdout
    lines, ids = [], {}
    for line in output.splitlines():
        key, _, value = line.partition("\t")
        # a dot that is part of a name is not a level of the hierarchy
        key, value = key.replace(".", "^").replace(LEVEL, "."), value.replace(".", "^").replace(LEVEL, ".")
        name = key[1:] if key[:1] == "N" else re.sub(r'^"|"$', "", (re.search(r'\bN ("[^"]*"|\S+)', value) or [""] * 2)[1])
        racl = key.startswith("$RACL")
        if (racl and any("user." + u in key or "%s." % u in key for u in users)) or of_user(name, users) or name in extra:
            # Ids are random, so they must not decide the order of equal names.
            order = re.sub(r"\bI \S+", "", value)
            lines.append((key[:1] != "N", name, order, "%s %s  %s" % (key[:1], key[1:], value)))
            found = re.search(r"\bI (\S+?)[ )]", value)
            if key[:1] == "N" and found:
                ids[name] = found.group(1)
    return [line for _, _, _, line in sorted(lines)], ids


def directories(instance, name, uniqueid):
    """Where files of a mailbox are, on both partitions and in both layouts: {what it is called: path}."""
    places = {"": "spool/uuid/%s/%s/%s" % (uniqueid[0], uniqueid[1], uniqueid), " (legacy)": "spool/" + name.replace(".", "/")}
    found = {}
    for partition, spool in (("", "spool"), (" (second)", "spool2")):
        for layout, place in places.items():
            path = "%s/%s" % (instance.dir, place.replace("spool", spool, 1))
            if os.path.exists(path + "/cyrus.index"):
                found[partition + layout] = path
    return found


def files_of(path):
    """A mailbox's directory: names, types, modes, sizes and times; header and cache."""
    lines = []

    def order(name):
        return (0, int(name[:-1]), "") if re.fullmatch(r"\d+\.", name) else (1, 0, name)

    for name in sorted(os.listdir(path), key=order):
        info = os.stat(os.path.join(path, name))
        if stat.S_ISDIR(info.st_mode):
            # in the legacy layout the mailboxes below
            continue
        if name == "cyrus.annotations":
            # made at the latest when a stock program opens the mailbox; its content is in the records
            continue
        line = "  %s %o" % (name, info.st_mode)
        if re.fullmatch(r"\d+\.", name):
            with open(os.path.join(path, name), "rb") as file:
                line += " %d octets, sha1 %s, mtime %d, links %d" % (
                    info.st_size, hashlib.sha1(file.read()).hexdigest(), info.st_mtime, info.st_nlink)
        elif name == "cyrus.cache":
            with open(os.path.join(path, name), "rb") as file:
                line += " %d octets, sha1 %s" % (info.st_size, hashlib.sha1(file.read()[4:]).hexdigest())
        elif name == "cyrus.header":
            with open(os.path.join(path, name), "rb") as file:
                line += " " + file.read().decode("utf-8", "replace").replace("\n", "|")
        elif name == "cyrus.index":
            line += " %d octets" % info.st_size
        lines.append(line)
    return lines


def examined(instance, names):
    """mbexamine's view of index and cache, its comparison with the files and the quota."""
    lines = []
    for option in ((), ("-q",), ("-c",)) if names else ():
        done = instance.tool("mbexamine", *option, *[external(name) for name in names])
        text = done.stdout + done.stderr
        text = re.sub(r"[^\n\x20-\x7e]", lambda m: "\\x%02x" % ord(m.group(0)), text)
        lines += ["  mbexamine%s: %s" % (" " + option[0] if option else "", l) for l in text.splitlines() if l.strip()]
    return lines


def by_imap(instance, user):
    """What imapd shows the user of his mailboxes."""
    options = argparse.Namespace(want=set(compare.FIELDS) - {"metadata", "vanished"}, strict=False)
    imap = compare.Imap2("127.0.0.1", instance.imap).login("cyrus", "secret", user)
    imap.qresync = imap.try_command("ENABLE QRESYNC") is not None
    lines = []
    own, _, _ = compare.own_and_other(imap, [user])
    subscribed = sorted(n.decode() for _, _, n in imap.list(verb="LSUB"))
    lines.append("imap: subscribed %s" % subscribed)
    for entry, value in sorted(compare.metadata(imap, "", False, compare.USER_METADATA).items()):
        lines.append("imap: metadata %s %r" % (entry.decode(), value))
    for name in sorted(own):
        lines.append("imap: %s %s" % (name.decode(), compare.show(own[name])))
        if not compare.is_mailbox(own[name]):
            continue
        for entry, value in sorted(compare.metadata(imap, name, False).items()):
            lines.append("imap:   metadata %s %r" % (entry.decode(), value))
        facts, messages, _ = compare.view_mailbox(imap, name, options.want, list(compare.ITEMS), False)
        lines.append("imap:   " + compare.show(facts, 2000))
        for uid in sorted(messages):
            lines.append("imap:   uid %d %s" % (uid, compare.show({k.encode(): v for k, v in messages[uid].items()}, 4000)))
    imap.close()
    return lines


def user_files(instance, users, ids):
    """The files of a user's own: which there are, and the rows of the Sieve database."""
    lines = []
    for user in users:
        uniqueid = ids.get(internal(user))
        if not uniqueid:
            continue
        path = "%s/conf/user/uuid/%s/%s/%s" % (instance.dir, uniqueid[0], uniqueid[1], uniqueid)
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            lines.append("  user file %s %o" % (name, stat.S_IMODE(os.stat(os.path.join(path, name)).st_mode)))
        database = os.path.join(path, "dav.db")
        if os.path.exists(database):
            rows = sqlite3.connect("file:%s?mode=ro" % database, uri=True)
            for table in ("sieve_scripts",):
                try:
                    for row in rows.execute("SELECT * FROM %s ORDER BY 1" % table):
                        lines.append("  %s %r" % (table, row[1:]))
                except sqlite3.Error as error:
                    lines.append("  %s: %s" % (table, error))
            rows.close()
    return lines


def quota_files(instance, users):
    lines = []
    for folder, _, names in os.walk(instance.dir + "/conf/quota"):
        for name in names:
            if of_user(name, users):
                with open(os.path.join(folder, name), "rb") as file:
                    lines.append("  quota %s %s" % (name, file.read().decode("utf-8", "replace").replace("\n", "|")))
    return sorted(lines)


def reconstructed(instance, names):
    """What 'reconstruct -n -G' has to say besides the names."""
    if not names:
        return []
    wanted = [external(n) for n in names]
    done = instance.tool("reconstruct", "-n", "-G", *wanted)
    return ["  reconstruct: " + l for l in (done.stdout + done.stderr).splitlines() if l not in wanted]


def dump(instance, users, mask, extra=()):
    """Everything about these users (and the mailboxes in 'extra') on this replica."""
    entries, ids = mailboxes_db(instance, users, extra)
    mask.learn(ids.values())
    lines = ["-- mailboxes.db"] + entries
    seen, names, more = by_csync(instance.peek, users, extra)
    mask.learn(more)
    lines += ["-- as a stock sync_server tells it"] + seen
    if instance.ours:
        own, _, _ = by_csync(instance.csync, users, extra)
        if own != seen:
            lines += ["-- served otherwise"] + sorted(set(own) - set(seen)) + ["-- instead of"] + sorted(set(seen) - set(own))
    for name in names:
        found = directories(instance, name, ids.get(name, "--"))
        lines += ["-- files of " + name] + ([] if found else ["  no directory"])
        for what, path in found.items():
            lines += [" in its directory" + what] * bool(what) + files_of(path)
    lines += ["-- mbexamine"] + examined(instance, names)
    lines += ["-- files of the users"] + user_files(instance, users, ids) + quota_files(instance, users)
    lines += ["-- reconstruct -n -G"] + reconstructed(instance, names)
    for user in users:
        if internal(user) in ids:
            lines += ["-- imapd, user " + user] + by_imap(instance, user)
    return lines


def equal(pair, users, sieve=True, ignore=()):
    """Differences that compare.py finds between master and replica for these users, as lines."""
    master, replica = pair.master, pair.replica
    options = argparse.Namespace(
        a="127.0.0.1:%d" % master.imap, b="127.0.0.1:%d" % replica.imap, admin="cyrus", password="secret", admin_b=None,
        password_b=None, users=",".join(users), strict=False, max=20, excepted=[],
        sieve=["127.0.0.1:%d" % master.sieve, "127.0.0.1:%d" % replica.sieve] if sieve else None,
        want=set(compare.FIELDS) - {"servermetadata", "keywords"} - set(ignore))
    report, _, _ = compare.compare_admin(options)
    lines = list(report.lines)
    for user in users:
        report, both, _ = compare.compare_user((options, user))
        if both is None:
            return lines + [report]
        lines += report.lines
        report, _, _ = compare.compare_mailboxes((options, user, both))
        lines += [report] if isinstance(report, str) else report.lines
    return lines


__all__ = ["Mask", "dump", "equal", "internal", "external", "labimap"]
