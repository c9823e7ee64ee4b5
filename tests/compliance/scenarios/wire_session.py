"""The session itself: greeting, authentication, compression, framing, literals, pipelining."""
import re

from csync import Annotation, Flag, Raw, dlist
from harness import scenario
from mail import mail


@scenario(live=False)
def banner_and_small_commands(s):
    """Greeting; NOOP, RESTART and EXIT before and after the login, in any case of letters."""
    with s.csync(login=False) as session:
        capabilities = [line for line in session.banner if not line.startswith("* OK")]
        s.require(any(line.split()[1] == "SASL" and "PLAIN" in line.split() for line in capabilities), "no PLAIN: %r" % capabilities)
        for line in ("* COMPRESS DEFLATE", "* SIEVE-MAILBOX"):
            s.require(line in capabilities, "no %r in %r" % (line, capabilities))
        s.require(re.match(r"\* OK \S+ Cyrus sync server \S+", session.banner[-1]) or session.banner[-1].startswith("* OK "),
                  session.banner[-1])
        for line in ("NOOP", "RESTART", "noop", "ReStArT"):
            session.ok(session.line(line))
        session.no(session.get("USER", s.user), "NO")
        session.no(session.apply("RESERVE", {"PARTITION": "default", "MBOXNAME": [], "GUID": []}), "NO")
        session.no(session.restore("MAILBOX", {"MBOXNAME": "x"}), "NO")
        session.ok(session.line("EXIT"))
        s.require(session.answer().status == "EOF", "not closed after EXIT")


@scenario(live=False)
def authentication(s):
    """PLAIN with and without an initial response, cancelled, wrong, twice; LOGIN; broken base64."""
    with s.csync(login=False) as session:
        session.line("AUTHENTICATE")
        session.line("AUTHENTICATE PLAIN = extra")
        session.no(session.line("AUTHENTICATE NOSUCHMECH"), "NO")
    with s.csync(login=False) as session:
        session.line("AUTHENTICATE PLAIN *not*base64*")
        session.send("AUTHENTICATE PLAIN\r\n")
        s.require(session.client.stream.line() == b"+ \r\n", "no empty challenge")
        session.no(session.line("*"), "BAD")
        session.send("AUTHENTICATE PLAIN\r\n")
        session.client.stream.line()
        session.ok(session.line("AHJlcGwAc2VjcmV0"))
        session.no(session.line("AUTHENTICATE PLAIN AHJlcGwAc2VjcmV0"), "BAD")
        session.ok(session.get("USER", "nobody"))
    with s.csync(login=False) as session:
        session.no(session.line("AUTHENTICATE PLAIN AHJlcGwAd3Jvbmc="), "NO")
        session.ok(session.line("AUTHENTICATE PLAIN AHJlcGwAc2VjcmV0"))
    with s.csync(login=False) as session:
        session.send("AUTHENTICATE LOGIN\r\n")
        for reply in ("cmVwbA==", "c2VjcmV0"):
            session.client.stream.line()
            session.send(reply + "\r\n")
        session.ok(session.answer("(LOGIN)"))


@scenario(live=False)
def not_an_administrator(s):
    """A user that is no administrator may log in, and is then refused every command."""
    s.replica.lab("user", "--folders", "", "--password", "secret", "plainuser")
    with s.csync(login=False) as session:
        answer = session.down("AUTHENTICATE PLAIN (plainuser)", session.client.authenticate("plainuser", "secret"))
        if answer.ok:
            for line in ("NOOP", "RESTART", "GET USER plainuser", "APPLY RESERVE %(PARTITION default MBOXNAME () GUID ())", "EXIT"):
                session.no(session.line(line), "NO")


@scenario(live=False)
def capabilities(s):
    """What can be enabled and what cannot, in any spelling."""
    with s.csync(capabilities=()) as session:
        for names in (["SIEVE-MAILBOX"], ["sieve-mailbox"], ["NO-SUCH-THING"], [], ["X", "SIEVE-MAILBOX", "SIEVE-MAILBOX"],
                      "SIEVE-MAILBOX"):
            session.ok(session.apply("CAPABILITIES", names))


