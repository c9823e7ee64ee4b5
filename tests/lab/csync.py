"""A small client for the replication protocol, for tests that say exactly what is sent.

Standard library only.  It prints and parses dlist values, keeps every answer as it came
(in a canonical spelling, so that two servers' answers can be compared), speaks DEFLATE,
and models a mailbox (messages, records, sync CRCs) so that a test can send a correct
update and then change one thing in it.
"""
import base64
import hashlib
import re
import socket
import ssl
import zlib

SPACE = b" \t\r\n\v\f"
ATOM = re.compile(rb"[\x1f\x21-\x7e]+\Z")
NOT_SAFE = re.compile(rb'[{()"%*\\]')


class Closed(Exception):
    """The server closed the connection."""


class Unparsable(Exception):
    """The server sent what is no dlist."""


class Flag(bytes):
    """A flag with its backslash, printed as it is."""


class Raw(bytes):
    """Octets that are printed as they are, whatever they break."""


class File:
    """A file literal.  'guid' and 'size' may be set to what the data is not."""

    def __init__(self, data, partition="default", guid=None, size=None):
        self.data, self.partition = data, partition
        self.guid = hashlib.sha1(data).hexdigest() if guid is None else guid
        self.size = len(data) if size is None else size


def octets(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def text(value):
    """A string as the real writers print it (wire-protocol §8.1)."""
    value = octets(value)
    if value == b"":
        return b'""'
    if len(value) < 1024:
        if ATOM.match(value) and not NOT_SAFE.search(value) and value != b"NIL":
            return value
        if not re.search(rb'[\x80-\xff\r\n"%\\\0]', value):
            return b'"' + value + b'"'
    return b"{%d+}\r\n" % len(value) + value


def dlist(value):
    """Python values to octets: None, str/bytes/int, Flag, Raw, File, list/tuple, dict."""
    if value is None:
        return b"NIL"
    if isinstance(value, (Flag, Raw)):
        return bytes(value)
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, (str, bytes)):
        return text(value)
    if isinstance(value, File):
        return b"%%{%s %s %d}\r\n" % (octets(value.partition), octets(value.guid), value.size) + value.data
    if isinstance(value, dict):
        return b"%(" + b" ".join(octets(k) + b" " + dlist(v) for k, v in value.items()) + b")"
    return b"(" + b" ".join(dlist(v) for v in value) + b")"


def show(value):
    """A parsed value in one canonical spelling."""
    if value is None:
        return "NIL"
    if isinstance(value, Flag):
        return value.decode("utf-8", "replace")
    if isinstance(value, bytes):
        plain = value.decode("latin-1")
        if value and ATOM.match(value) and not NOT_SAFE.search(value) and value != b"NIL":
            return plain
        return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else "\\x%02x" % ord(c) for c in plain) + '"'
    if isinstance(value, File):
        return "%%{%s %s %d sha1=%s}" % (value.partition, value.guid, value.size, hashlib.sha1(value.data).hexdigest())
    if isinstance(value, Pairs):
        return "%(" + " ".join("%s %s" % (show(k), show(v)) for k, v in value.pairs) + ")"
    return "(" + " ".join(show(v) for v in value) + ")"


class Pairs:
    """A parsed %(...) list, its order kept."""

    def __init__(self, pairs):
        self.pairs = pairs

    def get(self, key, default=None):
        for name, value in self.pairs:
            if name == octets(key):
                return value
        return default

    def __contains__(self, key):
        return any(name == octets(key) for name, _ in self.pairs)


