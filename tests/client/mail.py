"""A user's mail on an instance, over a connection that is made again when the server has closed it.

imapd closes a session that was silent for long, and one whose mailbox another session deletes.
"""
import re

import instances  # noqa: F401  (finds labimap)
import labimap
from labimap import ImapError, quote


def message(text, octets=0):
    """A message with this subject, in at least so many octets."""
    body = ("body of %s\r\n" % text) + "x" * 70 * (octets > 0) + "\r\n"
    body += ("x" * 70 + "\r\n") * (octets // 72)
    return ("From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\n%s" % (text, text, body)).encode()


class Mail:
    """What a user, or the administrator ("") does by IMAP. A command that is refused raises
    ImapError; `attempt` returns None then."""

    def __init__(self, instance, user=""):
        self.instance, self.user = instance, user
        self.imap = self.selected = None

    def command(self, *parts):
        """Gives a command, once more if the connection turns out to be closed. What had been
        selected is selected again first."""
        for is_last in (False, True):
            try:
                return self.session().command(*parts)
            except (OSError, ImapError) as error:
                if is_last or not is_lost(error):
                    raise
                self.drop()

    def session(self):
        if self.imap is None:
            self.imap = self.instance.connect(self.user)
            if self.selected is not None:
                self.imap.command(*self.selected)
        return self.imap

    def drop(self):
        if self.imap is not None:
            self.imap.reader.close()
            self.imap.sock.close()
            self.imap = None

    def attempt(self, *parts):
        try:
            return self.command(*parts)
        except ImapError as error:
            if is_lost(error):
                raise
            return None

    def create(self, box):
        self.command("CREATE ", quote(box))

    def delete(self, box):
        self.command("DELETE ", quote(box))

    def rename(self, old, new):
        self.command("RENAME ", quote(old), " ", quote(new))

    def append(self, box, text, flags=""):
        """Appends a message: a subject, or the octets of one."""
        data = text if isinstance(text, bytes) else message(text)
        self.command("APPEND ", quote(box), " (%s) {%d+}\r\n" % (flags, len(data)), data)

    def select(self, box, verb="SELECT "):
        self.selected = None
        self.command(verb, quote(box))
        self.selected = (verb, quote(box))

    def search(self, *words):
        """The numbers of the messages of the selected mailbox that match."""
        for answer in self.command("SEARCH ", *words):
            if answer[0].upper().startswith(b"* SEARCH"):
                return [int(word) for word in answer[0].split()[2:]]
        return []

    def count(self, box):
        """How many messages a mailbox has; None if it does not exist."""
        for answer in self.attempt("STATUS ", quote(box), " (MESSAGES)") or []:
            found = re.search(rb"MESSAGES (\d+)", answer[0])
            if found:
                return int(found.group(1))
        return None

    def close(self):
        if self.imap is not None:
            self.imap.close()
            self.imap = None


def is_lost(error):
    """Whether an error says that the connection is gone."""
    return isinstance(error, OSError) or "connection closed" in str(error) or "BYE" in str(error)


def deliver(instance, user, data):
    """Delivers a message by LMTP; it returns once lmtpd has taken it."""
    lmtp = labimap.Lmtp(instance.lmtp)
    try:
        lmtp.deliver(user + "@lab.test", data)
    finally:
        lmtp.close()
