"""Messages changed over IMAP and LMTP on the master, replicated by the stock sync_client."""
from harness import scenario
from mail import BROKEN_MIME, EIGHT_BIT, LONG_LINES, MANY_RECIPIENTS, NO_BODY, mail, multipart


@scenario()
def full_sync(s):
    """A user with several mailboxes and messages arrives for the first time."""
    s.make_user(folders=["Sent", "Work", "Work/2020"])
    for number in range(6):
        s.append("INBOX", mail(number), ["", "\\Seen", "\\Flagged \\Answered", "\\Draft", "$Forwarded", "NonJunk"][number])
    s.append("Work/2020", multipart(7), "\\Seen")
    s.sync_user()
    s.equal()
    s.sync_user()


@scenario()
def append(s):
    """Messages appended after the first synchronisation."""
    s.make_user()
    s.append("INBOX", mail(1))
    s.sync_user()
    for number in range(2, 5):
        s.append("INBOX", mail(number), "\\Seen" if number == 3 else "")
    s.sync_user()
    s.equal()


@scenario()
def append_many(s):
    """Three hundred messages in one update."""
    s.make_user()
    with s.imap() as imap:
        for number in range(300):
            message = mail(number, body="line\r\n" * (number % 40))
            imap.command('APPEND INBOX (%s) "02-Feb-2020 00:00:00 +0000" {%d+}\r\n' % (
                "\\Seen" if number % 3 else "", len(message)), message)
    s.sync_user()
    s.equal()


@scenario()
def flags(s):
    """System flags and keywords set and removed."""
    s.make_user()
    for number in range(4):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Seen \\Flagged)")
        imap.command("STORE 2 +FLAGS ($label1 Junk)")
        imap.command("STORE 3:4 +FLAGS (\\Answered \\Draft \\Deleted)")
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1:* -FLAGS (\\Seen \\Deleted $label1)")
        imap.command("STORE 1:* +FLAGS (other)")
    s.sync_user()
    s.equal()


@scenario()
def keywords_many(s):
    """A hundred keywords, which need every word of the flag bitmap."""
    s.make_user()
    for number in range(2):
        s.append("INBOX", mail(number))
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        for first in range(0, 100, 20):
            imap.command("STORE 1 +FLAGS (%s)" % " ".join("key%d" % i for i in range(first, first + 20)))
        imap.command("STORE 2 +FLAGS (key99 key31 key32 key63 key64)")
    s.sync_user()
    s.equal()


@scenario()
def expunge(s):
    """Messages expunged after they were replicated, and before."""
    s.make_user()
    for number in range(5):
        s.append("INBOX", mail(number))
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("UID STORE 3,5 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.append("INBOX", mail(9))
    s.sync_user()
    s.equal()


@scenario()
def expunge_last_message(s):
    """The mailbox is emptied, and UIDs go on behind."""
    s.make_user()
    s.append("INBOX", mail(1))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 1 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.sync_user()
    s.equal()
    s.append("INBOX", mail(2))
    s.sync_user()
    s.equal()


@scenario()
def purged_on_master(s):
    """Expunged records are purged on the master (cyr_expire -X 0) before the replica heard of them."""
    s.make_user()
    for number in range(4):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("STORE 2:3 +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")
    s.master.tool("cyr_expire", "-E", "1", "-X", "0", "-u", s.user)
    s.append("INBOX", mail(8))
    s.sync_user()
    s.equal(ignore=["vanished"])


@scenario()
def move_between_mailboxes(s):
    """A message moved to another mailbox (found by RESERVE) and back."""
    s.make_user(folders=["Other"])
    for number in range(3):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("UID MOVE 2 Other")
    s.sync_user()
    s.equal()
    with s.imap() as imap:
        imap.command("SELECT Other")
        imap.command("UID MOVE 1 INBOX")
    s.sync_user()
    s.equal()


@scenario()
def reserve_from_other_mailbox(s):
    """Copies of messages that the replica already holds elsewhere are not sent again."""
    s.make_user(folders=["Copies"])
    for number in range(3):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("COPY 1:3 Copies")
    s.sync_user()
    s.equal()


@scenario()
def duplicates_of_one_guid(s):
    """The same message several times in one mailbox and in another."""
    s.make_user(folders=["Twice"])
    for _ in range(3):
        s.append("INBOX", mail(1))
    s.append("Twice", mail(1))
    s.append("Twice", mail(1), "\\Flagged")
    s.sync_user()
    s.equal()
    s.append("INBOX", mail(1), "\\Seen")
    s.append("Twice", mail(2))
    s.append("Twice", mail(2))
    s.sync_user()
    s.equal()


@scenario(state=False)
def lmtp_delivery(s):
    """Messages delivered by LMTP (with a Received line and the time of now)."""
    s.make_user()
    for number in range(3):
        s.deliver(mail(number))
    s.sync_user()
    s.equal()
    s.deliver(multipart(9))
    s.sync_user()
    s.equal()


@scenario()
def broken_messages(s):
    """8-bit headers, broken MIME, no body, very long lines, hundreds of recipients."""
    s.make_user()
    with s.imap() as imap:
        for message in (EIGHT_BIT, BROKEN_MIME, NO_BODY, LONG_LINES, MANY_RECIPIENTS):
            imap.command('APPEND INBOX () "03-Mar-2020 00:00:00 +0000" {%d+}\r\n' % len(message), message)
    s.sync_user()
    s.equal()


@scenario(state=False)
def internal_dates(s):
    """INTERNALDATEs at both ends of what can be stored, and in other time zones."""
    s.make_user()
    for number, date in enumerate(["01-Jan-1970 00:00:01 +0000", "19-Jan-2038 03:14:07 +0000", "29-Feb-2020 23:59:59 -1130",
                                   " 7-Jul-1995 07:07:07 +0545", "01-Jan-2037 00:00:00 +1400"]):
        s.append("INBOX", mail(number), date=date)
    s.sync_user()
    s.equal()


@scenario()
def recent_and_seen_by_owner(s):
    """\\Recent and \\Seen follow the owner's sessions."""
    s.make_user()
    for number in range(3):
        s.append("INBOX", mail(number))
    s.sync_user()
    with s.imap() as imap:
        imap.command("SELECT INBOX")
        imap.command("FETCH 1 BODY[TEXT]")
    s.sync_user()
    s.equal()


@scenario(slow=True, state=False)
def message_of_200_megabytes(s):
    """One message of 200 MB."""
    s.make_user()
    s.append("INBOX", mail(1, body=("0123456789abcdef" * 4 + "\r\n") * (200000000 // 66)))
    s.sync_user()
    s.equal()
    s.require_memory_below(64)
