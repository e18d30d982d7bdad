#!/bin/bash
# The demo itself: that it passes, and that what it calls unexplained after the kill is found when it is there.
#
#   DEMO_RUNS=N   how often it must pass, 3 by default
. "$(dirname "$0")/pair.sh"

# Everything that a demo keeps lies in here, and goes with it.
export TMPDIR=$work

passes() {
    lockstep demo --json --seconds 2 > "$work/demo" 2> "$work/demo.err" || { cat "$work/demo" "$work/demo.err"; return 1; }
    grep -E '"lost":0,.*"tailUnexplained":0,.*"treesEqual":true' "$work/demo" || { cat "$work/demo"; return 1; }
    [ "$(wc -l < "$work/demo")" = 1 ] || { echo "not one line"; cat "$work/demo"; return 1; }
    ! ls -d "$work"/lockstep-demo-* 2> /dev/null
}

# Starts a demo, calls `spoil B-TREE` once the trees have been compared and the load goes on, and waits for the end.
spoiled() { # spoiled ARGUMENT...
    local line directory= code=0 ended=0 errors demo
    : > "$work/demo.err"
    rm -f "$work/errors"
    mkfifo "$work/errors"
    "$product/lockstep" demo "$@" > "$work/demo" 2> "$work/errors" < /dev/null &
    demo=$!
    exec {errors}< "$work/errors"
    while read -r -t 120 line <&"$errors" || ended=$? && [ "$ended" = 0 ]; do
        echo "$line" >> "$work/demo.err"
        case $line in
        "1/7 "*) directory=${line##* } ;;
        "4/7 "*) spoil "$directory/pair/b/data" "$directory" ;;
        esac
    done
    exec {errors}<&-
    [ "$ended" -le 128 ] || { echo "the demo says nothing for 120 s"; kill "$demo"; }
    wait "$demo" || code=$?
    cat "$work/demo" "$work/demo.err"
    rm -rf "$directory"
    [ "$code" = 1 ] || { echo "exit code $code, expected 1"; return 1; }
}

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

for run in $(seq 1 "${DEMO_RUNS:-3}"); do check "the demo passes, run $run" passes; done
check "a name on the secondary that no operation made fails the demo" a_name_too_many
check "a byte on the secondary that no operation wrote fails the demo, and is named" a_flipped_byte
finish_scenario
