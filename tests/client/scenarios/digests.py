"""Digests of users' states, by which -A passes over those who are the same on both sides."""
import labimap
from mail import message
from pair import expect


def asked_for(pair):
    """Whom -A asks the replica about in the ordinary way, and whether by digests before."""
    lines = pair.sync("-A", "-vv", "--jobs", 1).stderr.splitlines()
    users = {line.split()[3] for line in lines if line.startswith("> GET USER ")}
    return users, any(line.startswith("> GET X-DIGEST ") for line in lines)


def digests(pair):
    """Each change that a user can make is seen by -A though it compares digests first."""
    admin = pair.of_master()
    for user in ("digest", "digest-too"):
        admin.create("user/" + user)
        admin.command("SETQUOTA user/", user, " (STORAGE 100000)")
    admin.create("shared/digest")
    admin.command("SETACL shared/digest anyone lrswipt")
    admin.append("shared/digest", "of-digest")
    mail = pair.of_master("digest")
    for box in ("INBOX", "box/a", "box/b"):
        mail.attempt("CREATE ", box)
        mail.append(box, "of-digest")
        mail.append(box, "of-digest-too")
    master = pair.master
    sieve = labimap.Sieve(master.sieve, "cyrus", "secret", "digest")
    sieve.put("main", "keep;\r\n", active=True)
    pair.sync("-A")
    asked, by_digest = asked_for(pair)
    expect(by_digest == (pair.kind == "ours"), "digests were asked for:", by_digest)
    if not by_digest:
        return
    expect(not asked, "nothing changed, and it was asked about", asked)

    def see_what_is_shared():
        mail.select("Shared Folders/shared/digest")
        mail.command("STORE 1 +FLAGS (\\Seen)")
        mail.command("CLOSE")

    mail.select("INBOX")
    changes = {
        "flag": lambda: mail.command("STORE 1 +FLAGS (\\Flagged)"),
        "keyword": lambda: mail.command("STORE 1 +FLAGS ($Mine)"),
        "seen": lambda: mail.command("STORE 2 +FLAGS (\\Seen)"),
        "annotation of a message": lambda: mail.command('STORE 1 ANNOTATION (/comment (value.shared "c"))'),
        "append": lambda: mail.append("box/a", message("digest-new")),
        "expunge": lambda: (mail.command("STORE 2 +FLAGS (\\Deleted)"), mail.command("EXPUNGE")),
        "annotation of a mailbox": lambda: mail.command('SETMETADATA box/a (/private/comment "p")'),
        "option": lambda: mail.command('SETMETADATA box/a (/shared/vendor/cmu/cyrus-imapd/duplicatedeliver "true")'),
        "subscription": lambda: mail.command("SUBSCRIBE box/a"),
        "unsubscription": lambda: mail.command("UNSUBSCRIBE box/a"),
        "seen of what is shared": see_what_is_shared,
        "rights": lambda: mail.command("SETACL box/b digest-too lr"),
        "quota": lambda: admin.command("SETQUOTA user/digest (STORAGE 200000)"),
        "another quota root": lambda: admin.command("SETQUOTA user/digest/box/b (STORAGE 300)"),
        "script": lambda: sieve.put("other", "discard;\r\n"),
        "active script": lambda: sieve.put("other", "discard;\r\n", active=True),
        "creation": lambda: mail.create("box/c/d"),
        "rename": lambda: mail.rename("box/c/d", "box/c/e"),
        "deletion": lambda: mail.delete("box/b"),
    }
    for what, change in changes.items():
        change()
        asked, _ = asked_for(pair)
        expect(asked == {"digest"}, "after a change of", what, "it was asked about", asked)
    asked, _ = asked_for(pair)
    expect(not asked, "in the end it was asked about", asked)
    pair.expect_equal("digest", "digest-too")
    # What is forced is compared in full.
    forced = pair.sync("-A", "-O", "-vv").stderr
    expect("GET X-DIGEST" not in forced and "> GET USER digest" in forced, "-O used digests")
