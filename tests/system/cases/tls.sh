# Passwords and keys that systemd hands over, and TLS.

credentials() {
    printf '%s\n' "$password" | on m sh -c 'umask 077; cat > /root/replica1.password'
    on m sed -i 's/^replica1_sync_password:.*/replica1_sync_password: wrong/' /etc/imapd.conf
    drop_in m sync-client@replica1.service '[Service]' LoadCredential=sync-password:/root/replica1.password
    on m systemctl restart sync-client@replica1 && deliver 12 && replicated || return 1
    no_drop_in m sync-client@replica1.service
    on m sed -i "s/^replica1_sync_password:.*/replica1_sync_password: $password/" /etc/imapd.conf
    on m systemctl restart sync-client@replica1
}

# An authority, and certificates of the replica from it: NAME.pem with the key NAME.key, which is made
# unless it is there.
authority() {
    (cd "$work" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj /CN=authority -keyout ca.key -out ca.pem) >/dev/null 2>&1
}
certificate() { # NAME KEY
    (cd "$work" && { [ -e "$2.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$2.key"; } &&
        openssl req -new -key "$2.key" -subj /CN=r | openssl x509 -req -CA ca.pem -CAkey ca.key -days 20 \
            -set_serial "0x$(openssl rand -hex 8)" -extfile <(echo subjectAltName=DNS:r) -out "$1.pem") 2>/dev/null
}

# Puts a certificate and its key where only root can read them.
lay_out() { # CERTIFICATE KEY
    on r install -d -m 700 /etc/ssl/replica
    on r sh -c 'umask 077; cat > /etc/ssl/replica/fullchain.pem' < "$work/$1.pem"
    on r sh -c 'umask 077; cat > /etc/ssl/replica/privkey.pem' < "$work/$2.key"
}

# The serial number of the certificate that the replica shows to those who come now.
serial() {
    testhost client -- openssl s_client -connect 10.99.0.12:2006 </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null
}
shows() { [ "$(serial)" = "$(openssl x509 -noout -serial -in "$work/$1.pem")" ]; } # CERTIFICATE

# The password goes over TLS alone, with a certificate and a key that only the unit can read.
tls() {
    authority && certificate first first && lay_out first first || return 1
    on r mkdir -p /etc/systemd/system/sync-server.service.d
    sed 's,/etc/letsencrypt/live/[^/]*/,/etc/ssl/replica/,' "$here/../../contrib/examples/sync-server-tls.conf" |
        on r tee /etc/systemd/system/sync-server.service.d/tls.conf >/dev/null
    on r systemctl daemon-reload && on r systemctl restart sync-server || return 1
    on m tee /etc/ssl/replica-authority.pem < "$work/ca.pem" >/dev/null
    on m sed -i '/^cyrus_sync_client_plaintext/d' /etc/imapd.conf
    on m sh -c 'echo "tls_server_ca_file: /etc/ssl/replica-authority.pem" >> /etc/imapd.conf'
    on m systemctl restart sync-client@replica1 && deliver 18 && replicated || return 1
    said=$(on r journalctl -q --no-pager -o cat -u sync-server --grep starttls -n 1)
    say "    $said"
    [[ $said == *TLS* ]] && ! on r runuser -u cyrus -- cat /etc/ssl/replica/fullchain.pem 2>/dev/null
}

# A socket that speaks TLS from the first octet on.
tls_socket() {
    on r systemctl enable sync-server-tls.socket 2>/dev/null
    on r systemctl stop sync-server.socket && on r systemctl start sync-server-tls.socket sync-server.socket || return 1
    shows first || fail "port 2006 shows '$(serial)'" || return 1
    on m sed -i 's,^replica1_sync_host:.*,replica1_sync_host: r:2006/tls,' /etc/imapd.conf
    on m systemctl reload sync-client@replica1
    encrypted() { [ -n "$(on m ss -Htn state established dport = :2006)" ]; }
    within 90 encrypted && deliver 19 && replicated && is_in_state r sync-server-tls.socket active
}

# A renewed certificate is shown after a reload, and nobody is disconnected; a new key that systemd hands
# over needs a restart, which nobody notices either.
tls_renewal() {
    local connected before failures
    before=$(process m sync-client@replica1)
    on r sh -c 'cp /etc/ssl/replica/fullchain.pem /etc/ssl/replica-shown.pem; chmod 644 /etc/ssl/replica-shown.pem'
    on r sh -c 'echo "tls_server_cert: /etc/ssl/replica-shown.pem" >> /etc/imapd.conf'
    on r sed -i '/^LoadCredential=tls-cert/d' /etc/systemd/system/sync-server.service.d/tls.conf
    on r systemctl daemon-reload && on r systemctl restart sync-server && shows first || return 1
    deliver 20 && replicated || return 1
    connected=$(count m CONNECTED)
    certificate renewed first && on r tee /etc/ssl/replica-shown.pem < "$work/renewed.pem" >/dev/null
    on r systemctl reload sync-server
    within 60 shows renewed || fail "shows '$(serial)' after the reload" || return 1
    deliver 21 && replicated && [ "$connected" = "$(count m CONNECTED)" ] || fail "the session was dropped" || return 1
    failures=$(count r RELOAD_FAILED)
    certificate another another && lay_out another another && on r tee /etc/ssl/replica-shown.pem < "$work/another.pem" >/dev/null
    on r systemctl reload sync-server
    within 60 counted r RELOAD_FAILED $((failures + 1)) && shows renewed || fail "a certificate without its key was taken" || return 1
    say "    $(on r journalctl -q --no-pager -o cat -n 1 "MESSAGE_ID=$(kind RELOAD_FAILED)")"
    on r systemctl restart sync-server && shows another && deliver 22 && replicated && [ "$before" = "$(process m sync-client@replica1)" ]
}
