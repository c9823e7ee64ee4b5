#!/usr/bin/env python3
"""Writes odd messages, one a file named 1. 2. 3. …, for a server to parse.

Files get a fixed time and the owner of the directory.

  odd-messages.py OUT --count 2000 [--seed 1] [--from DIR] [--wild]

Half of them are messages of DIR (files) with random edits, half are put together from pieces
that a parser may take this way or that: address lists, parameters, encoded words, dates, MIME
structures with broken boundaries. All have CRLF line ends and no NUL, unless --wild says that
bare LF, lone CR and NUL are wanted too. The same seed gives the same messages.
"""
import argparse
import base64
import os
import random

INTERNAL_DATE = 1700000000
WORDS = ("a", "bob", "Ann Bee", "x.y", "r\xe9sum\xe9", "\"quoted, text\"", "\"un",
         "\"esc\\\"aped\\\\\"", "(comment)", "(nested (comment))", "(open", "<", ">", "<a@b>", "<a@B.C.>", "@", ",", ";",
         ":", "a@b", "A@b..c", "group:", "undisclosed:;", "<@r1,@r2:u@h>", "<@r>", "[1.2.3.4]", "\\", "\\\"", "=", "?", "*",
         "'", "%", "..", "-", "\t", " ", "  ", "\r\n ", "\r\n\t", "\x01", "\x7f", "\xff", "\xc3\xa4", "/", "[", "]", "{3}", "~", "0")
CHARSETS = ("utf-8", "UTF-8", "utf8", "us-ascii", "iso-8859-1", "ISO-8859-15", "windows-1252", "koi8-r", "gb2312", "big5",
            "iso-2022-jp", "shift_jis", "euc-kr", "euc-jp", "utf-16", "utf-7", "x-unknown", "klingon", "", "utf-8*en", "cp437",
            "macintosh", "gb18030", "tis-620", "utf:8", "none", "\"utf-8\"", "UTF-8,", "latin1", "iso-8859-8-i", "cp932")
PARAMETERS = ("charset", "CHARSET", "name", "name*", "name*0", "name*1", "name*0*", "name*1*", "name*2", "filename", "boundary",
              "format", "a b", "n@me", "", "x*0*1", "*0", "name*00", "name*10")
VALUES = ("plain", "\"quoted\"", "\"a;b\"", "\"esc\\\"q\"", "\"fold\r\n ed\"", "two words", "utf-8''x%20y", "utf-8'en'%C3%A4",
          "\"open", "", "a(b)c", "caf\xe9", "a/b=c", "a\r\n b", "%41", "x'y", "a*b", "\"\"", "\x01", "; ", "100%", "x" * 70)
TYPES = ("text/plain", "text/html", "TEXT/Plain", "multipart/mixed", "multipart/alternative", "multipart/digest",
         "multipart/related", "message/rfc822", "message/delivery-status", "message/global", "message/partial",
         "application/octet-stream", "image/png", "text", "text/", "/plain", "", "text / plain", "text(c)/(d)plain", "t\xe9xt/plain",
         "text/plain charset=x", "=?utf-8?q?text/html;_charset=3Dutf-8?=", "=?utf-8?q?image/png;_name=3D=22=C3=A4=22?=",
         "text/plain;", "text/plain;;", "multipart", "message/rfc822; x=y")
ENCODINGS = ("7bit", "8bit", "binary", "base64", "quoted-printable", "BASE64", "Quoted-Printable", "x-uuencode", "utf-8", "",
             "base64 (c)", "(c) base64", "base64;", "7-bit", "7bit\r\n x", "b\xe9", "8bit x", "none", "base64url")
