# systemd supervises: what hangs is killed and started again, what is slow is not, a stop is quick.

# Lets a hang of a service show after SECONDS, and as the unit says.
watch_closely() { drop_in "$1" "$2" '[Service]' "WatchdogSec=${3}s" && on "$1" systemctl restart "$2"; } # HOST UNIT SECONDS
watch_normally() { no_drop_in "$1" "$2" && on "$1" systemctl restart "$2"; }

# systemd has killed the process that hung and started another.
is_restarted() { # HOST UNIT PID BEGAN
    within 90 another "$1" "$2" "$3" || fail "not restarted" || return 1
    no_longer_than 10000 "$4" "restarted"
}

stopped_is_restarted() { # HOST UNIT
    local before began
    watch_closely "$1" "$2" 5 || return 1
    before=$(process "$1" "$2") began=$(milliseconds)
    on "$1" kill -STOP "$before"
    is_restarted "$1" "$2" "$before" "$began" && within 60 is_in_state "$1" "$2" active && watch_normally "$1" "$2"
}
watchdog_client() { stopped_is_restarted m sync-client@replica1.service && deliver 7 && replicated; }
watchdog_server() { stopped_is_restarted r sync-server.service && deliver 8 && replicated; }

# A full pass that hangs is begun again, and comes to its end.
watchdog_full() {
    local before began pass=sync-client-full@replica1.service
    on m systemctl stop sync-client@replica1
    deliver_large 600 1
    drop_in m "$pass" '[Service]' WatchdogSec=5s
    line 256kbit
    on m systemctl start "$pass" || { plain; return 1; }
    say "    $(property m "$pass" StatusText)"
    before=$(process m "$pass") began=$(milliseconds)
    on m kill -STOP "$before"
    is_restarted m "$pass" "$before" "$began" || { plain; return 1; }
    plain
    within 120 is_in_state m "$pass" inactive || fail "does not end" || return 1
    [ "$(property m "$pass" Result)" = success ] && same || fail "the pass ended without everything" || return 1
    no_drop_in m "$pass" && on m systemctl start sync-client@replica1
}

# The replica's disk hangs while the server writes.
frozen_server() {
    local before began
    put_over r /var/spool/cyrus || return 0
    watch_closely r sync-server.service 5 || return 1
    before=$(process r sync-server)
    hang r
    deliver 15
    began=$(milliseconds)
    is_restarted r sync-server.service "$before" "$began" || { go_on r; return 1; }
    go_on r
    replicated && no_drop_in r sync-server.service && lift r /var/spool/cyrus && on r systemctl restart sync-server
}

# The master's disk hangs where the log is.
frozen_client() {
    local before began
    put_over m /var/lib/cyrus/sync || return 0
    watch_closely m sync-client@replica1.service 5 || return 1
    before=$(process m sync-client@replica1) began=$(milliseconds)
    hang m
    is_restarted m sync-client@replica1.service "$before" "$began" || { go_on m; return 1; }
    go_on m
    deliver 16 && replicated && no_drop_in m sync-client@replica1.service && lift m /var/lib/cyrus/sync &&
        on m systemctl restart sync-client@replica1
}

# A frozen disk (FIFREEZE) lets nobody be killed: systemd does what it can in time, and the process ends
# as soon as the disk lets it.
frozen_disk() {
    local before began
    on r systemctl stop sync-server.socket sync-server
    disk_over r /var/spool/cyrus || { on r systemctl start sync-server.socket; return 0; }
    on r systemctl start sync-server.socket && watch_closely r sync-server.service 5 || return 1
    before=$(process r sync-server)
    freeze
    deliver 17
    began=$(milliseconds)
    killed() { [ "$(property r sync-server SubState)" = stop-sigkill ]; }
    within 60 killed || { melt; fail "not killed"; return 1; }
    no_longer_than 10000 "$began" "killed" || { melt; return 1; }
    melt
    began=$(milliseconds)
    is_restarted r sync-server.service "$before" "$began" && replicated && no_drop_in r sync-server.service || return 1
    on r systemctl stop sync-server.socket sync-server && off_disk r /var/spool/cyrus && on r systemctl start sync-server.socket
}

