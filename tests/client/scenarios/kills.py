"""SIGKILL at any moment; whoever is started again ends equal, without help."""
import os
import random
import signal
import subprocess
import threading
import time

import instances
from mail import Mail, deliver, message
from pair import Failure, wait_until

USERS = ["kill%d" % number for number in range(4)]


def killed(pair):
    """The client of a first run, killed earlier and later; the last one ends equal."""
    pair.master.corpus("deliver", "--prefix", "k", "--mailboxes", 3, messages=12)
    for number in range(12):
        client = subprocess.Popen(pair.command("-A", "--jobs", 2), stdin=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, **pair.environment())
        time.sleep(0.05 + 0.07 * number)
        client.send_signal(signal.SIGKILL)
        client.wait()
    pair.sync("-A")
    pair.expect_equal()
    pair.expect_settled()


def kills(pair):
    """Client or server, killed while mail arrives and changes; both go on by themselves."""
    rng = random.Random(pair.settings.seed)
    for user in USERS:
        pair.make_user(user)
        mail = Mail(pair.master, user)
        for box in ("in", "out"):
            mail.create(box)
        mail.close()
    done = {"client": 0, "server": 0}
    going = threading.Event()
    going.set()
    trouble = []
    workers = [threading.Thread(target=change, args=(pair, user, going, trouble)) for user in USERS]
    client = pair.follow("-d", 0).__enter__()
    for worker in workers:
        worker.start()
    try:
        for _ in range(pair.settings.kills):
            time.sleep(rng.uniform(0, 1) ** 2 * 1.5)        # often soon after the start of one
            if rng.random() < 0.5:
                client.kill()
                client = pair.follow("-d", 0).__enter__()
                done["client"] += 1
            else:
                kill_server(pair)
                done["server"] += 1
            if client.has_ended():
                raise Failure("the client has ended: " + client.text()[-2000:])
        going.clear()
        for worker in workers:
            worker.join()
        if trouble:
            raise Failure("\n".join(trouble[:5]))
        pair.drain()
        client.shut_down()
    finally:
        going.clear()
        if not client.has_ended():
            client.kill()
    pair.expect_equal(*USERS)
    return "seed %d: the client %d times, the server %d times" % (pair.settings.seed, done["client"], done["server"])


def kill_server(pair):
    """Kills what serves the csync port. Our server is started again; the stock one's master does that."""
    if pair.replica.server == "ours":
        os.kill(pair.replica.server_pid(), signal.SIGKILL)
        wait_until(lambda: os.path.exists(pair.replica.dir + "/run/sync_server.status"), "the server has ended")
        pair.replica.lab("serve")
        return
    wanted = [b"sync_server", b"-C", (pair.replica.dir + "/imapd.conf").encode()]
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as file:
                if file.read().split(b"\0")[:3] == wanted:
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass                                # it has ended meanwhile


def change(pair, user, going, trouble):
    """Mail of one user that arrives, moves, changes and goes, as long as it is wanted."""
    rng, mail, number = random.Random(user), Mail(pair.master, user), 0
    while going.is_set() and not trouble:
        number += 1
        try:
            step = rng.random()
            mail.select(rng.choice(("INBOX", "in", "out")))
            if step < 0.5:
                deliver(pair.master, user, message("%s-%d" % (user, number), rng.choice((0, 0, 5000, 300000))))
            elif step < 0.65:
                mail.attempt("STORE %d +FLAGS (\\Flagged $k%d)" % (rng.randrange(1, 20), rng.randrange(5)))
            elif step < 0.8:
                mail.attempt("MOVE %d %s" % (rng.randrange(1, 20), rng.choice(("in", "out"))))
            elif step < 0.9:
                mail.attempt("COPY 1:%d %s" % (rng.randrange(1, 5), rng.choice(("in", "out"))))
            else:
                mail.attempt("STORE %d +FLAGS (\\Deleted)" % rng.randrange(1, 10))
                mail.attempt("EXPUNGE")
            time.sleep(rng.uniform(0, 0.1))
        except (instances.labimap.ImapError, OSError) as error:
            trouble.append("%s: %s: %s" % (user, type(error).__name__, error))
    mail.close()