@scenario(live=False)
def compression(s):
    """A session over DEFLATE: commands, an upload, an update; a second COMPRESS is refused."""
    box = s.box()
    for number in range(20):
        box.append(mail(number, body="line of text\r\n" * 200))
    with s.csync() as session:
        session.line("COMPRESS")
        session.line("COMPRESS LZMA")
        session.ok(session.compress())
        session.no(session.line("COMPRESS DEFLATE"), "NO")
        session.ok(session.line("NOOP"))
        session.create(box)
        session.ok(session.get("FULLMAILBOX", box.name))
    with s.csync(login=False) as session:
        session.ok(session.line("COMPRESS deflate"))
        session.client.stream.start_deflate()
        session.ok(session.down("AUTHENTICATE", session.client.authenticate("repl", "secret")))
        session.ok(session.get("MAILBOXES", [box.name]))


@scenario(live=False)
def framing(s):
    """Empty lines, unknown words, missing and extra arguments, two spaces, bare line feeds."""
    with s.csync() as session:
        for line in ("", "FOO", "FOO BAR %(", "NOOP NOOP", "RESTART now", "EXIT please", "GET NOSUCH x", "APPLY NOSUCH %()",
                     "RESTORE NOSUCH %()", "GET  USER x", "GET USER %x", "GET USER )", "APPLY MAILBOX %(A", "NOOP"):
            if line.endswith("%(A"):
                # an open list swallows the following line
                session.send("APPLY MAILBOX %(A b\r\n)\r\n")
                session.answer("APPLY MAILBOX %(A b<CRLF>)")
                continue
            session.line(line)
        session.send("NOOP\n")
        session.ok(session.answer("NOOP<LF>"))
        session.send("GET USER nobody\n")
        session.ok(session.answer("GET USER nobody<LF>"))
        session.ok(session.line("get user nobody"))
        session.ok(session.line("Get User nobody"))


@scenario(live=False)
def dlist_spellings(s):
    """The same command with atoms, quoted strings, literals, odd white space, keys in quotes."""
    box = s.box()
    box.append(mail(1))
    with s.csync() as session:
        session.create(box)
        name = box.name
        quoted = '"%s"' % name
        literal = "{%d+}\r\n%s" % (len(name), name)
        for value in (name, quoted, literal, '"user\\%s"' % name[4:], '"%s"' % "".join("\\" + c for c in name)):
            session.ok(session.line("GET MAILBOXES (%s)" % value))
        session.ok(session.line("GET MAILBOXES ( %s  %s )" % (name, quoted)))
        session.ok(session.line("GET MAILBOXES (\r\n%s\r\n)" % name))
        session.ok(session.line("GET \"MAILBOXES\" (%s)" % name))
        session.ok(session.line("GET {9+}\r\nMAILBOXES (%s)" % name))
        session.ok(session.line("GET MAILBOXES %s" % name))
        session.ok(session.line("GET MAILBOXES NIL"))
        session.ok(session.line("GET USER \"%s\"" % s.user))
        session.ok(session.line("GET USER {%d+}\r\n%s" % (len(s.user), s.user)))


@scenario(live=False)
def names_that_are_nil(s):
    """NIL instead of a name (the stock server crashes on some)."""
    for line in ("GET FULLMAILBOX NIL", "GET USER NIL", "GET META NIL", "GET QUOTA NIL", "GET UNIQUEIDS (NIL)", "GET MAILBOXES (NIL)",
                 "APPLY UNMAILBOX NIL", "APPLY UNUSER NIL", "APPLY UNQUOTA NIL", "APPLY SUB %(USERID NIL MBOXNAME NIL)"):
        with s.csync() as session:
            session.line(line)


