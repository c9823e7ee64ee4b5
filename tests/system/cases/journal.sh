# What the journal tells.

# One run can be followed on both hosts.
journal_runs() {
    local run ours theirs
    deliver 14 && replicated || return 1
    newest() { on m journalctl -q --no-pager -o json -n 1 "MESSAGE_ID=$(kind RUN)" SYNC_MESSAGES=1; }
    run=$(newest | python3 -c 'import json, sys; print(json.load(sys.stdin)["SYNC_RUN_ID"])')
    complete() {
        ours=$(on m journalctl -q --no-pager -o cat "SYNC_RUN_ID=$run") theirs=$(on r journalctl -q --no-pager -o cat "SYNC_RUN_ID=$run")
        [[ $ours == *"run $run: ok"* ]] && [[ $theirs == *"received run $run: ok"* && $theirs == *"applied MAILBOX user.alice"* ]]
    }
    within 60 complete
    printf '%s\n' "$ours" "$theirs" | sed 's/^/    /'
    complete && newest | python3 -c '
import json, sys
entry = json.load(sys.stdin)
for field in ("SYNC_CHANNEL", "SYNC_SERVER", "SYNC_RUN_ID", "SYNC_RESULT", "SYNC_MESSAGES", "SYNC_BYTES", "SYNC_LAG_MS"):
    assert entry[field], field
assert entry["PRIORITY"] == "5", entry["PRIORITY"]' &&
        [ -n "$(on m journalctl -q --no-pager -o cat SYNC_USER=alice SYNC_RESULT=ok)" ] &&
        [ -n "$(on r journalctl -q --no-pager -o cat SYNC_USER=alice SYNC_MAILBOX=user.alice SYNC_VERB=MAILBOX)" ]
}

journal_catalog() {
    local said
    said=$(on m journalctl -q --no-pager -x -n 1 "MESSAGE_ID=$(kind RUN)")
    printf '%s\n' "$said" | sed 's/^/    /'
    [[ $said == *"Defined-By: cyrus-sync"* && $said == *"journalctl SYNC_RUN_ID="[0-9a-f]* ]]
}

no_secrets() {
    local host
    for host in m r; do
        [ "$(on "$host" journalctl -q --no-pager -o export | grep -a -c -e "$password")" = 0 ] ||
            fail "the password is in the journal of $host" || return 1
    done
}