DATES = ("Mon, 02 Mar 2026 10:11:12 +0100", "2 Mar 2026 10:11:12 +0100", "Mon, 2 Mar 26 1:2 EST", "Mon, 02 Mar 2026",
         "Mon,02 Mar 2026 10:11:12 GMT", "Monday, 02 Mar 2026 10:11:12", "Mon, 02-Mar-2026 10.11.12 -0800 (PST)", "Mon, 32 Mar 2026 25:61:61 +9999",
         "Mon, 02 mar 1926 10:11:12 +0100", "Mon, 02 Mar 2126 10:11:12 +0100", "02 Mar 70 00:00:00 +0000", "1 Jan 1970 00:00:00 +0000",
         "1 Jan 1970 00:30:00 +0100", "Thu, 1 Jan 1970 00:00 -0100", "", "today", "Mon 02 Mar 2026 10:11:12", "Mon, 02 Mar 2026 10:11:12 0100",
         "Mon, 02 Mar 2026 10:11:12 Z", "Mon, 02 Mar 2026 10:11:12 a", "Mon, 02 Mar 2026 10:11:12 Q", "Mon, 02 Mar 2026 10:11:12 5",
         "Mon, 02 Mar 2026 10:11:12 PDT", "Mon, 02 Mar 2026 10:11:12 UTC", "Mon, 02 Mar 2026 10:11:12 CEST", "Mon,\r\n 02 Mar 2026\r\n 10:11:12",
         "Mon, 0 Mar 2026 10:11:12 +0000", "Mon, 02 Mar 12026 10:11:12 +0000", "Mon, 02 M\xe4r 2026 10:11:12 +0000", "Fri, 31 Dec 1999 23:59:60 -1200",
         "Mon, 02  Mar  2026  10:11:12  +0100", "Mon, 02 Mar 99999999999 10:11:12 +0100", "Mon, 02 Mar 2026 10:11:12 +01:00", "Mon, 02 Mar 2026 10 :11:12")
OTHER_NAMES = ("X-Mailer", "X-Other", "Received", "Reply-To", "Sender", "References", "List-Id", "In-Reply-To", "Message-ID",
               "Content-ID", "Content-Description", "Content-MD5", "Content-Location", "MIME-Version", "From ", "x-priority", "",
               "A" * 31, "A" * 32, "Resent-From", "DKIM-Signature", "X-", "x-ref", "Bad Name", "8bit\xe9")


