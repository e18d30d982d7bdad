#!/bin/bash
# Storage engines in a library: LevelDB, RocksDB (buffered, direct, mapped), LMDB (also mapped writable). The trees are equal after a load with
# merges, and what an engine said is durable is there after the death of the node. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
primary=a
all="leveldb rocksdb rocksdb-direct rocksdb-mapped lmdb lmdb-mapped"
engines=$work/engines
c++ -std=c++17 -O1 -Wall -Wextra -Werror -o "$engines" "$here/Programs/engines.cc" -lleveldb -lrocksdb -llmdb ||
    { echo "0 passed, 1 failed"; exit 1; }

tree() { echo "$pair/$primary/data"; }
loads() { # loads ENGINE: and is opened again, which recovers its log into files
    local count=4000
    [ "$1" != lmdb-mapped ] || count=1000 # each of its transactions is durable
    captured "$engines" "$1" load "$(tree)/$1" $count > "$work/durable.$1" && settled && captured "$engines" "$1" check "$(tree)/$1" < "$work/durable.$1" &&
        [ "$(wc -l < "$work/durable.$1")" = $count ] && settled
}
durable() { [ "$(wc -l < "$work/durable.$1")" -ge "$2" ]; }
all_at_work() { local engine; for engine in $all; do durable "$engine" 500 || return 1; done; }
node_dies() {
    local engine
    for engine in $all; do
        captured "$engines" "$engine" load "$(tree)/$engine-killed" > "$work/durable.$engine" 2> "$work/errors.$engine" < /dev/null &
    done
    until_true 120 all_at_work || { cat "$work"/errors.*; return 1; }
    sandbox kill "$pair" a > "$work/kill" 2>&1 && wait
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    primary=b
}
# What it printed last may be half a line.
finds() { sed '$d' "$work/durable.$1" | captured "$engines" "$1" check "$(tree)/$1-killed"; }
misses() {
    ! echo 4000000 | captured "$engines" "$1" check "$(tree)/$1-killed" > "$work/missed" && grep -qx '0 found, 1 lost' "$work/missed" ||
        { cat "$work/missed"; return 1; }
}
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 && settled || { cat "$work/rejoin"; return 1; }; }

mend() { :; }
sandbox up "$pair" > /dev/null || exit 1
for engine in $all; do check "$engine" loads "$engine"; done
check "no call was left to the guard" needs_no_guard
check "the node dies under all of them" node_dies
for engine in $all; do
    check "$engine: what it said is durable is there" finds "$engine"
    tail -n 1 "$work/output"
    check "$engine: a key that is not there is noticed" misses "$engine"
done
check "the first one comes back" comes_back
finish_scenario
