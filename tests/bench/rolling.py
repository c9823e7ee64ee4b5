"""Deliveries while a client rolls: how long each takes to the replica, and what that costs."""
import concurrent.futures
import os
import random
import struct
import subprocess
import threading
import time

import bench
import labimap

SETTLE = 60                     # seconds until the client must have begun to roll
CATCH_UP = 300                  # seconds until the replica must have everything
POLL = 0.004                    # seconds between two looks at the replica's indexes
RECORD_COUNT = 20               # offset of the number of records in cyrus.index


def deliver(socket, users, seed, rate, end):
    """One delivering process: (user, time of acceptance) of each message."""
    rng = random.Random(seed)
    lmtp = labimap.Lmtp(socket)
    text = (b"x" * 70 + b"\r\n") * 2000
    accepted, started = [], time.time()
    while time.time() < end:
        user = rng.choice(users)
        length = int(min(max(rng.lognormvariate(0, 1.0) * 6000, 300), 140000))
        lmtp.deliver(user + "@lab.test", b"Message-ID: <%d.%d.%d@lab.test>\r\nFrom: a@lab.test\r\nSubject: s\r\n\r\n" % (
            len(accepted), seed, time.time_ns()) + text[:length - length % 72])
        accepted.append((user, time.time()))
        if rate:
            time.sleep(max(0.0, started + len(accepted) / rate - time.time()))
    lmtp.close()
    return accepted


class Arrivals(threading.Thread):
    """Watches the replica's indexes: when each had how many records."""

    def __init__(self, indexes):
        super().__init__(daemon=True)
        self.indexes, self.stopped = indexes, threading.Event()
        self.base = {user: self.count(user) for user in indexes}
        self.seen = {user: [] for user in indexes}

    def count(self, user):
        try:
            with open(self.indexes[user], "rb") as file:
                file.seek(RECORD_COUNT)
                return struct.unpack(">I", file.read(4))[0]
        except (OSError, struct.error):
            return 0

    def run(self):
        while not self.stopped.wait(POLL):
            for user, seen in self.seen.items():
                new = self.count(user) - self.base[user] - len(seen)
                seen.extend([time.time()] * max(0, new))

    def total(self):
        return sum(len(seen) for seen in self.seen.values())


class Roller:
    """A client that follows the master's log."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=bench.die_with_parent)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def index_of(replica, user):
    done = subprocess.run([replica.tool, "path", replica.path, "user/" + user], stdout=subprocess.PIPE, text=True, check=True)
    return os.path.join(done.stdout.strip(), "cyrus.index")


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return what
        time.sleep(0.05)
    return ""


def deliver_all(job, socket, users, rate, started):
    """(time of acceptance, user) of all that is delivered, by as many processes as the job has."""
    with concurrent.futures.ProcessPoolExecutor(job.deliverers) as workers:
        parts = [workers.submit(deliver, socket, users, seed + 1, rate / job.deliverers, started + job.seconds)
                 for seed in range(job.deliverers)]
        return sorted((moment, user) for part in parts for user, moment in part.result())


def run(site, job, replica, follow, rate):
    """One measured run; both servers hold the users already."""
    users = ["u%04d" % number for number in range(1, job.users + 1)]
    socket = os.path.join(site.master.path, "conf/socket/lmtp")
    arrivals = Arrivals({user: index_of(replica, user) for user in users})
    waiting = deliver_all(job, socket, users, 0, time.time()) if job.backlog else []
    arrivals.start()
    roller = None if job.backlog else Roller(follow)
    problem = ""
    try:
        if not job.backlog:
            warm = deliver(socket, users, 0, 0, time.time() + 0.5)
            problem = wait_for(lambda: arrivals.total() >= len(warm), SETTLE, "the client does not roll")
            for user in users:
                arrivals.seen[user].clear()
                arrivals.base[user] = arrivals.count(user)
        watches = {"client": bench.Watch(" ".join(follow[-7:])), "server": bench.Watch("sync_server -C %s/imapd.conf" % replica.path)}
        for watch in watches.values():
            watch.start()
        cpu, started = bench.machine_cpu(), time.time()
        if job.backlog:
            roller = Roller(follow)
            accepted = [(started, user) for _, user in waiting]
        else:
            accepted = deliver_all(job, socket, users, rate, started)
        problem = problem or wait_for(lambda: arrivals.total() >= len(accepted), CATCH_UP, "the replica does not catch up")
        wall = time.time() - started
        arrivals.stopped.set()
        arrivals.join()
        others = bench.machine_cpu() - cpu
        usage = {side: watch.result() for side, watch in watches.items()}
    finally:
        if roller:
            roller.stop()
    arrived = {user: iter(times) for user, times in arrivals.seen.items()}
    lags = sorted(next(arrived[user], started + wall) - moment for moment, user in accepted)
    result = {"wall": wall, "messages": len(accepted), "rate": len(accepted) / wall, "others": others}
    for name, share in (("lag_median", 0.5), ("lag_p90", 0.9), ("lag_p99", 0.99)):
        result[name] = max(0.0, lags[min(len(lags) - 1, int(len(lags) * share))])
    for side, used in usage.items():
        result.update({side + "_user": used[0], side + "_sys": used[1], side + "_rss_kib": used[2]})
        result["others"] -= used[0] + used[1]
    result["others"] = max(0.0, result["others"])
    result["server_written"] = usage["server"][3]
    if problem:
        result["problem"] = problem
    return result
