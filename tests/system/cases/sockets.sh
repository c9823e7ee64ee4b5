# Socket activation, and restarts that nobody notices.

activation() {
    on m systemctl stop sync-client@replica1 && on r systemctl stop sync-server 2>/dev/null || return 1
    is_in_state r sync-server inactive || return 1
    testhost client -- bash -c 'exec 3<>/dev/tcp/10.99.0.12/2005 && read -t 60 line <&3 && echo "    $line"' || return 1
    is_in_state r sync-server active && on m systemctl start sync-client@replica1
}

# The socket, closed and opened again. A restart of it could meet a service that somebody who has just
# come has started.
reopened() { on r systemctl stop sync-server.socket && on r systemctl start sync-server.socket; }

unix_socket() {
    on r mkdir -p /etc/systemd/system/sync-server.socket.d
    on r sh -c 'cat > /etc/systemd/system/sync-server.socket.d/unix.conf' < "$here/../../contrib/examples/sync-server-unix-socket.conf"
    on r systemctl daemon-reload && reopened || return 1
    local banner
    banner=$(on r runuser -u cyrus -- sh -c 'echo EXIT | socat -t 60 - UNIX-CONNECT:/run/cyrus/sync.socket')
    say "    $(printf '%s' "$banner" | head -1 | tr -d '\r')"
    [[ $banner == *"Cyrus sync server cyrus-sync"* ]] && [ "$(on r stat -c %U:%G:%a /run/cyrus/sync.socket)" = cyrus:mail:600 ] || return 1
    on r rm -r /etc/systemd/system/sync-server.socket.d && on r systemctl daemon-reload && reopened
}

idle_exit() {
    on m systemctl stop sync-client@replica1
    drop_in r sync-server.service '[Service]' 'Environment="SYNC_ARGS=--idle-exit 2"'
    on r systemctl restart sync-server || return 1
    within 60 is_in_state r sync-server inactive || fail "does not end when idle" || return 1
    [ "$(property r sync-server Result)" = success ] && on m systemctl start sync-client@replica1 || return 1
    is_in_state r sync-server active && deliver 10 && replicated && no_drop_in r sync-server.service &&
        on r systemctl restart sync-server
}

# 200 attempts while the server restarts again and again; then a client carries on by itself.
restart() {
    local before refused
    before=$(process m sync-client@replica1)
    (for _ in 1 2 3 4 5; do on r systemctl restart sync-server; sleep 0.3; done) &
    refused=$(testhost client -- python3 -c '
import socket, time
refused = 0
for _ in range(200):
    try:
        socket.create_connection(("10.99.0.12", 2005), 60).close()
    except OSError:
        refused += 1
    time.sleep(0.02)
print(refused)')
    wait $!
    say "    refused: $refused"
    [ "$refused" = 0 ] || return 1
    deliver 5 6 && replicated && client_runs && [ "$before" = "$(process m sync-client@replica1)" ]
}

# The server restarts again and again while much is replicated.
restart_in_sync() {
    local before
    before=$(process m sync-client@replica1)
    deliver $(seq 1000 1400) &
    for _ in 1 2 3 4; do sleep 1; on r systemctl restart sync-server; done
    wait $!
    replicated && client_runs && [ "$before" = "$(process m sync-client@replica1)" ]
}

# The server restarts while a full pass is under way, which goes on by itself.
restart_in_full() {
    local before pass=sync-client-full@replica1.service
    on m systemctl stop sync-client@replica1
    deliver_large 300 4
    line 256kbit
    on m systemctl start "$pass" || { plain; return 1; }
    before=$(process m "$pass")
    sleep 2
    on r systemctl restart sync-server
    same && { plain; fail "the pass was over too soon"; return 1; }
    plain
    ends() { ! another m "$pass" "$before" && is_in_state m "$pass" inactive; }
    within 120 ends || fail "the pass does not come to its end" || return 1
    [ "$(property m "$pass" Result)" = success ] && same || fail "the pass ended without everything" || return 1
    on m systemctl start sync-client@replica1
}
