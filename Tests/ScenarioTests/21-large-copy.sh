#!/bin/bash
# A copy of more bytes than the secondary's journal may keep: the journal is recycled while the copy runs, and a secondary
# that dies in the middle of it comes back and gets a whole one. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

megabytes=660 bound=500
mkdir -p "$pair/a/data"
for n in 1 2 3; do head -c $((megabytes / 3))M /dev/urandom > "$pair/a/data/large$n"; done

journal_megabytes() { du -sm "$pair/b/node/journal" 2> /dev/null | cut -f1; }
watch_journal() { # until the copy ends: its largest size
    local now largest=0
    until field_is b data "up to date" 2> /dev/null; do
        now=$(journal_megabytes)
        [ "${now:-0}" -le "$largest" ] || largest=$now
        [ "$largest" -le "$bound" ] || break
    done
    echo "largest journal: $largest MB of $megabytes MB copied"
    [ "$largest" -gt 0 ] && [ "$largest" -le "$bound" ]
}
bounded() {
    sandbox up "$pair" > "$work/up" 2>&1 &
    local up=$! code=0
    until_true 60 test -d "$pair/b/node/journal" || return 1
    watch_journal || code=1
    wait $up || { cat "$work/up"; code=1; }
    return $code
}
check "the journal stays below $bound MB while $megabytes MB are copied" bounded
head -n 1 "$work/output"
check "trees equal" settled

daemon_of() { sed -n 's/.*"'"$1"'":{"daemon":{"pid":\([0-9]*\).*/\1/p' "$pair/sandbox.json"; }
copied_half() { local now; now=$(du -sm "$pair/b/data" | cut -f1); [ "$now" -ge $((megabytes / 2)) ] && [ "$now" -lt $megabytes ]; }
killed_midway() {
    sandbox kill "$pair" b > /dev/null || return 1
    captured dd if=/dev/urandom of="$pair/a/data/new" bs=1M count=1 status=none || return 1
    sandbox rejoin "$pair" > "$work/rejoin" 2>&1 &
    local rejoin=$!
    # The copy moves what was there aside, and fills new files.
    until_true 120 copied_half || return 1
    kill -KILL "$(daemon_of b)" || return 1
    wait $rejoin && { echo "rejoin did not notice the end of the daemon"; return 1; }
    { sandbox kill "$pair" b; sandbox rejoin "$pair"; } > "$work/rejoin" 2>&1 || { cat "$work/rejoin"; return 1; }
    settled
}
check "the secondary's daemon killed in the middle of a copy: a whole one, trees equal" killed_midway
finish_scenario
