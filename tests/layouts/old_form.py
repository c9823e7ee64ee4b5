"""Turns a store of 3.6 in legacy directories back into the form that Cyrus had up to 3.4, as far as
cyrus.header and the list of mailboxes go; the index, the cache and the messages stay as they are.
The databases whose keys 3.6 changed (annotations, subscriptions) stay too, and are not understood."""
import json
import os
import re
import struct
import zlib

MAGIC = 115
CURRENT = re.compile(rb'%\(T \S+ N (?:"[^"]*"|\S+) I (\w+)(?: Q (?:"([^"]*)"|(\S+)))? A %\(([^)]*)\)(?: U \((.*)\))?\)\n')
HEADER_CHECKSUM = 96    # of cyrus.header, in the header of cyrus.index


def unique_id(header):
    """The unique id that a cyrus.header of either form has."""
    found = CURRENT.match(header, MAGIC) or re.compile(rb"[^\t\n]*\t(\w+)\n").match(header, MAGIC)
    return found[1].decode()


def turned(header):
    """A cyrus.header of three lines: quota root and unique id, keywords, ACL."""
    found = CURRENT.match(header, MAGIC)
    if not found:
        return header
    flags = b" ".join(b"" if flag == b"NIL" else flag for flag in (found[5] or b"").split())
    acl = b"".join(word + b"\t" for word in found[4].split())
    return b"%s%s\t%s\n%s\n%s\n" % (header[:MAGIC], found[2] or found[3] or b"", found[1], flags, acl)


def turn_headers(spool):
    """Rewrites all headers under a directory in the old form; {unique id: index version}."""
    versions = {}
    for folder, _, names in os.walk(spool):
        if "cyrus.header" not in names:
            continue
        with open(folder + "/cyrus.header", "rb+") as header, open(folder + "/cyrus.index", "rb+") as index:
            old = turned(header.read())
            start = bytearray(index.read(160))
            version = start[11]
            versions[unique_id(old)] = version
            end = 124 if version < 14 else 156
            struct.pack_into(">I", start, HEADER_CHECKSUM, zlib.crc32(old))
            struct.pack_into(">I", start, end, zlib.crc32(start[:end]))
            header.seek(0)
            header.write(old)
            header.truncate()
            index.seek(0)
            index.write(start[:end + 4])
    return versions


def mailbox_list(dump, versions, highest):
    """The lines that an old ctl_mboxlist -u reads, from what `ctl_mboxlist -d` of 3.6 printed: of the
    mailboxes, but not of names given up, whose index versions are not above the highest."""
    return ["%s\t0 %s %s" % (name, entry["partition"], "".join("%s\t%s\t" % pair for pair in entry["acl"].items()))
            for name, entry in json.loads(dump).items()
            if "d" not in entry["mbtype"] and versions.get(entry["uniqueid"], highest + 1) <= highest]