class Stream:
    """Buffered octets of one connection, inflated where asked."""

    def __init__(self, sock):
        self.sock, self.buffer, self.inflater, self.deflater = sock, bytearray(), None, None

    def fill(self):
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed("connection closed by the server")
        self.buffer += self.inflater.decompress(data) if self.inflater else data

    def peek(self):
        while not self.buffer:
            self.fill()
        return self.buffer[0:1]

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        return self.take(self.buffer.index(b"\n") + 1)

    def send(self, data):
        if self.deflater:
            data = self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(data)

    def start_deflate(self):
        self.deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.inflater = zlib.decompressobj(-15)
        rest, self.buffer = bytes(self.buffer), bytearray()
        self.buffer += self.inflater.decompress(rest)

    # -- dlist
    def blank(self):
        while self.peek() in (b" ", b"\t", b"\r", b"\n", b"\v", b"\f"):
            self.take(1)

    def atom(self):
        out = bytearray()
        while self.peek() not in (b" ", b"\t", b"\r", b"\n", b"\v", b"\f", b"(", b")", b'"'):
            out += self.take(1)
        if not out:
            raise Unparsable("nothing where a value is expected, before %r" % bytes(self.buffer[:40]))
        return bytes(out)

    def literal(self):
        head = self.line()
        match = re.fullmatch(rb"\{(\d+)(\+?)\}\r?\n", head)
        if not match:
            raise Unparsable("literal %r" % head)
        self.literal_forms.add(match.group(2))
        return self.take(int(match.group(1)))

    def value(self):
        first = self.peek()
        if first == b"(":
            self.take(1)
            return self.sequence(self.value)
        if first == b"%":
            self.take(1)
            if self.peek() == b"(":
                self.take(1)
                return Pairs(self.sequence(self.pair))
            head = self.line()
            match = re.fullmatch(rb"\{(\S+) ([0-9a-fA-F]{40}) (\d+)\}\r?\n", head)
            if not match:
                raise Unparsable("file literal %r" % head)
            data = self.take(int(match.group(3)))
            return File(data, match.group(1).decode(), match.group(2).decode())
        if first == b"{":
            return self.literal()
        if first == b'"':
            self.take(1)
            out = bytearray()
            while True:
                char = self.take(1)
                if char == b'"':
                    return bytes(out)
                out += self.take(1) if char == b"\\" else char
        if first == b"\\":
            return Flag(self.take(1) + self.atom())
        atom = self.atom()
        return None if atom == b"NIL" else atom

    def sequence(self, element):
        found = []
        while True:
            self.blank()
            if self.peek() == b")":
                self.take(1)
                return found
            found.append(element())

    def pair(self):
        key = self.value()
        self.blank()
        return (b"NIL" if key is None else key, self.value())

    literal_forms = set()


class Answer:
    """What came back: data lines [(name, value)] and the status line."""

    def __init__(self, lines, status):
        self.lines, self.status = lines, status

    @property
    def ok(self):
        return self.status.startswith("OK")

    def values(self, name):
        return [value for key, value in self.lines if key == octets(name)]

    def show(self):
        return ["* %s %s" % (show(name), show(value)) for name, value in self.lines] + [self.status]


