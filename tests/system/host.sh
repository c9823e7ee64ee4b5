#!/bin/sh
# host.sh REPLICA PASSWORD: on a fresh host with Debian's Cyrus, makes it a mail server whose changes
# are logged for the channel replica1. Runs inside the host, as root.
set -e
cat >> /etc/imapd.conf <<CONF
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sync_log: yes
sync_log_channels: replica1
replica1_sync_host: $1
replica1_sync_port: 2005
replica1_sync_authname: cyrus
replica1_sync_password: $2
replica1_sync_shutdown_file: /run/cyrus/sync-shutdown
cyrus_sync_client_plaintext: yes
sync_reconnect_maxwait: 15s
CONF
# names of settings that Debian's file has too would count twice
awk -F: '/^[a-z_0-9-]+:/ { last[$1] = NR } { line[NR] = $0; name[NR] = $1 }
    END { for (n = 1; n <= NR; n++) if (!(name[n] in last) || last[name[n]] == n) print line[n] }' \
    /etc/imapd.conf > /etc/imapd.conf.new
mv /etc/imapd.conf.new /etc/imapd.conf
# these belong to packages that are not installed
sed -i -E 's/^(\s*)(pop3|nntp|http)(s?\s)/\1#\2\3/' /etc/cyrus.conf
printf %s "$2" | saslpasswd2 -p -c cyrus
printf %s "$2" | saslpasswd2 -p -c alice
chgrp sasl /etc/sasldb2 && chmod 640 /etc/sasldb2
systemctl enable cyrus-imapd >/dev/null 2>&1
systemctl restart cyrus-imapd
