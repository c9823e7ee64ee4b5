# Shared by the tests on hosts (sourced by run): the hosts, their network, mail, and their units.

# The hosts may outlive the run, and must not keep its lock (descriptor 9).
testhost() { "$here/../lab/testhost" "$@" 9>&-; }
on() { local host=$1; shift; testhost run "$host" -- "$@"; }
say() { printf '%s\n' "$*"; }
fail() { say "    $*"; return 1; }
milliseconds() { date +%s%3N; }

# Waits up to SECONDS until the command succeeds. These machines may be busy with other things, so the
# bounds are generous: what must be quick is checked by no_longer_than.
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1)); shift
    until "$@"; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.2; done
}

# How long something took; with --long, on a machine that does nothing else, it must be quick enough.
no_longer_than() { # LIMIT BEGAN WHAT (milliseconds)
    local took=$(($(milliseconds) - $2))
    say "    $3 after $((took / 1000)).$((took % 1000 / 100)) s (at most $(($1 / 1000)) s where nothing else runs)"
    [ "$long" = 0 ] || [ "$took" -le "$1" ]
}

# ---------------------------------------------------------------- the hosts

# Two mail servers: the master m, the replica r.
make_hosts() {
    local host
    for host in m r; do
        testhost create "$host" && testhost start "$host" --ip "$(address "$host")" || return 1
    done
    for host in m r; do
        on "$host" sh -s r "$password" < "$here/host.sh" || return 1
    done
    within 60 imap m '
imap.login("cyrus", "'$password'")
imap.create("user/alice")'
}

# Once more if it fails: a mirror of packages may be out of reach for a moment.
retried() { "$@" || { sleep 10; "$@"; }; }

address() { if [ "$1" = m ]; then echo 10.99.0.11; else echo 10.99.0.12; fi; }

# Removes what this run, or one before that was killed, has of hosts on this machine.
destroy_hosts() {
    drop_disk
    testhost destroy --all >/dev/null 2>&1
}

# What of the hosts is still on this machine: processes, mounts, namespaces, control groups.
leftovers() {
    local tag
    tag=$(printf %s "$(realpath -- "$TESTHOST_ROOT")" | sha256sum | cut -c1-6)
    pgrep -af -- "_boot [a-z]* $TESTHOST_ROOT |--machine=th$tag-|wanlink.py $TESTHOST_ROOT"
    findmnt -rn -o TARGET | grep -F -- "$TESTHOST_ROOT/"
    ip netns list | grep -o "^th$tag[^ ]*"
    find /sys/fs/cgroup -maxdepth 2 -name "testhost-$tag"
    losetup -n -O NAME,BACK-FILE | grep -F -- "$TESTHOST_ROOT/"
}

# A line of so many bits per second between the hosts, and back to the plain network.
line() { testhost link m r --delay 5ms --rate "$1"; }
sever() { testhost link m r --cut; }
plain() { testhost link m r --heal; }

# ---------------------------------------------------------------- mail

# Runs Python with an IMAP connection to the host.
imap() { # HOST PROGRAM ARGUMENT...
    testhost client -- python3 -c "
import imaplib, sys
imap = imaplib.IMAP4('$(address "$1")', timeout=120)
$2" "${@:3}"
}

deliver() { # NUMBER...
    imap m '
imap.login("alice", "'$password'")
for number in sys.argv[1:]:
    text = f"From: a@example.org\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n{number}\r\n"
    assert imap.append("INBOX", None, None, text.encode())[0] == "OK"' "$@"
}

# Appends messages of so many KiB to alice's INBOX on the master.
deliver_large() { # KIB COUNT
    imap m '
import os, base64
imap.login("alice", "'$password'")
for number in range(int(sys.argv[2])):
    body = base64.encodebytes(os.urandom(int(sys.argv[1]) * 768))
    text = b"From: a@example.org\r\nSubject: large\r\n\r\n" + body.replace(b"\n", b"\r\n")
    assert imap.append("INBOX", None, None, text)[0] == "OK"' "$@"
}