class Maker:
    def __init__(self, seed, sources, wild):
        self.rng = random.Random(seed)
        self.sources = sources
        self.wild = wild

    def pick(self, choices):
        return self.rng.choice(choices)

    def encoded_word(self):
        text = self.pick(("hello", "gr\xfc\xdfe", "\u65e5\u672c\u8a9e", "a b", "", "\u20ac", "x" * 30, "\x00y", "=?", "caf\xe9\U0001f642"))
        charset = self.pick(CHARSETS)
        try:
            raw = text.encode(charset.split("*")[0] or "utf-8")
        except (LookupError, UnicodeError):
            raw = text.encode("utf-8")
        if self.rng.random() < 0.25:
            raw = raw[:self.rng.randrange(len(raw) + 1)] + bytes(self.rng.randrange(256) for _ in range(self.rng.randrange(3)))
        if self.rng.random() < 0.5:
            body = base64.b64encode(raw).decode()
            if self.rng.random() < 0.2:
                body = body[:self.rng.randrange(len(body) + 1)]
            kind = self.pick("bB")
        else:
            body = "".join(chr(c) if chr(c).isalnum() and c < 128 else "_" if c == 32 else "=%02X" % c for c in raw)
            if self.rng.random() < 0.1:
                body += self.pick(("=", "=4", "?", " ", "\t", "=\r\n x", "=XY"))
            kind = self.pick("qQ")
        word = "=?%s?%s?%s?=" % (charset, kind, body)
        if self.rng.random() < 0.05:
            word = word[:self.rng.randrange(len(word))]
        return word

    def text(self):
        pieces = []
        for _ in range(self.rng.randrange(6)):
            pieces.append(self.encoded_word() if self.rng.random() < 0.6 else self.pick(WORDS))
            pieces.append(self.pick(("", " ", "  ", "\r\n ", "\t", " ")))
        return "".join(pieces)

    def addresses(self):
        pieces = []
        for _ in range(self.rng.randrange(9)):
            pieces.append(self.encoded_word() if self.rng.random() < 0.2 else self.pick(WORDS))
            pieces.append(self.pick(("", "", " ", ", ", "@", "<", ">")))
        return "".join(pieces)

    def parameters(self):
        pieces = []
        for _ in range(self.rng.randrange(5)):
            pieces.append(self.pick((";", "; ", ";\r\n ", " ", ";;", " (c) ;")))
            name = self.pick(PARAMETERS)
            value = self.pick(CHARSETS) if name.lower() == "charset" and self.rng.random() < 0.8 else self.pick(VALUES)
            pieces.append(name + self.pick(("=", "=", "=", " = ", "", "=\r\n ")) + value)
        return "".join(pieces)

    def mime_fields(self, content_type):
        fields = []
        if content_type is not None:
            fields.append(("Content-Type", content_type))
        if self.rng.random() < 0.5:
            fields.append(("Content-Transfer-Encoding", self.pick(ENCODINGS)))
        if self.rng.random() < 0.25:
            fields.append(("Content-Disposition", self.pick(("inline", "attachment", "", "in line", "a@b", "x (c)")) + self.parameters()))
        if self.rng.random() < 0.15:
            fields.append(("Content-Language", self.pick(("en", "en, de-AT", "en,, fr", "e1", "en (c), fr", "", "en;", "en\r\n ,de"))))
        if self.rng.random() < 0.2:
            fields.append((self.pick(("Content-ID", "Content-Description", "Content-MD5", "Content-Location")), self.text()))
        return fields

    def write(self, fields):
        lines = []
        for name, value in fields:
            lines.append(name + ":" + self.pick((" ", " ", " ", "", "\t", "  ", "\r\n ")) + value + "\r\n")
        self.rng.shuffle(lines)
        return "".join(lines)

    def content(self):
        kind = self.rng.randrange(5)
        if kind == 0:
            data = bytes(self.rng.randrange(256) for _ in range(self.rng.randrange(200)))
            text = base64.encodebytes(data).decode().replace("\n", "\r\n")
            if self.rng.random() < 0.3 and text:
                at = self.rng.randrange(len(text))
                text = text[:at] + self.pick(("=", "==", "-", "\r\n", " ", "!", "_")) + text[at:]
            return text
        if kind == 1:
            return "".join(self.pick(("caf=C3=A9", "=", "=\r\n", " \r\n", "x" * 80, "=4", "=XX", "text ", "\t", "_", "--", "\r\n", "y" * 500)) for _ in range(self.rng.randrange(12)))
        if kind == 2:
            return ""
        return "".join(self.pick(("line\r\n", "\r\n", "--\r\n", "- -\r\n", "--b\r\n", "no end", "\xe4\xf6\r\n", "--bb\r\n", "-")) for _ in range(self.rng.randrange(8)))

    def entity(self, depth, top=False):
        content_type = self.pick(TYPES)
        if depth < 3 and self.rng.random() < 0.35:
            content_type = self.pick(("multipart/mixed", "multipart/digest", "multipart/alternative", "message/rfc822"))
        boundary = None
        if content_type.lower().startswith("multipart"):
            boundary = self.pick(("b", "bb", "b1", "b b", "B", "bbb", "", "x" * 60))
            content_type += self.pick(("; boundary=%s", "; boundary=\"%s\"", "; boundary*=us-ascii''%s", "; boundary=%s (c)",
                                       "; boundary*0=%s", "; x=y; BOUNDARY=\"%s\"", "")).replace("%s", boundary)
        if self.rng.random() < 0.5:
            content_type += self.parameters()
        if self.rng.random() < 0.1:
            content_type = None
        fields = self.mime_fields(content_type)
        if top:
            fields += self.message_fields()
        head = self.write(fields)
        blank = self.pick(("\r\n",) * 12 + ("", "\r\n\r\n", "\r\r\n"))
        if boundary is not None:
            body = self.multipart(boundary, depth)
        elif content_type and content_type.lower().startswith("message/rfc822"):
            body = self.entity(depth + 1, top=self.rng.random() < 0.8) if depth < 5 else ""
        else:
            body = self.content()
        return head + blank + body

    def multipart(self, boundary, depth):
        pieces = [self.pick(("", "preamble\r\n", "\r\n"))]
        for _ in range(self.rng.randrange(4) if depth < 5 else 0):
            pieces.append("--" + self.pick((boundary,) * 10 + (boundary + "x", boundary + " ", "b", "bb")) + self.pick(("\r\n",) * 8 + (" \r\n", "xy\r\n", "\t\r\n")))
            pieces.append(self.entity(depth + 1))
            pieces.append(self.pick(("\r\n",) * 6 + ("",)))
        pieces.append(self.pick(("--%s--\r\n",) * 6 + ("--%s--", "--%s", "", "--%s\r\n", "--%s--x\r\n", "--%s-\r\n")) .replace("%s", boundary))
        pieces.append(self.pick(("", "epilogue\r\n", "\r\n")))
        return "".join(pieces)

    def message_fields(self):
        fields = []
        for name in ("From", "To", "Cc", "Bcc", "Sender", "Reply-To"):
            if self.rng.random() < 0.5:
                fields.append((self.pick((name, name.upper())), self.addresses()))
        if self.rng.random() < 0.8:
            fields.append(("Subject", self.text()))
        if self.rng.random() < 0.8:
            fields.append(("Date", self.pick(DATES)))
        for _ in range(self.rng.randrange(4)):
            fields.append((self.pick(OTHER_NAMES), self.text()))
        return fields

    def edited(self):
        data = bytearray(self.pick(self.sources))
        for _ in range(self.rng.choice((1, 2, 3, 5, 10))):
            if not data:
                break
            # Most of what matters stands in the header and around boundaries.
            span = min(len(data), self.pick((600, 2000, len(data))))
            at = self.rng.randrange(span)
            kind = self.rng.randrange(6)
            if kind == 0:
                data[at] = self.rng.randrange(256)
            elif kind == 1:
                del data[at:at + self.rng.randrange(1, 40)]
            elif kind == 2:
                data[at:at] = self.pick(WORDS + VALUES + ("\r\n", "--", "=?")).encode("latin1")
            elif kind == 3:
                other = self.rng.randrange(len(data))
                data[at:at] = data[other:other + self.rng.randrange(1, 80)]
            elif kind == 4:
                data[at] ^= 1 << self.rng.randrange(8)
            else:
                del data[self.rng.randrange(at, len(data)):]
        return bytes(data)

    def message(self):
        if self.sources and self.rng.random() < 0.5:
            data = self.edited()
        else:
            data = self.entity(0, top=True).encode("latin1", "replace")
        if self.wild:
            if self.rng.random() < 0.7:
                data = self.roughened(data)
        else:
            data = data.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return data or b"\r\n"

    def roughened(self, data):
        data = bytearray(data)
        for _ in range(self.rng.randrange(1, 6)):
            if data:
                at = self.rng.randrange(len(data))
                data[at:at + self.rng.randrange(2)] = self.pick((b"\n", b"\r", b"\0", b"\n\n", b"\r\r\n"))
        return bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--from", dest="source")
    parser.add_argument("--wild", action="store_true")
    arguments = parser.parse_args()
    sources = []
    if arguments.source:
        for folder, folders, files in os.walk(arguments.source):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.getsize(path) < 20000:
                    with open(path, "rb") as file:
                        sources.append(file.read())
    maker = Maker(arguments.seed, sources, arguments.wild)
    os.makedirs(arguments.out, exist_ok=True)
    owner = os.stat(arguments.out)
    for number in range(1, arguments.count + 1):
        path = os.path.join(arguments.out, "%d." % number)
        with open(path, "wb") as file:
            file.write(maker.message())
        os.utime(path, (INTERNAL_DATE, INTERNAL_DATE))
        if owner.st_uid != os.geteuid():
            os.chown(path, owner.st_uid, owner.st_gid)


main()
