"""Generated mail of all kinds and random changes, from the lab's corpus."""
import os
import subprocess
import sys

import corpus
from harness import LAB, Failed, scenario


def run_corpus(s, command, *args):
    """corpus.py on the master, for the one user that its prefix and number make."""
    done = subprocess.run([sys.executable, os.path.join(LAB, "corpus.py"), command, "--imap", "127.0.0.1:%d" % s.master.imap,
                           "--sieve", "127.0.0.1:%d" % s.master.sieve, "--prefix", s.user, "--jobs", "1", *args],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        raise Failed("corpus.py %s: %s" % (command, done.stdout[-400:]))


def generated(session, box, messages, many=50):
    """Puts messages into a mailbox by hand, some dozen per update."""
    for start in range(0, len(messages), many):
        new = [box.append(m, ["\\Seen"] if n % 3 else [], date=1500000000 + 1000 * n)
               for n, m in enumerate(messages[start:start + many], start)]
        since = box.state() if start else None
        session.ok(session.upload(box, new))
        if since:
            # SINCE is the state before these messages
            box.records = box.records[:start]
            since = {**box.state(), "SINCE_MODSEQ": new[0].modseq - 1}
            box.records += new
        session.ok(session.update(box, new, since, "(%d messages)" % len(new)))


@scenario(live=False)
def generated_messages(s):
    """Three hundred messages of the corpus: index and cache records must be the same, octet by octet."""
    box = s.box()
    messages = [corpus.Maker("compliance", "u", 0, number, 3000, 1.2, 0).make().data for number in range(300)]
    with s.csync() as session:
        generated(session, box, messages)


@scenario(live=False, sound=False, odd=True)
def weird_messages(s):
    """The corpus's catalogue of odd messages: NULs, bare line feeds, endless headers, deep and broken MIME."""
    box = s.box()
    with s.csync() as session:
        generated(session, box, [message for _, message in corpus.weird_messages("1")], 10)


@scenario(live=False, slow=True)
def generated_messages_many(s):
    """Three thousand messages of the corpus, with larger ones among them."""
    box = s.box()
    messages = [corpus.Maker("compliance many", "u", 0, number, 8000, 1.5, 0).make().data for number in range(3000)]
    with s.csync() as session:
        generated(session, box, messages, 200)


@scenario(state=False, slow=True)
def churn(s):
    """Mail in a dozen mailboxes, then three rounds of every kind of change, each synchronised as a whole."""
    s.users = [s.user + "0001"]
    run_corpus(s, "deliver", "--users", "1", "--mailboxes", "12", "--messages", "6", "--exotic")
    s.sync("-u", *s.users)
    s.equal()
    for seed in ("11", "12", "13"):
        run_corpus(s, "mutate", "--users", "1", "--seed", seed)
        s.sync("-u", *s.users)
        s.equal()
    # what was renamed and deleted is random in its ids only
    s.lines = ["EQUAL after each round"]


@scenario(state=False)
def churn_by_log(s):
    """The same, but only what the sync log says is synchronised."""
    s.users = [s.user + "0001"]
    run_corpus(s, "deliver", "--users", "1", "--mailboxes", "8", "--messages", "5")
    s.sync_log()
    s.sync("-u", *s.users)
    s.equal()
    for seed in ("21", "22"):
        run_corpus(s, "mutate", "--users", "1", "--seed", seed, "--only",
                   "flags,copy,move,expunge,annotate,annotate-messages,rename,delete,subscribe,acl,sieve,specialuse,options")
        s.sync_log(status=None)
        s.equal()
    s.lines = ["EQUAL after each round"]
