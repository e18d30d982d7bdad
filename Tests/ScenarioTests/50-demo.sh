#!/bin/bash
# The demo itself: that it passes, and that what it calls unexplained after the kill is found when it is there.
#
#   DEMO_RUNS=N   how often it must pass, 3 by default
. "$(dirname "$0")/pair.sh"
. "$here/demo.sh"

a_name_too_many() {
    spoil() { echo stray > "$1/stray"; }
    spoiled --json --seconds 2 || return 1
    grep -q '"tailUnexplained":1,' "$work/demo" && grep -q '"lost":0,' "$work/demo" && grep -q '"integrity":"ok"' "$work/demo" &&
        grep -q '"verdict":"failed: differences after the kill that belong to no unacknowledged operation: 1"' "$work/demo"
}

# A letter of the first commit's text, in a page that no later commit writes again.
a_flipped_byte() {
    local offset=
    spoil() {
        local text
        read -r _ _ text < "$2/acknowledged.log"
        offset=$(grep -abo -F "$text" "$1/demo.db" | head -n 1 | cut -d : -f 1)
        [ -z "$offset" ] || printf '#' | dd of="$1/demo.db" bs=1 seek=$((offset + 10)) conv=notrunc status=none
    }
    spoiled --seconds 8 || return 1
    [ -n "$offset" ] || { echo "the first commit was not in the database file yet: too few commits"; return 1; }
    grep -qx "unexplained: demo.db: 4 KiB at $((offset / 4096 * 4096))" "$work/demo.err" &&
        grep -q '; differences that belong to no unacknowledged operation: 1$' "$work/demo" &&
        grep -q '^verdict .*failed: 1 acknowledged commits are lost; differences after the kill' "$work/demo"
}

for run in $(seq 1 "${DEMO_RUNS:-3}"); do check "the demo passes, run $run" passes --seconds 2; done
check "a name on the secondary that no operation made fails the demo" a_name_too_many
check "a byte on the secondary that no operation wrote fails the demo, and is named" a_flipped_byte
finish_scenario