# How many messages alice has on the host.
messages() { imap "$1" '
imap.login("alice", "'$password'")
print(int(imap.select("INBOX", True)[1][0]))' 2>/dev/null; }
same() { local there; there=$(messages r) && [ "$there" = "$(messages m)" ]; }
replicated() { within 120 same || fail "alice has $(messages m) messages on the master, $(messages r) on the replica"; }

# ---------------------------------------------------------------- units and the journal

property() { on "$1" systemctl show --value -p "$3" "$2"; }
process() { property "$1" "$2" MainPID; }
is_in_state() { [ "$(property "$1" "$2" ActiveState)" = "$3" ]; } # HOST UNIT STATE
client_runs() { is_in_state m sync-client@replica1 active; }

# Writes a drop-in below /run and has it read.
drop_in() { # HOST UNIT LINE...
    local host=$1 unit=$2; shift 2
    on "$host" mkdir -p "/run/systemd/system/$unit.d"
    printf '%s\n' "$@" | on "$host" tee "/run/systemd/system/$unit.d/test.conf" >/dev/null
    on "$host" systemctl daemon-reload
}
no_drop_in() { on "$1" rm -rf "/run/systemd/system/$2.d" && on "$1" systemctl daemon-reload; }

# Whether the unit's process is another one than PID.
another() { local now; now=$(process "$1" "$2"); [ "${now:-0}" != 0 ] && [ "$now" != "$3" ]; } # HOST UNIT PID

# The id of a kind of event, and how many there were.
kind() { sed -n "s/^pub const $1: &str = \"\(.*\)\";/\1/p" "$here/../../src/service/event.rs"; }
count() { on "$1" journalctl -q --no-pager -o cat "MESSAGE_ID=$(kind "$2")" | wc -l; }
counted() { [ "$(count "$1" "$2")" -ge "$3" ]; }

# ---------------------------------------------------------------- file systems that hang

# Puts a file system of a process (FUSE) over a directory of the host, with the same files in it. When
# that process is stopped, whoever looks into the directory waits, and can be killed, as with NFS.
# Nothing is remembered, so that this is so at once.
put_over() { # HOST DIRECTORY
    on "$1" sh -c '[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; bindfs -o attr_timeout=0,entry_timeout=0 "$0" "$0"' "$2" ||
        { say "    NOT TRIED: no FUSE on this machine"; return 1; }
}
lift() { on "$1" umount -l "$2"; } # HOST DIRECTORY
hang() { on "$1" pkill -STOP -x bindfs; }
go_on() { on "$1" pkill -CONT -x bindfs; }

# A disk of its own for a directory of the host. It is mounted on this machine as well, so that it can be
# thawed from here whatever becomes of the host: what waits for a frozen disk cannot be killed.
disk_over() { # HOST DIRECTORY
    local disk=$TESTHOST_ROOT/disk device
    truncate -s 256M "$disk.img" && mkfs.ext4 -q "$disk.img" && mkdir -p "$disk" && mount -o loop "$disk.img" "$disk" ||
        { say "    NOT TRIED: no loop devices on this machine"; return 1; }
    device=$(findmnt -no SOURCE "$disk")
    on "$1" sh -ec 'mknod /dev/test-disk b 7 "$0"; mount /dev/test-disk /mnt; cp -a "$1/." /mnt; umount /mnt
        mount /dev/test-disk "$1"' "${device#/dev/loop}" "$2"
}
off_disk() { # HOST DIRECTORY
    on "$1" sh -ec 'umount -l "$0"; mount /dev/test-disk /mnt; cp -a /mnt/. "$0"; umount /mnt; rm /dev/test-disk' "$2" && drop_disk
}
freeze() { fsfreeze -f "$TESTHOST_ROOT/disk"; }
melt() { fsfreeze -u "$TESTHOST_ROOT/disk"; }
drop_disk() {
    if mountpoint -q "$TESTHOST_ROOT/disk"; then
        melt 2>/dev/null
        umount "$TESTHOST_ROOT/disk"
    fi
    rm -rf -- "$TESTHOST_ROOT/disk" "$TESTHOST_ROOT/disk.img"
}
