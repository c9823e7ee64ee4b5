"""Pairs of servers, scenarios, and what a scenario may use."""
import contextlib
import difflib
import hashlib
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.join(HERE, "..", "lab")
sys.path.insert(0, LAB)
import csync  # noqa: E402
import labimap  # noqa: E402
import plain  # noqa: E402
import state  # noqa: E402

CYRUS = os.environ.get("CYRUS_BIN", "/usr/lib/cyrus/bin")
ROOT = os.geteuid() == 0


OPTIONS = ("--option", "allowusermoves: yes", "--option", "failedloginpause: 1s")


class Failed(Exception):
    """A scenario did not end as it says."""


class Instance:
    """One Cyrus of the lab."""

    def __init__(self, directory, base, ours=False, log=None):
        self.dir, self.base, self.ours, self.log = directory, base, ours, log
        self.imap, self.sieve = base, base + 2
        self.csync, self.peek = "127.0.0.1:%d" % (base + 1), "127.0.0.1:%d" % (base + 5)
        self.lmtp = directory + "/conf/socket/lmtp"

    def lab(self, command, *args, check=True):
        done = subprocess.run([os.path.join(LAB, "cyrus-instance"), command, self.dir, *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, errors="replace")
        if check and done.returncode:
            raise Failed("cyrus-instance %s %s: %s" % (command, self.dir, done.stdout.strip()))
        return done

    def create(self, *options):
        second = self.dir + "/spool2"
        self.lab("create", "--port-base", str(self.base), "--option", "partition-second: " + second, *options)
        os.mkdir(second)
        if ROOT:
            import pwd
            os.chown(second, pwd.getpwnam("cyrus").pw_uid, -1)
        self.lab("start")

    def as_cyrus(self, *command, **more):
        """Runs a program as the instance's user, its log lines going to the instance's log."""
        environment = dict(os.environ, CYRUS_LAB_LOG=self.dir + "/log/cyrus.log")
        if os.path.exists(self.dir + "/lib/labsyslog.so"):
            environment["LD_PRELOAD"] = self.dir + "/lib/labsyslog.so"
        prefix = ["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups"] if ROOT else []
        return subprocess.run(prefix + list(command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", timeout=300, **{"stdin": subprocess.DEVNULL, **more})

    def tool(self, program, *args):
        return self.as_cyrus(os.path.join(CYRUS, program), "-C", self.dir + "/imapd.conf", *args)


class Pair:
    """A master (always stock) and a replica whose csync port is the server under test."""

    def __init__(self, name, directory, base, number=0, client=None, ours=False, transport="csync"):
        """name: that of its results; client: our sync_client, if not the stock one; ours: whether
        the server is; transport: csync, plain (csync that offers neither compression nor
        compact records) or imap."""
        self.name, self.ours, self.transport = name, ours, transport
        self.our_client, self.relay = bool(client), None
        self.client = client or CYRUS + "/sync_client"
        place = "%s/%s%s" % (directory, name, number or "")
        self.master = Instance(place + "-m", base)
        self.replica = Instance(place + "-r", base + 10, self.ours)

    def start(self):
        replica = self.replica
        self.destroy()
        self.master.create(*OPTIONS)
        # -U 1: each connection a new process, as FORCE otherwise outlives its connection
        server = ["--sync-server", "ours"] if self.ours else ["--sync-args", "-U 1"]
        services = [("peek", "sync_server", replica.base + 5)]
        if self.transport == "imap":
            services.append(("imapsync", "imapd", replica.base + 7))
        for name, program, port in services:
            server += ["--service", '%s cmd="%s -C %s/imapd.conf -U 1" listen="127.0.0.1:%d" prefork=0'
                       % (name, program, replica.dir, port)]
        replica.create(*server, *OPTIONS)
        config = self.master.dir + "/run/sync.conf"
        with open(self.master.dir + "/imapd.conf", encoding="utf-8") as file:
            lines = file.read()
        with open(config, "w", encoding="utf-8") as file:
            file.write(lines + "sync_host: 127.0.0.1\nsync_port: %d\n" % self.port())
            if self.transport == "imap":
                # there only PLAIN is to be had, and no TLS in this lab
                file.write("cyrus_sync_client_plaintext: yes\n")
        os.chmod(config, 0o644)
        self.config = config

    def port(self):
        """The port that the client is told."""
        if self.transport == "imap":
            return self.replica.base + 7
        if self.transport == "plain":
            self.relay = plain.Relay(self.replica.base + 6, self.replica.base + 1)
            return self.replica.base + 6
        return self.replica.base + 1

    def destroy(self):
        if self.relay:
            self.relay.close()
            self.relay = None
        for instance in (self.master, self.replica):
            if os.path.exists(instance.dir + "/lab.env"):
                instance.lab("destroy", check=False)


class Scenario:
    """What a scenario's function gets: the pair, a user of its own, and a transcript."""

    def __init__(self, definition, pair):
        self.definition, self.pair = definition, pair
        self.master, self.replica = pair.master, pair.replica
        self.user = definition.user
        self.users = [self.user]
        self.extra_mailboxes = []
        self.lines = []
        self.sessions = 0
        self.mask = state.Mask(pair.replica, pair.master, definition.live)
        self.closing = contextlib.ExitStack()
        self.log_mark = {}

    # -- users
    def make_user(self, user=None, folders=()):
        """Makes INBOX and folders of a user on the master."""
        user = user or self.user
        if user not in self.users:
            self.users.append(user)
        with self.admin() as admin:
            admin.command("CREATE ", labimap.quote("user/" + user))
            for folder in folders:
                admin.command("CREATE ", labimap.quote("user/%s/%s" % (user, folder)))
        return user

    @contextlib.contextmanager
    def admin(self, where=None):
        with self.imap(user="", where=where) as imap:
            yield imap

    @contextlib.contextmanager
    def imap(self, user=None, where=None):
        """An IMAP session of a user (default: the scenario's) on the master."""
        where = where or self.master
        imap = labimap.connect("127.0.0.1:%d" % where.imap, "cyrus", "secret", self.user if user is None else user)
        try:
            yield imap
        finally:
            imap.close()

    @contextlib.contextmanager
    def sieve(self, user=None, where=None):
        where = where or self.master
        sieve = labimap.Sieve("127.0.0.1:%d" % where.sieve, "cyrus", "secret", user or self.user)
        try:
            yield sieve
        finally:
            sieve.close()

    def append(self, mailbox, message, flags="", date="01-Jan-2020 00:00:00 +0000", user=None, where=None):
        """Appends one message with a fixed INTERNALDATE."""
        with self.imap(user, where) as imap:
            imap.command("APPEND ", labimap.quote(mailbox), " (", flags, ') "', date, '" {%d+}\r\n' % len(message), message)

    def deliver(self, message, user=None, where=None):
        lmtp = labimap.Lmtp((where or self.master).lmtp)
        try:
            lmtp.deliver(user or self.user, message)
        finally:
            lmtp.close()

    @contextlib.contextmanager
    def configured(self, *options):
        """Gives the replica's sync_server other options while this lasts; no session may be open."""
        path = self.replica.dir + "/imapd.conf"
        with open(path, encoding="utf-8") as file:
            usual = file.read()
        keys = tuple(option.split(":")[0] + ":" for option in options)
        kept = [line for line in usual.splitlines() if not line.startswith(keys)]
        try:
            self.reconfigure(path, "\n".join([*kept, *options]) + "\n")
            yield
        finally:
            self.reconfigure(path, usual)

    def reconfigure(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        if self.pair.ours:
            # the stock server has a new process for each connection, which reads its options anew
            self.replica.lab("unserve")
            self.replica.lab("serve")

    # -- replication by the stock client
    def sync(self, *args, status=0, input=None):
        """Runs the stock sync_client (-v and the arguments); its lines belong to the result."""
        more = {"input": input, "stdin": None} if input is not None else {}
        done = self.master.as_cyrus(self.pair.client, "-C", self.pair.config, "-v", *args, **more)
        self.note("$ sync_client -v " + " ".join(args))
        # which capabilities it enables is its own affair, and so is the wording of its errors
        self.lines += ["  " + line for line in done.stdout.splitlines() if not line.startswith("ENABLE ")]
        self.note("  status %d" % done.returncode)
        if status is not None and done.returncode != status:
            raise Failed("sync_client %s: status %d, not %d; it said:\n%s\nthe logs end:\n%s" % (
                " ".join(args), done.returncode, status, done.stderr, self.log_tail()))
        return done

    def log_tail(self, count=8):
        lines = []
        for instance in (self.master, self.replica):
            with open(instance.dir + "/log/cyrus.log", encoding="utf-8", errors="replace") as file:
                lines += [line.rstrip() for line in file if self.user in line or "sync_client" in line][-count:]
            log = instance.dir + "/log/sync_server.log"
            if os.path.exists(log):
                with open(log, encoding="utf-8", errors="replace") as file:
                    lines += [line.rstrip() for line in file][-count:]
        return "\n".join(lines)

    def sync_user(self, user=None):
        self.sync("-u", user or self.user)

    def log_lines(self):
        """The master's sync log lines about this scenario's users since the last call."""
        with open(self.master.dir + "/conf/sync/log", encoding="utf-8", errors="replace") as file:
            found = [line for line in file if any(
                re.search(r"(user\.|[ ])%s(\W|$)" % re.escape(u.replace(".", "^")), line) for u in self.users)]
        new = found[self.log_mark.get("n", 0):]
        self.log_mark["n"] = len(found)
        return new

    def sync_log(self, status=0):
        """Feeds the new lines of the master's sync log to the stock client, as -r does."""
        path = "%s/run/log-%s" % (self.master.dir, self.user)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(self.log_lines())
        os.chmod(path, 0o644)
        if ROOT:
            import pwd
            os.chown(path, pwd.getpwnam("cyrus").pw_uid, -1)
        self.sync("-R", "-f", path, status=status)

    def equal(self, users=None, except_lines=None, **more):
        """Master and replica must show the same (but for lines that match 'except_lines')."""
        found = [line for line in state.equal(self.pair, users or self.users, **more)
                 if not except_lines or not re.search(except_lines, line)]
        if found:
            raise Failed("master (A) and replica (B) differ:\n" + "\n".join(found))
        self.note("EQUAL")

    # -- the protocol, by hand
    def csync(self, where=None, **more):
        """A session with the server under test; what passes is written down."""
        self.sessions += 1
        session = Session(self, self.sessions, csync.Csync(where or self.replica.csync, **more))
        self.closing.callback(session.quit)
        return session

    def box(self, below="", number=1, **more):
        """The model of a mailbox of the scenario's user: INBOX, or the one 'below' it."""
        name = state.internal(self.user) + ("." + below if below else "")
        return csync.Box(name, self.definition.unique_id(number), "%s\tlrswipkxtecdan\t" % self.user, **more)

    def require_memory_below(self, mebibytes):
        """Our server's peak so far, whatever it did in other scenarios too."""
        if not self.pair.ours:
            return
        with open(self.replica.dir + "/run/sync_server.pid", encoding="ascii") as file:
            pid = file.read().strip()
        with open("/proc/%s/status" % pid, encoding="ascii") as file:
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) / 1024
        say("       %s: our server's peak memory so far is %.0f MiB" % (self.definition.name, peak))
        self.require(peak < mebibytes, "peak memory %.0f MiB, not below %d" % (peak, mebibytes))

    # -- the result
    def note(self, line):
        self.lines.append(line)

    def require(self, condition, message):
        if not condition:
            raise Failed(message)

    def finish(self):
        self.closing.close()
        if self.definition.state:
            self.lines += state.dump(self.replica, self.users, self.mask, self.extra_mailboxes)
            said = [n for n, line in enumerate(self.lines)
                    if line.startswith("  reconstruct: ") or line == "-- served otherwise"]
            if said and self.definition.sound in (True, "ours" if self.pair.ours else "stock"):
                raise Failed("the store is not sound:\n" + "\n".join(self.lines[said[0]:said[0] + 12]))
        return self.mask.lines(self.lines)


class Session:
    """A csync connection that writes down what it sends (shortened) and gets."""

    def __init__(self, scenario, number, client):
        self.scenario, self.number, self.client = scenario, number, client
        self.open = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.quit()

    @property
    def banner(self):
        return self.client.banner

    def down(self, label, answer):
        label = re.sub(r"[^\x20-\x7e]", lambda m: "\\x%02x" % ord(m.group(0)), label)
        self.scenario.note("%d> %s" % (self.number, label if len(label) <= 110 else label[:110] + "..."))
        self.scenario.lines += ["%d<   %s" % (self.number, line) for line in answer.show()]
        if answer.status == "EOF":
            self.open = False
        return answer

    def line(self, data, label=None):
        data = csync.octets(data)
        return self.down(label or data.decode("latin-1"), self.client.line(data))

    def send(self, data):
        self.client.send(data)

    def answer(self, label="(next answer)"):
        return self.down(label, self.client.answer())

    def get(self, what, value):
        return self.down("GET %s %s" % (what, csync.dlist(value).decode("latin-1")), self.client.get(what, value))

    def apply(self, what, value, label=""):
        return self.down("APPLY %s %s" % (what, label or csync.dlist(value).decode("latin-1")),
                         self.client.apply(what, value))

    def restore(self, what, value, label=""):
        return self.down("RESTORE %s %s" % (what, label or csync.dlist(value).decode("latin-1")),
                         self.client.restore(what, value))

    def compress(self):
        return self.down("COMPRESS DEFLATE", self.client.compress())

    def upload(self, box, records=None):
        """APPLY MESSAGE with the files of these records."""
        files = box.files(records)
        return self.apply("MESSAGE", files, "(%d files)" % len(files))

    def update(self, box, records=None, since=None, label="", **more):
        """APPLY MAILBOX with the state of the model."""
        return self.apply("MAILBOX", box.item(records, since, **more), "%s %s" % (box.name, label))

    def create(self, box):
        """A complete first update of the model; must succeed."""
        if box.records:
            self.ok(self.upload(box))
        return self.ok(self.update(box, label="(first update)"))

    def ok(self, answer):
        self.scenario.require(answer.ok, "not OK: %s" % answer.status)
        return answer

    def no(self, answer, token):
        self.scenario.require(answer.status.startswith(token), "%r, not %r" % (answer.status, token))
        return answer

    def quit(self):
        if self.open:
            self.open = False
            self.client.close()


class Definition:
    """A scenario: its function, its name, its user."""

    def __init__(self, function, live, slow, state, sound, only, odd, options):
        self.function, self.live, self.slow, self.options = function, live, slow, options
        self.state, self.sound, self.only, self.odd = state, sound, only, odd
        self.name = function.__name__.replace("_", "-")
        self.user = re.sub(r"[^a-z0-9]", "", self.name)[:40]
        self.area = function.__module__.split(".")[-1]
        self.text = (function.__doc__ or "").strip().split("\n")[0]

    def unique_id(self, number):
        """The id of the scenario's hand-made mailbox of that number."""
        return "raw" + hashlib.sha1(("%s %d" % (self.name, number)).encode()).hexdigest()[:21]


SCENARIOS = {}


def scenario(live=True, slow=False, state=True, sound=True, only=None, odd=False, options=()):
    """Registers a scenario.  live: by real clients (ids and CRCs are masked), else by hand-made
    commands (compared exactly); slow: only with --slow; state: compare the replica's store
    afterwards; sound: reconstruct must have nothing to say, and both servers must tell the same of
    the store ('ours': where the stock server is known not to keep to that); odd: what is stored is
    such that stock tools complain of it on any server, so the validators at the end pass it over;
    options: what the replica's imapd.conf says otherwise."""
    def register(function):
        definition = Definition(function, live, slow, state, sound, only, odd, options)
        assert definition.name not in SCENARIOS, definition.name
        SCENARIOS[definition.name] = definition
        return function
    return register


def load():
    """Imports all scenarios; {name: Definition}."""
    sys.modules.setdefault("harness", sys.modules[__name__])
    sys.path.insert(0, HERE)
    package = importlib.import_module("scenarios")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        importlib.import_module("scenarios." + module.name)
    return SCENARIOS


class Outcome:
    """How one scenario ended with one server."""

    def __init__(self, seconds, lines, failure):
        self.seconds, self.lines, self.failure = seconds, lines, failure


def run_one(definition, pair):
    started = time.monotonic()
    context = Scenario(definition, pair)
    failure = None
    lines = []
    try:
        try:
            with context.configured(*definition.options) if definition.options else contextlib.nullcontext():
                definition.function(context)
                context.closing.close()
        finally:
            context.closing.close()
        lines = context.finish()
    except Failed as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001  a broken connection is a result, too
        where = traceback.extract_tb(error.__traceback__)
        line = [f for f in where if "scenarios" in f.filename] or where
        failure = "%s: %s (%s:%d)" % (type(error).__name__, error, os.path.basename(line[-1].filename), line[-1].lineno)
    return Outcome(time.monotonic() - started, lines or context.mask.lines(context.lines), failure)


def differences(a, b, allowed):
    """Lines in which two results differ, without those that stand in the list on purpose."""
    left = []
    for line in difflib.unified_diff(a, b, "stock", "ours", lineterm="", n=2):
        if line.startswith(("---", "+++")) or line[:1] not in "+-":
            left.append(line)
            continue
        side = "stock" if line[0] == "-" else "ours"
        rule = next((r for r in allowed if side in r and any(re.fullmatch(p, line[1:], re.S) for p in r[side])), None)
        if rule is None:
            left.append(line)
        else:
            left.append(" (on purpose) " + line)
    return left if any(l[:1] in "+-" and not l.startswith(("---", "+++")) for l in left) else []


MODSEQ = re.compile(
    r"""(?i)(
        modseq[ :]              # of the list, of mbexamine and of records
      | \bF[ ](?=\d+[ ]M[ ])    # of a folder in mailboxes.db
      | Mod[ ]Sequence:[ ]
      | modseq[ ]b'             # annotations of the server and of a folder
      | createdmodseq[ ]USERID[ ]""[ ]MODSEQ[ ]\w+[ ]VALUE[ ]
      | modseq[ ]\(
    )\d+""", re.X)


def without_modseqs(lines):
    """The same result whatever the modseqs in it."""
    return [MODSEQ.sub(r"\1N", MODSEQ.sub(r"\1N", line)) for line in lines]


LOCK = threading.Lock()


def say(line):
    with LOCK:
        print(line, flush=True)
