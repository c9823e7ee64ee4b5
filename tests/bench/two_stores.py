"""Two stores of our own without any Cyrus, and our server before the second one."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

OWNER = ("cyrus", "mail")
PASSWORD = "of-the-bench"
CONFIGURATION = """configdirectory: {place}/{name}/conf
partition-default: {place}/{name}/spool
sievedir: {place}/{name}/sieve
servername: {name}.bench
admins: repl
sync_host: 127.0.0.1
sync_port: {port}
sync_authname: repl
sync_password: {password}
cyrus_sync_password_file: {place}/passwords
"""


def add_options(parser):
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="where the programs are")
    parser.add_argument("--dir", type=pathlib.Path, default=None, help="made, and kept (default: in /var/tmp, removed)")
    parser.add_argument("--volatile", action="store_true", help="do not wait for the disk (needs eatmydata)")


def free_port():
    """A port of the loopback address that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class TwoStores:
    """A context: the programs, the stores `a` and `b`, and the server of `b` on a loopback address."""

    def __init__(self, options):
        self.keep, self.server = options.dir is not None, None
        self.place = options.dir or pathlib.Path(tempfile.mkdtemp(prefix="cyrus-sync-bench-", dir="/var/tmp"))
        self.place.mkdir(exist_ok=True)
        self.place.chmod(0o755)
        as_root = os.geteuid() == 0
        if as_root:
            shutil.chown(self.place, *OWNER)
        self.prefix = (["eatmydata"] if options.volatile else []) + (
            ["setpriv", "--reuid=" + OWNER[0], "--regid=" + OWNER[1], "--clear-groups"] if as_root else [])
        for name in ("sync_client", "sync_server", "syncctl"):
            shutil.copy(options.bin / name, self.place)
            os.chmod(self.place / name, 0o755)
        owner = "cyrus_user: %s\ncyrus_group: %s\n" % OWNER if as_root else ""
        self.port = free_port()
        for name in "ab":
            configuration = CONFIGURATION.format(place=self.place, name=name, port=self.port, password=PASSWORD)
            (self.place / (name + ".conf")).write_text(configuration + owner)

    def __enter__(self):
        for name in "ab":
            self.operator(name, "init")
        self.operator("b", "passwd", "repl", input=PASSWORD + "\n")
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.terminate()
            self.server.wait()
        if not self.keep:
            shutil.rmtree(self.place, ignore_errors=True)

    def command(self, program, name, *words):
        return [*self.prefix, str(self.place / program), *words[:1], "-C", str(self.place / (name + ".conf")), *words[1:]]

    def operator(self, name, *words, **options):
        """syncctl on the store of that name."""
        subprocess.run(self.command("syncctl", name, *words), check=True, stdout=subprocess.DEVNULL, text=True, **options)

    def serve(self):
        """Starts the server of b."""
        self.server = subprocess.Popen(
            [*self.prefix, "systemd-socket-activate", "-l", "127.0.0.1:%d" % self.port,
             str(self.place / "sync_server"), "-C", str(self.place / "b.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        while not self.listening():
            time.sleep(0.05)

    def listening(self):
        """Whether the server's port is bound; a connection would already be a session."""
        with open("/proc/net/tcp") as table:
            return any(line.split()[1].endswith(":%04X" % self.port) and line.split()[3] == "0A" for line in table)

    def run(self, what, command):
        """Runs a program; prints its time, its processor time and peak memory, and the server's."""
        before, started = self.server_processor(), time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/")
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit("%s: status %d" % (what, status))
        line = "%-26s %8.1f s; processor %.2f s, %.1f MiB" % (
            what, time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
        if self.server:
            line += "; server %.2f s, %.1f MiB so far" % (self.server_processor() - before, self.server_peak() / 1024)
        print(line, flush=True)

    def synchronise(self, what, *words):
        self.run(what, [*self.prefix, str(self.place / "sync_client"), "-C", str(self.place / "a.conf"), "-o", "-A", *words])

    def compare(self):
        subprocess.run([*self.prefix, str(self.place / "syncctl"), "compare", str(self.place / "a.conf"), str(self.place / "b.conf")],
                       check=True, stdout=subprocess.DEVNULL)
        print("both stores are equal", flush=True)

    def server_peak(self):
        with open("/proc/%d/status" % self.server.pid) as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)

    def server_processor(self):
        if not self.server:
            return 0.0
        with open("/proc/%d/stat" % self.server.pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_mbox(path, first, count):
    with open(path, "wb") as file:
        for number in range(first, first + count):
            file.write(b"From a@example.org Fri Jul 14 09:05:00 2023\nFrom: a@example.org\nSubject: %d\n\nNumber %d.\n\n" % (number, number))