class Csync:
    """One connection to a sync server; endpoint is 'HOST:PORT' or a Unix socket's path."""

    def __init__(self, endpoint, user="repl", password="secret", login=True, timeout=60, capabilities=("SIEVE-MAILBOX",),
                 tls=False):
        if endpoint.startswith("/"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            sock.connect(endpoint)
        else:
            host, _, port = endpoint.rpartition(":")
            sock = socket.create_connection((host, int(port)), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begin(sock)
        if tls:
            answer = self.line("STARTTLS")
            if not answer.ok:
                raise Unparsable("STARTTLS: %s" % answer.status)
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.begin(context.wrap_socket(sock))
        if login:
            answer = self.authenticate(user, password)
            if not answer.ok:
                raise Unparsable("login: %s" % answer.status)
            if capabilities:
                self.apply("CAPABILITIES", list(capabilities))

    def begin(self, sock):
        self.sock, self.stream = sock, Stream(sock)
        self.stream.literal_forms = set()
        self.banner = []
        while not self.banner or not self.banner[-1].startswith("* OK"):
            self.banner.append(self.stream.line().decode("utf-8", "replace").rstrip("\r\n"))

    def send(self, data):
        self.stream.send(octets(data))

    def answer(self):
        """Reads one answer, up to and with its status line; 'EOF' where the server closed."""
        lines = []
        try:
            while True:
                if self.stream.peek() != b"*":
                    return Answer(lines, self.stream.line().decode("utf-8", "replace").rstrip("\r\n"))
                self.stream.take(2)
                name = self.stream.value()
                if self.stream.peek() not in (b" ",):
                    lines.append((name, Flag(self.stream.line().rstrip(b"\r\n"))))
                    continue
                self.stream.take(1)
                if name in (b"Fatal",):
                    lines.append((name, Flag(self.stream.line().rstrip(b"\r\n"))))
                    continue
                value = self.stream.value()
                end = self.stream.line()
                if end not in (b"\r\n",):
                    raise Unparsable("%r behind a data line" % end)
                lines.append((name, value))
        except Closed:
            return Answer(lines, "EOF")

    def line(self, data):
        """Sends one line (CRLF is added) and reads the answer."""
        try:
            self.send(octets(data) + b"\r\n")
        except ConnectionError:
            return Answer([], "EOF")
        return self.answer()

    def get(self, what, value):
        return self.line(b"GET " + octets(what) + b" " + dlist(value))

    def apply(self, what, value):
        return self.line(b"APPLY " + octets(what) + b" " + dlist(value))

    def restore(self, what, value):
        return self.line(b"RESTORE " + octets(what) + b" " + dlist(value))

    def authenticate(self, user, password, authorize=""):
        blob = base64.b64encode(("%s\0%s\0%s" % (authorize, user, password)).encode())
        return self.line(b"AUTHENTICATE PLAIN " + blob)

    def compress(self):
        answer = self.line("COMPRESS DEFLATE")
        if answer.ok:
            self.stream.start_deflate()
        return answer

    def close(self):
        try:
            self.line("EXIT")
        except (OSError, Closed, Unparsable):
            pass
        self.sock.close()


# ---------------------------------------------------------------- the model of a mailbox
CMU = "/vendor/cmu/cyrus-imapd/"


def crc(data):
    return zlib.crc32(octets(data)) & 0xffffffff


class Annotation:
    def __init__(self, entry, value, user="", modseq=0):
        self.entry, self.value, self.user, self.modseq = entry, value, user, modseq

    def item(self):
        return {"ENTRY": self.entry, "USERID": self.user, "MODSEQ": self.modseq, "VALUE": self.value}


class Record:
    """One message of a mailbox, as a RECORD element says it."""

    def __init__(self, uid, modseq, message, flags=(), updated=1700000000, date=1600000000, savedate=1700000000,
                 annotations=(), size=None, guid=None):
        self.uid, self.modseq, self.message, self.flags = uid, modseq, message, list(flags)
        self.updated, self.date, self.savedate = updated, date, savedate
        self.annotations = list(annotations)
        self.size = len(message) if size is None else size
        self.guid = hashlib.sha1(message).hexdigest() if guid is None else guid
        self.created = modseq

    @property
    def expunged(self):
        return "\\Expunged" in self.flags

    def all_annotations(self):
        found = sorted(self.annotations, key=lambda a: (a.entry, a.user))
        if self.savedate:
            found.append(Annotation(CMU + "savedate", str(self.savedate)))
        if self.created:
            found.append(Annotation(CMU + "createdmodseq", str(self.created)))
        return found

    def item(self):
        item = {"UID": self.uid, "MODSEQ": self.modseq, "LAST_UPDATED": self.updated,
                "FLAGS": [Flag(octets(f)) for f in self.flags], "INTERNALDATE": self.date, "SIZE": self.size,
                "GUID": self.guid}
        annotations = self.all_annotations()
        if annotations:
            item["ANNOTATIONS"] = [a.item() for a in annotations]
        return item

    def crcs(self):
        """(basic, annotation) as algorithm §3 says, both 0 where expunged."""
        if self.expunged:
            return 0, 0
        flags = 0
        for flag in self.flags:
            flags ^= crc(flag.lower())
        basic = crc("%d %d %d (%d) %d %s" % (self.uid, self.modseq, self.updated, flags, self.date, self.guid))
        annotations = 0
        for a in self.all_annotations():
            annotations ^= crc(octets("%d %s %s " % (self.uid, a.entry, a.user)) + octets(a.value))
        return basic, annotations


class Box:
    """A mailbox as a master would hold it."""

    def __init__(self, name, uniqueid, acl="", partition="default", uidvalidity=1500000000, options="P"):
        self.name, self.uniqueid, self.acl, self.partition = name, uniqueid, acl, partition
        self.uidvalidity, self.options, self.kind = uidvalidity, options, None
        self.records, self.annotations = [], []
        self.last_uid, self.highestmodseq, self.foldermodseq, self.createdmodseq = 0, 1, 1, 1
        self.extra = {}

    def append(self, message, flags=(), **more):
        self.last_uid += 1
        self.highestmodseq += 1
        record = Record(self.last_uid, self.highestmodseq, message, flags, **more)
        self.records.append(record)
        return record

    def touch(self, record, flags=None, **more):
        """Changes a record: new modseq, new LAST_UPDATED."""
        self.highestmodseq += 1
        record.modseq = self.highestmodseq
        record.updated += 1
        if flags is not None:
            record.flags = list(flags)
        for name, value in more.items():
            setattr(record, name, value)

    def expunge(self, record):
        self.touch(record, flags=[f for f in record.flags if f != "\\Deleted"] + ["\\Deleted", "\\Expunged"])

    def crcs(self):
        basic, annotations = 0, 12345678
        for record in self.records:
            b, a = record.crcs()
            basic, annotations = basic ^ b, annotations ^ a
        return basic, annotations

    def state(self):
        """What a delta's SINCE keys say about this state."""
        basic, annotations = self.crcs()
        return {"SINCE_MODSEQ": self.highestmodseq, "SINCE_CRC": basic, "SINCE_CRC_ANNOT": annotations}

    def item(self, records=None, since=None, **more):
        """The argument of APPLY MAILBOX; 'records' default to all.  A value of Ellipsis
        leaves that key out."""
        basic, annotations = self.crcs()
        item = {"UNIQUEID": self.uniqueid, "MBOXNAME": self.name}
        if self.kind:
            item["MBOXTYPE"] = self.kind
        item.update({"SYNC_CRC": basic, "SYNC_CRC_ANNOT": annotations, "LAST_UID": self.last_uid,
                     "HIGHESTMODSEQ": self.highestmodseq, "RECENTUID": 0, "RECENTTIME": 0,
                     "LAST_APPENDDATE": 1700000000 if self.records else 0, "POP3_LAST_LOGIN": 0,
                     "POP3_SHOW_AFTER": 0, "UIDVALIDITY": self.uidvalidity, "PARTITION": self.partition,
                     "ACL": self.acl, "OPTIONS": self.options, "CREATEDMODSEQ": self.createdmodseq,
                     "FOLDERMODSEQ": self.foldermodseq})
        if self.annotations:
            item["ANNOTATIONS"] = [a.item() for a in sorted(self.annotations, key=lambda a: (a.entry, a.user))]
        item.update(self.extra)
        item.update(since or {})
        item["RECORD"] = [r.item() for r in sorted(self.records if records is None else records, key=lambda r: r.uid)]
        item.update(more)
        return {k: v for k, v in item.items() if v is not Ellipsis}

    def files(self, records=None):
        """The argument of APPLY MESSAGE with the files of these records, each once."""
        seen = {}
        for record in self.records if records is None else records:
            seen.setdefault(record.guid, File(record.message, self.partition))
        return list(seen.values())