@scenario(live=False)
def keys_unknown_repeated_and_in_any_order(s):
    """Unknown keys are ignored, of repeated ones the first counts, the order does not matter."""
    box = s.box()
    box.append(mail(1), ["\\Seen"])
    with s.csync() as session:
        session.ok(session.upload(box))
        item = box.item()
        shuffled = dict(sorted(item.items(), reverse=True))
        shuffled.update({"JMAPID": "j1", "VERSION": 20, "USERFLAGS": [], "USERGROUPS": "g\tstaff", "DELETEDMODSEQ": 7,
                         "COMPACT_EMAILIDS": 1, "X-INVENTED": {"A": ["b", None]}})
        raw = dlist(shuffled)
        session.ok(session.line(b"APPLY MAILBOX " + raw[:-1] + b" LAST_UID 99 HIGHESTMODSEQ 99)", "APPLY MAILBOX (shuffled)"))
        session.ok(session.get("FULLMAILBOX", box.name))


@scenario(live=False)
def pipelined_commands(s):
    """Many commands in one write; the answers come in order."""
    box = s.box()
    for number in range(3):
        box.append(mail(number))
    with s.csync() as session:
        files = dlist(box.files())
        session.send(b"NOOP\r\nAPPLY MESSAGE " + files + b"\r\nAPPLY MAILBOX " + dlist(box.item()) + b"\r\nGET MAILBOXES (" +
                     box.name.encode() + b")\r\nRESTART\r\nNOOP\r\n")
        for label in ("NOOP", "MESSAGE", "MAILBOX", "GET MAILBOXES", "RESTART", "NOOP"):
            session.ok(session.answer(label))


@scenario(live=False)
def pieces(s):
    """A command that arrives octet by octet."""
    with s.csync() as session:
        for char in b'GET MAILBOXES (user.nobody {4+}\r\nuser "x y")\r\n':
            session.send(bytes([char]))
        session.ok(session.answer("GET MAILBOXES (octet by octet)"))


@scenario(live=False)
def synchronising_literal(s):
    """A {n} literal, without the +, which old clients send (the stock server of Debian 12 dies of it)."""
    with s.csync() as session:
        session.line("GET USER {6}\r\nnobody")
    with s.csync() as session:
        session.ok(session.line("NOOP"))


@scenario(live=False)
def literals_in_answers(s):
    """A value that needs a literal comes back as {n}, without the +, which new clients demand."""
    box = s.box()
    box.annotations = [Annotation("/comment", "100% \"quoted\" \\ and more"), Annotation("/specialuse", "\\Sent", s.user),
                       Annotation("/vendor/x/long", "y" * 1500)]
    with s.csync() as session:
        session.create(box)
        session.ok(session.get("MAILBOXES", [box.name]))
        s.require(session.client.stream.literal_forms == {b""}, "literal forms: %r" % session.client.stream.literal_forms)


@scenario(live=False)
def numbers_and_nil(s):
    """NIL where a value is mandatory, words where numbers belong, numbers beyond 32 and 64 bits."""
    box = s.box()
    with s.csync() as session:
        session.create(box)
        for key, value in (("LAST_UID", "abc"), ("LAST_UID", Raw(b"4294967296")), ("HIGHESTMODSEQ", "-1"),
                           ("HIGHESTMODSEQ", Raw(b"99999999999999999999999")), ("UIDVALIDITY", ""), ("RECENTTIME", [1]),
                           ("SYNC_CRC", Flag(b"\\flag")), ("PARTITION", ...), ("ACL", ...), ("OPTIONS", ...), ("UNIQUEID", ...),
                           ("MBOXNAME", ...), ("HIGHESTMODSEQ", ...), ("RECORD", ...), ("RECORD", "x"), ("RECORD", None)):
            with s.csync() as inner:
                inner.update(box, label="%s %s" % (key, "left out" if value is ... else dlist(value).decode()), **{key: value})
        session.ok(session.get("FULLMAILBOX", box.name))
