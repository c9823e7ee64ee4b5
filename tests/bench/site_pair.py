"""A master and the two replicas, one with the stock server and one with ours."""
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import bench

LAB = os.path.dirname(os.path.abspath(bench.__file__))
TOOL = os.path.join(LAB, "cyrus-instance")


class Instance:
    """A Cyrus of the lab."""

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
        self.path, self.base, self.client = path, base, client
        os.environ["CYRUS_SYNC_BIN"] = server
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)
        self.store = None
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
        self.master.call("purge")
        users, mailboxes, each = job.store()
        self.lab("corpus.py", "deliver", "--imap", self.master.imap, "--users", str(users),
                 "--mailboxes", str(mailboxes), "--messages", str(each))
        self.store = job.store()

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
        replica.call("purge")
        os.environ.pop("CYRUS_SYNC_CLIENT_BIN", None)
        if client == "ours":
            os.environ["CYRUS_SYNC_CLIENT_BIN"] = self.client
        if job.synced_before:
            # by the client that is measured, so that it finds its own cache
            self.master.call("sync", "--to", replica.csync, *job.arguments)
            job.change(self.master)
        to, proxy = replica.csync, ""
        if job.rtt or job.plain:
            to = "127.0.0.1:%d" % (self.base + 30)
            proxy = "%s=%s" % (to, replica.csync)
        extra = job.ours if client == "ours" else []
        run = bench.one_run(SimpleNamespace(
            before=None, settle=0, after=0.0, verbose=False, proxy=proxy, rtt=job.rtt, no_compress=job.plain,
            slow_start=False, server="sync_server -C %s/imapd.conf" % replica.path,
            command=[TOOL, "sync", self.master.path, "--to", to, *extra, *job.arguments]))
        problem = self.difference(replica)
        if "exit" in run:
            problem = "exit status %s; %s" % (run["exit"], problem)
        if problem:
            run["problem"] = problem
        return run

    def difference(self, replica):
        """Nothing, or what is unlike the master. The bodies are compared by their GUIDs."""
        done = subprocess.run([sys.executable, os.path.join(LAB, "compare.py"), "--no-body", "--quiet",
                               self.master.imap, replica.imap], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "" if done.returncode == 0 else done.stdout[-500:] or "compare.py: status %d" % done.returncode

    def lab(self, name, *arguments):
        done = subprocess.run([sys.executable, os.path.join(LAB, name), *arguments], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit("bench: %s: %s" % (name, done.stdout[-2000:]))
