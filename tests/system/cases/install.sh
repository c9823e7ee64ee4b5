# The package, its units, and what an administrator sets.

package() {
    local host
    "$here/package" "$work" || return 1
    for host in m r; do
        testhost copy "$host" "$work"/cyrus-sync_[0-9]*.deb /root/ &&
            retried testhost install "$host" "/root/$(cd "$work" && echo cyrus-sync_[0-9]*.deb)" >"$work/apt.log" 2>&1 ||
            { tail -5 "$work/apt.log"; return 1; }
        for unit in sync-server.socket sync-server-tls.socket sync-client@replica1.service sync-client-full@replica1.timer; do
            [ "$(on "$host" systemctl is-enabled "$unit")" = disabled ] || fail "$unit is enabled without being asked" || return 1
        done
    done
}

units() {
    local unit said
    said=$(on m systemd-analyze verify --man=no sync-server.service sync-server.socket sync-server-tls.socket \
        sync-client@replica1.service sync-client.target sync-client-full@replica1.service sync-client-full@replica1.timer 2>&1)
    [ -z "$said" ] || fail "verify: $said" || return 1
    for unit in sync-server.service sync-client@replica1.service sync-client-full@replica1.service; do
        say "    $(on m systemd-analyze security --no-pager --threshold=20 "$unit" | tail -1)"
        on m systemd-analyze security --threshold=20 "$unit" >/dev/null 2>&1 || return 1
    done
}

# Each example drop-in, where its first line says that it belongs.
examples() {
    local example path said
    for example in "$here"/../../contrib/examples/*.conf; do
        path=$(sed -n '1s/^# \(\/etc\/systemd\/system\/[^ ,:]*\).*/\1/p' "$example")
        [ -n "$path" ] || continue
        on m mkdir -p "${path%/*}" && on m tee "$path" < "$example" >/dev/null || return 1
    done
    on m systemctl daemon-reload
    said=$(on m systemd-analyze verify --man=no sync-server.service sync-server.socket sync-client@replica1.service cyrus-imapd.service 2>&1 |
        grep -i -e sync- -e cyrus-sync)
    on m find /etc/systemd/system -path '*.d/*' -name '*.conf' -delete
    on m systemctl daemon-reload
    [ -z "$said" ] || fail "$said"
}

replication() {
    on r systemctl enable --now sync-server.socket 2>/dev/null || return 1
    on m systemctl enable --now sync-client@replica1 2>/dev/null || return 1
    deliver 1 2 3 && replicated || return 1
    say "    $(property m sync-client@replica1 StatusText); $(property r sync-server StatusText)"
}

times() {
    on m mkdir -p /etc/systemd/system/sync-client@replica1.service.d
    printf '[Service]\nEnvironment=SYNC_DELAY=1 SYNC_TIMEOUT=1800\n' |
        on m tee /etc/systemd/system/sync-client@replica1.service.d/override.conf >/dev/null
    on m systemctl daemon-reload && on m systemctl restart sync-client@replica1 || return 1
    local line
    line=$(on m sh -c "tr '\\0' ' ' < /proc/$(process m sync-client@replica1)/cmdline")
    say "    $line"
    case $line in *' -d 1 -t 1800 '*) ;; *) return 1 ;; esac
    deliver 4 && replicated
}

# What imapd.conf names becomes writable, and nothing else.
write_paths() {
    local paths
    on r sh -c 'echo "partition-extra: /srv/extra" >> /etc/imapd.conf; mkdir -p /srv/extra; chown cyrus:mail /srv/extra; systemctl daemon-reload'
    paths=$(property r sync-server ReadWritePaths)
    say "    $paths"
    [[ $paths == *"-/srv/extra"* ]] && on r systemctl restart sync-server &&
        on r nsenter -t "$(process r sync-server)" -m sh -c '[ -w /srv/extra ] && [ ! -w /srv ]' && deliver 11 && replicated
}

# A good configuration is taken, a bad one is not, and nobody is disconnected.
reload() {
    local host unit before connected
    connected=$(count m CONNECTED)
    for host in m r; do
        unit=sync-server; [ "$host" = m ] && unit=sync-client@replica1
        before=$(process "$host" "$unit")
        on "$host" systemctl reload "$unit" && within 60 counted "$host" RELOADED 1 || fail "$host is not reloaded" || return 1
        on "$host" sh -c 'cp -p /etc/imapd.conf /root/imapd.conf; echo "sync_batchsize: many" >> /etc/imapd.conf'
        on "$host" systemctl reload "$unit"
        within 60 counted "$host" RELOAD_FAILED 1 || fail "$host took a wrong configuration" || return 1
        on "$host" cp -p /root/imapd.conf /etc/imapd.conf
        [ "$(count "$host" RELOAD_FAILED)" = 1 ] && [ "$before" = "$(process "$host" "$unit")" ] &&
            is_in_state "$host" "$unit" active || return 1
        say "    $host: $(on "$host" journalctl -q --no-pager -o cat -p err "MESSAGE_ID=$(kind RELOAD_FAILED)")"
    done
    deliver 13 && replicated && [ "$connected" = "$(count m CONNECTED)" ] || fail "the session was dropped"
}

purge() {
    local count
    count=$(messages r)
    on r env DEBIAN_FRONTEND=noninteractive apt-get purge -y -q cyrus-sync >/dev/null 2>&1 || return 1
    [ "$(messages r)" = "$count" ] || fail "mail is gone" || return 1
    ! on r pgrep -x sync_server >/dev/null && is_in_state r sync-server.socket inactive
}
