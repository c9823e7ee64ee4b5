"""How often processes ask for durability: counted by perf, which hardly slows them down."""
import os
import signal
import subprocess
import tempfile
import time

import bench

EVENTS = ["syscalls:sys_enter_" + name for name in ("fsync", "fdatasync", "syncfs")]


class Syncs:
    """Counts from its creation on; where perf is missing or not allowed nothing is counted."""

    def __init__(self):
        self.file = tempfile.mktemp(prefix="bench-syncs-")
        command = ["perf", "record", "-q", "-a", "-o", self.file]
        for event in EVENTS:
            command += ["-e", event]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, preexec_fn=bench.die_with_parent)
            time.sleep(0.3)
        except OSError:
            self.process = None

    def result(self, server):
        """{"server_syncs": N, "client_syncs": N} of the processes whose command line holds `server`, and of
        any sync_client."""
        if not self.process:
            return {}
        servers = set(bench.matching(server))
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        done = subprocess.run(["perf", "script", "-i", self.file, "-F", "pid,comm"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if os.path.exists(self.file):
            os.unlink(self.file)
        if done.returncode:
            return {}
        counts = {"server_syncs": 0, "client_syncs": 0}
        for line in done.stdout.splitlines():
            comm, _, pid = line.strip().rpartition(" ")
            if pid.isdigit() and int(pid) in servers:
                counts["server_syncs"] += 1
            elif comm.strip() == "sync_client":
                counts["client_syncs"] += 1
        return counts
