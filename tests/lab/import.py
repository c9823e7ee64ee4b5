#!/usr/bin/env python3
"""Puts the mail of an mbox file or a Maildir into a server, as a user's mailboxes.

  import.py --imap 127.0.0.1:21300 --user demo PATH...

PATH: an mbox file, a Maildir (with its Maildir++ subfolders), or a directory of either.
Flags and dates are kept.  Messages that the server refuses are counted and named.
"""
import argparse
import email.utils
import mailbox
import os
import re
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import labimap  # noqa: E402
from labimap import ImapError, encode_mailbox, quote  # noqa: E402

FLAGS = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted", "A": "\\Answered"}


def sources(path):
    """(mailbox name, open mailbox) for everything under a path."""
    path = path.rstrip("/")
    if os.path.isfile(path):
        yield re.sub(r"\.mbox$", "", os.path.basename(path)), mailbox.mbox(path, create=False)
    elif os.path.isdir(os.path.join(path, "cur")):
        box = mailbox.Maildir(path, factory=None, create=False)
        yield "INBOX", box
        for folder in sorted(box.list_folders()):
            yield folder.replace(".", "/"), box.get_folder(folder)
    elif os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            for below, box in sources(os.path.join(path, name)):
                yield (name if below == "INBOX" else below), box
    else:
        sys.exit("import.py: neither mbox nor Maildir: %s" % path)


def date_of(message, octets):
    """The time of delivery where it is known, else the Date header's."""
    if isinstance(message, mailbox.MaildirMessage):
        return message.get_date()
    match = re.search(r"\S+ (\w{3} \w{3} +\d+ [\d:]+ \d{4})", message.get_from() or "")
    if match:
        try:
            return time.mktime(time.strptime(match.group(1), "%a %b %d %H:%M:%S %Y"))
        except ValueError:
            pass
    head = re.search(rb"(?im)^date:(.*)$", octets[:20000])
    parsed = email.utils.parsedate_tz(head.group(1).decode("latin-1")) if head else None
    return email.utils.mktime_tz(parsed) if parsed else time.time()


def keywords_of(box):
    """The keywords that Dovecot notes by letters in the file names of a Maildir."""
    found = dict(FLAGS)
    try:
        with open(os.path.join(box._path, "dovecot-keywords"), encoding="ascii") as file:
            for line in file:
                number, name = line.split()
                found[chr(97 + int(number))] = name
    except OSError:
        pass
    return found


def append(imap, name, message, octets, known):
    octets = re.sub(rb"\r?\n", b"\r\n", octets)
    flags = " ".join(sorted({known[f] for f in message.get_flags() if f in known}))
    when = min(max(date_of(message, octets), 1), 2 ** 31 - 1)
    date = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(when))
    imap.command("APPEND ", quote(name), " (", flags, ') "', date, '" {%d+}\r\n' % len(octets), octets)
    return len(octets)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imap", required=True, metavar="HOST:PORT")
    parser.add_argument("--admin", default="cyrus")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--user", default="demo")
    parser.add_argument("path", nargs="+")
    options = parser.parse_args()
    admin = labimap.connect(options.imap, options.admin, options.password)
    admin.try_command("CREATE ", quote("user/" + options.user))
    admin.close()
    imap = labimap.connect(options.imap, options.admin, options.password, options.user)
    count = size = refused = 0
    shown = 0.0
    for path in options.path:
        for folder, box in sources(path):
            name = "INBOX" if folder.upper() == "INBOX" else encode_mailbox(folder)
            if name != "INBOX":
                imap.try_command("CREATE ", quote(name))
            known = keywords_of(box)
            for key in sorted(box.keys()):
                message = box.get_message(key)
                try:
                    size += append(imap, name, message, box.get_bytes(key), known)
                    count += 1
                except ImapError as error:
                    if "closed" in str(error):
                        raise
                    refused += 1
                    print("refused by the server: %s %s: %s" % (folder, key, error), file=sys.stderr)
                if sys.stderr.isatty() and time.monotonic() - shown > 0.2:
                    shown = time.monotonic()
                    print("\r  %d messages, %.1f MB, in %s\033[K" % (count, size / 1e6, folder), end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    imap.close()
    print("imported %d messages, %.1f MB%s" % (count, size / 1e6, ", %d refused" % refused if refused else ""))
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
