#!/bin/bash
# Strangers call the secondary's port: silent ones, many at once, and ones that send bytes that mean nothing. The primary's
# connection stays, durability points go on, and the pair is up to date throughout.
. "$(dirname "$0")/pair.sh"

mkdir -p "$pair/a/data"
sandbox up "$pair" > /dev/null || exit 1
port=$(sed -n 's/.*"b":{[^}]*}*[^}]*"port":\([0-9]*\).*/\1/p' "$pair/sandbox.json")
connections() { grep -c 'link: primary a connected' "$pair/b/node/lockstepd.log"; }
commit() { captured sqlite3 "$pair/a/data/db" "PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES ($1);" > "$work/sql" 2>&1 || { cat "$work/sql"; return 1; }; }
undisturbed() { # the same connection as before, and nobody went on alone
    [ "$(connections)" = "$before" ] || { echo "the primary had to connect again: $before, $(connections)"; return 1; }
    ! grep -q ' alone: ' <(tail -n +"$lines" "$pair/a/node/lockstepd.log") || { echo "the primary went on alone"; return 1; }
    field_is b data "up to date"
}
before=$(connections) lines=$(wc -l < "$pair/a/node/lockstepd.log")

silent() {
    local n
    for n in 1 2 3 4 5 6 7 8 9 10; do
        eval "exec $((20 + n))<> /dev/tcp/127.0.0.1/$port" || return 1
        commit "$n" || return 1
    done
    # The last ones are dropped when they have said nothing for as long as a peer may be silent.
    until_true 30 grep -q 'a caller said no hello within' "$pair/b/node/lockstepd.log" || return 1
    undisturbed
    local code=$?
    for n in 1 2 3 4 5 6 7 8 9 10; do eval "exec $((20 + n))>&-"; done
    return $code
}
noisy() {
    local n
    for n in 11 12 13 14 15; do
        head -c $((n * 1000)) /dev/urandom > "/dev/tcp/127.0.0.1/$port" 2> /dev/null
        commit "$n" || return 1
    done
    until_true 30 grep -q 'link: .*\(magic\|message\|kind\|header\|version\)' "$pair/b/node/lockstepd.log" || return 1
    undisturbed
}
[ -n "$port" ] || { echo "no port in sandbox.json"; exit 1; }
check "ten silent strangers" silent
check "five that send what means nothing" noisy
check "trees equal" settled
finish_scenario