# A large message on a slow line takes long, and nobody takes that for a hang.
slow_upload() {
    local before restarts
    watch_closely m sync-client@replica1.service 10 && watch_closely r sync-server.service 10 || return 1
    before=$(process m sync-client@replica1) restarts=$(property r sync-server NRestarts)
    line 64kbit
    deliver_large $((slow * 15)) 1
    sleep "$slow"
    [ "$before" = "$(process m sync-client@replica1)" ] && [ "$restarts" = "$(property r sync-server NRestarts)" ] ||
        { plain; fail "killed during a slow upload"; return 1; }
    same && { plain; fail "the upload was over too soon to show anything"; return 1; }
    say "    $slow s at 64 kbit/s, WatchdogSec $(property m sync-client@replica1 WatchdogUSec)"
    plain
    replicated || fail "the upload does not come to its end" || return 1
    watch_normally r sync-server.service && watch_normally m sync-client@replica1.service
}

# The entries of the sync log that wait.
waiting_entries() { on m sh -c 'cat /var/lib/cyrus/sync/replica1/log* 2>/dev/null | wc -l'; }

# Ends the client in the middle of an upload; it must end soon, well, and without losing the entry.
ends_in_upload() { # COMMAND...
    local began
    line 256kbit
    deliver_large 2000 1
    uploading() { [ "$(waiting_entries)" -ge 1 ] && on m test -e /var/lib/cyrus/sync/replica1/log-run; }
    within 60 uploading || { plain; fail "no upload has begun"; return 1; }
    sleep 3
    began=$(milliseconds)
    "$@"
    within 60 is_in_state m sync-client@replica1 inactive
    no_longer_than 5000 "$began" "ended" || { plain; return 1; }
    say "    $(property m sync-client@replica1 Result), $(property m sync-client@replica1 ExecMainStatus), $(waiting_entries) entries wait"
    plain
    [ "$(property m sync-client@replica1 Result)" = success ] &&
        [ "$(property m sync-client@replica1 ExecMainStatus)" = 0 ] && [ "$(waiting_entries)" -ge 1 ] &&
        ! same && ! on m test -e /run/cyrus/sync-shutdown || return 1
    on m systemctl start sync-client@replica1 && replicated
}
stop_in_upload() { ends_in_upload on m systemctl stop sync-client@replica1; }
shutdown_file() { ends_in_upload on m touch /run/cyrus/sync-shutdown; }

# A full pass that is stopped leaves its unit inactive; one of which something failed has failed.
stop_full() {
    local pass=sync-client-full@replica1.service message state
    on m systemctl stop sync-client@replica1
    deliver_large 600 1
    line 256kbit
    on m systemctl start "$pass" && on m systemctl stop "$pass"
    state="$(property m "$pass" ActiveState) $(property m "$pass" Result)"
    plain
    say "    stopped: $state"
    [ "$state" = "inactive success" ] && ! same || fail "not what a stop leaves" || return 1
    message=$(on m find /var/spool/cyrus/mail -name '[0-9]*.' -size +600k | sort -V | tail -1)
    on m mv "$message" /root/message && on m systemctl start "$pass" &&
        within 60 is_in_state m "$pass" failed || fail "hides a failure" || return 1
    say "    with a message missing: $(property m "$pass" Result) $(property m "$pass" ExecMainStatus)"
    on m mv /root/message "$message" && on m systemctl start "$pass" && within 60 is_in_state m "$pass" inactive &&
        same && on m systemctl start sync-client@replica1
}

# The line is cut in the middle of an upload, silently. However long that lasts, the client goes on soon
# after: it waits for sync_reconnect_maxwait and client_timeout at most, not for TCP.
cut_line() {
    local began
    line 256kbit
    deliver_large 200 5
    sleep 2
    sever
    sleep "$cut"
    plain
    began=$SECONDS
    within 60 same || fail "does not recover" || return 1
    say "    cut for $cut s, equal $((SECONDS - began)) s later"
    [ "$(property m sync-client@replica1 NRestarts)" = 0 ] && client_runs
}

# The master boots while the replica is down.
late_replica() {
    local boot
    on r systemctl stop sync-server.socket sync-server
    testhost stop m >/dev/null 2>&1
    # returns when everything has started
    testhost start m --ip "$(address m)" >/dev/null 2>&1 & boot=$!
    waits() { is_in_state m sync-client@replica1 activating && [[ $(property m sync-client@replica1 StatusText) == *"waiting for r"* ]]; }
    within 60 waits 2>/dev/null || fail "does not wait for the replica" || return 1
    sleep "$late"
    waits || return 1
    say "    activating: $(property m sync-client@replica1 StatusText)"
    on r systemctl start sync-server.socket
    within 90 client_runs || return 1
    wait "$boot"
    [ "$(property m sync-client@replica1 NRestarts)" = 0 ] && deliver 9 && replicated
}
