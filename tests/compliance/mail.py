"""Small messages for the scenarios, the same at every run."""


def mail(number=1, subject=None, body="body\r\n", extra=""):
    """A plain message; another number is another GUID."""
    return ("From: Anna <anna@lab.test>\r\nTo: bert@lab.test\r\nSubject: %s\r\nMessage-ID: <%s@lab.test>\r\n"
            "Date: Wed, 01 Jan 2020 10:00:00 +0000\r\n%s\r\n%s" % (
                subject or "message %s" % number, number, extra, body)).encode("utf-8")


def multipart(number=1):
    """Text, HTML, an attachment and a nested message."""
    inner = mail("%s-inner" % number).decode()
    return mail(number, extra='MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b1"\r\n', body="\r\n".join([
        "preamble", "--b1", 'Content-Type: multipart/alternative; boundary="b2"', "", "--b2", "", "plain", "--b2",
        "Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "<b>=C3=A4</b>",
        "--b2--", "--b1", 'Content-Type: application/pdf; name="a b.pdf"', "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="a b.pdf"', "", "JVBERi0xLjQK", "--b1", "Content-Type: message/rfc822",
        "", inner, "--b1--", "epilogue", ""]))


EIGHT_BIT = (b"From: =?utf-8?Q?J=C3=BCrgen?= <j@lab.test>\r\nTo: \"B\xf6b\" <b@lab.test>\r\nSubject: gr\xfc\xdfe aus M\xfcnchen\r\n"
             b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe4\xf6\xfc \xff\x80\r\n")
BROKEN_MIME = (b"From: a@lab.test\r\nSubject: broken\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"x\r\n"
               b"Content-Type: text/plain\r\n\r\n--x\r\nContent-Type: image/png; name=\"unclosed\r\n\r\n--y\r\n--x--x\r\n")
NO_HEADERS = b"\r\njust a body, and no header at all\r\n"
NO_BODY = b"From: a@lab.test\r\nSubject: header only\r\n"
LONG_LINES = mail("long-lines", body="x" * 200000 + "\r\n" + "y" * 70000, extra="X-Long: " + "z" * 60000 + "\r\n")
MANY_RECIPIENTS = mail("many", extra="Cc: " + ",\r\n ".join("Person %d <p%d@lab.test>" % (i, i) for i in range(600)) + "\r\n")
