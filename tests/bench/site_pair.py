"""A master and the two replicas, one with the stock server and one with ours."""
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import bench
import rolling
from syncs import Syncs

LAB = os.path.dirname(os.path.abspath(bench.__file__))
TOOL = os.path.join(LAB, "cyrus-instance")
STOCK = os.path.join(os.environ.get("CYRUS_BIN", "/usr/lib/cyrus/bin"), "sync_client")


# Deliveries a second if nobody has measured what stock sustains.
RATE = 30
# Users of whom both servers are compared.
COMPARED = 200
# Seconds until a run after many files were removed.
AFTER_PURGE = 60
# Octets that must stay free when the stores of earlier runs are kept.
SPARE = 12 << 30


class Instance:
    """A Cyrus of the lab."""
    tool = TOOL

    def __init__(self, path, base, *options):
        self.path, self.base = path, base
        self.imap, self.csync = "127.0.0.1:%d" % base, "127.0.0.1:%d" % (base + 1)
        self.call("create", "--port-base", str(base), *options)

    def call(self, verb, *arguments):
        done = subprocess.run([TOOL, verb, self.path, *arguments], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit("bench: cyrus-instance %s %s: %s" % (verb, self.path, done.stdout[-2000:]))

    def empty(self):
        self.call("stop")
        self.call("reset", "--aside")
        self.call("start")

    def destroy(self):
        self.call("destroy")


class Site:
    def __init__(self, path, base, client, server):
        self.path, self.base, self.client = path, base, os.path.join(path, "sync_client")
        os.environ["CYRUS_SYNC_BIN"] = server
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)
        # where the instances' user can reach it
        shutil.copy(client, self.client)
        os.chmod(self.client, 0o755)
        self.store, self.rate = None, RATE
        self.master = Instance(os.path.join(path, "m"), base, "--option", "cyrus_sync_client_plaintext: yes")
        self.replicas = {
            "stock": Instance(os.path.join(path, "stock"), base + 10),
            "ours": Instance(os.path.join(path, "ours"), base + 20, "--sync-server", "ours"),
        }

    def destroy(self):
        for instance in [self.master, *self.replicas.values()]:
            instance.destroy()
        shutil.rmtree(self.path, ignore_errors=True)

    def master_for(self, job):
        """Lets the master hold what the job wants."""
        if self.store == job.store():
            return
        self.master.empty()
        users, mailboxes, each = job.store()
        self.lab("corpus.py", "deliver", "--imap", self.master.imap, "--users", str(users),
                 "--mailboxes", str(mailboxes), "--messages", str(each))
        self.store = job.store()

    def purge(self):
        """Removes the stores of earlier runs, when there is no room for more: ext4 makes files slowly for minutes
        after many were removed."""
        for instance in [self.master, *self.replicas.values()]:
            instance.call("purge")
        time.sleep(AFTER_PURGE)

    def octets(self):
        total = 0
        for directory, _, names in os.walk(os.path.join(self.master.path, "spool")):
            total += sum(os.path.getsize(os.path.join(directory, n)) for n in names if n.endswith("."))
        return total

    def run(self, job, client, server):
        """One measured run, and the comparison after it."""
        replica = self.replicas[server]
        self.master_for(job)
        if job.spoils_store:
            self.store = None
        replica.empty()
        if shutil.disk_usage(self.path).free < SPARE:
            self.purge()
        if job.synced_before:
            before = self.command("ours" if job.any_client_before else client, replica.csync, *job.arguments)
            subprocess.run(before, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            job.change(self.master)
        if job.rolling:
            follow = self.command(client, replica.csync, "-R", "-d", "0")
            run = rolling.run(self, job, replica, follow, 0 if job.deliverers > 1 else self.rate)
        else:
            run = self.timed(job, replica, client)
        problem = "; ".join(filter(None, [run.get("problem"), self.difference(replica, job)]))
        if "exit" in run:
            problem = "exit status %s; %s" % (run["exit"], problem)
        if problem:
            run["problem"] = problem
        elif job.rolling and not job.backlog and job.deliverers > 1 and (client, server) == ("stock", "stock"):
            self.rate = max(1, int(run["rate"]))
        return run

    def command(self, client, to, *arguments):
        """A client of the master as the instances' user, with nothing around it that costs time."""
        as_user = ["setpriv", "--reuid=cyrus", "--regid=mail", "--clear-groups"] if os.geteuid() == 0 else []
        return [*as_user, STOCK if client == "stock" else self.client, "-C", self.master.path + "/imapd.conf",
                "-S", to, *arguments]

    def timed(self, job, replica, client):
        """Runs the client once."""
        to, proxy = replica.csync, ""
        if job.rtt or job.plain or job.counted:
            to = "127.0.0.1:%d" % (self.base + 30)
            proxy = "%s=%s" % (to, replica.csync)
        extra = job.ours if client == "ours" else []
        text = "sync_server -C %s/imapd.conf" % replica.path
        syncs = Syncs()
        run = bench.one_run(SimpleNamespace(
            before=None, settle=0, after=0.0, verbose=False, proxy=proxy, rtt=job.rtt, no_compress=job.plain,
            slow_start=False, server=text,
            command=self.command(client, to, *extra, *job.arguments)))
        run.update(syncs.result(text))
        return run

    def difference(self, replica, job):
        """Nothing, or what is unlike the master. The bodies are compared by their GUIDs; of very many users,
        some hundred are compared."""
        some = range(1, job.users + 1, max(1, job.users // COMPARED))
        users = ["--users", ",".join("u%04d" % number for number in some)] if job.users > COMPARED else []
        done = subprocess.run([sys.executable, os.path.join(LAB, "compare.py"), "--no-body", "--quiet", *users,
                               self.master.imap, replica.imap], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "" if done.returncode == 0 else done.stdout[-500:] or "compare.py: status %d" % done.returncode

    def lab(self, name, *arguments):
        done = subprocess.run([sys.executable, os.path.join(LAB, name), *arguments], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit("bench: %s: %s" % (name, done.stdout[-2000:]))
