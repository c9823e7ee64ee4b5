#!/usr/bin/env python3
"""Says lines to a server of a test instance and prints what it answers.

    talk.py csync HOST:PORT            lines of the replication protocol
    talk.py imap HOST:PORT USER        commands without tags, acting as USER
    talk.py sieve HOST:PORT USER       commands; 'PUT NAME TEXT' stores and activates a script,
                                       SCRIPTS lists them all with their contents
    talk.py lmtp SOCKET RECIPIENT      messages

What to say comes on standard input, one text a line, and each answer is a line of standard
output; line breaks and percent signs in them are written %0D, %0A and %25.
"""
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
import csync
import labimap


def text(data):
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data


def csync_talk(endpoint):
    peer = csync.Csync(endpoint)
    return lambda line: "\n".join(peer.line(line).show())


def imap_talk(endpoint, user):
    peer = labimap.connect(endpoint, "cyrus", "secret", authorize="" if user == "cyrus" else user)

    def say(line):
        try:
            answers = peer.command(line)
        except labimap.ImapError as error:
            return "failed: %s" % error
        return "\n".join("".join(text(part) for part in answer) for answer in answers)
    return say


def sieve_talk(endpoint, user):
    peer = labimap.Sieve(endpoint, "cyrus", "secret", authorize=user)

    def say(line):
        if line.startswith("PUT "):
            name, content = line[4:].split(" ", 1)
            peer.put(name, content, active=True)
            return ""
        if line == "SCRIPTS":
            return "\n".join("%s %s %r" % (text(name), active, text(content))
                             for name, (active, content) in sorted(peer.scripts().items()))
        return "\n".join(text(answer) for answer in peer.command(line.encode()))
    return say


def lmtp_talk(socket, recipient):
    peer = labimap.Lmtp(socket)

    def say(message):
        peer.deliver(recipient, message.encode())
        return ""
    return say


talks = {"csync": csync_talk, "imap": imap_talk, "sieve": sieve_talk, "lmtp": lmtp_talk}
say = talks[sys.argv[1]](*sys.argv[2:])
for line in sys.stdin:
    answer = say(urllib.parse.unquote(line.rstrip("\n")))
    print(answer.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"), flush=True)
