#!/bin/bash
# io_uring, where it is allowed: MariaDB by its default, which is liburing; a program that does everything that liburing can. Trees
# are equal, the guard had nothing to do; when the node is killed under load every row that was acknowledged is on the other one.
# What calls the kernel past liburing is refused, with a line; without the option MariaDB falls back to Linux AIO; one operation
# that is not captured is found by the comparison. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
. "$here/mariadb.sh"
command -v fio > /dev/null || { echo "fio is not installed: apt-get install fio"; echo "0 passed, 1 failed"; exit 1; }
mend() { :; }

# Of the server that was started last.
uses() { grep -E 'InnoDB: Using (io_uring|Linux native AIO|liburing)' "$(data)/error.log" | tail -n 1 | grep -q "$1" || { logged "$1"; tail -n 20 "$(data)/error.log"; return 1; }; }
falls_back() {
    start_server --innodb-flush-method=O_DIRECT && logged "falling back to libaio" && uses "Linux native AIO" && stop_server && at_rest
}
again_with_rings() {
    sandbox down "$pair" > /dev/null && sandbox up "$pair" --io-uring > "$work/up" 2>&1 || { cat "$work/up"; return 1; }
}
uses_rings() { # uses_rings NAME OPTION...: no call is refused either
    local name=$1 refused
    shift
    refused=$(guarded refused)
    works "$name" "" "$@" && uses "uring" || return 1
    [ "$(guarded refused)" = "$refused" ] || { echo "$(guarded refused) calls refused at the guard, before $refused"; return 1; }
}
uses_rings_durably() {
    start_server --innodb-flush-method=O_DSYNC && uses "uring" && slap innodb && at_rest && stop_server && at_rest
}
rings() { # rings NAME: a program of the interposer's tests, here with the daemon and the guard
    local before compiled=$work/$1
    before="$(guarded captured "$1") $(guarded refused "$1")"
    cc -std=gnu11 -O2 -g -D_GNU_SOURCE -w "$top/Tests/InterposerTests/Programs/$1.c" -o "$compiled" -pthread -luring || return 1
    mkdir -p "$pair/a/data/$1" "$work/outside" && captured "$compiled" "$pair/a/data/$1" "$work/outside" > "$work/$1.out" 2>&1 ||
        { tail -n 5 "$work/$1.out"; return 1; }
    at_rest || return 1
    [ "$(guarded captured "$1") $(guarded refused "$1")" = "$before" ] || { echo "at the guard: $(guarded captured "$1") $(guarded refused "$1")"; return 1; }
}
raw_calls_are_refused() { # on a ring that liburing made, by its number; they are counted
    local raw before=$(guarded refused)
    raw=$(program raw_ring -luring) || return 1
    captured "$raw" "$pair/a/data/raw" > "$work/raw.out" 2> "$work/raw.err" || { cat "$work/raw.out" "$work/raw.err"; return 1; }
    printf 'enter EPERM\nregister EPERM\nmmap EPERM\nwritten 11\n' | diff - "$work/raw.out" && at_rest || return 1
    until_true 10 counted $((before + 2)) || { echo "$(guarded refused) calls refused at the guard, before $before"; return 1; }
}
counted() { [ "$(guarded refused)" = "$1" ]; }
fio_is_refused() { # its engine makes its calls itself
    ! captured fio --name=raw --directory="$pair/a/data" --size=1m --rw=write --ioengine=io_uring > "$work/fio" 2>&1 || { echo "fio went on"; return 1; }
    grep -q "^lockstep: io_uring: .*past liburing's functions.*refused" "$work/fio" || { cat "$work/fio"; return 1; }
}
sees_one_uncaptured() { # in a sandbox of the build with planted faults
    [ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; return 1; }
    local product=$faults pair=$work/uncaptured
    pairs+=("$pair")
    sandbox up "$pair" --io-uring > "$work/up" 2>&1 || { cat "$work/up"; return 1; }
    cc -std=gnu11 -O2 -g -D_GNU_SOURCE -w "$top/Tests/InterposerTests/Programs/uring_entries.c" -o "$work/entries" -pthread -luring || return 1
    LOCKSTEP_FAULT=uring-writev:0:skip captured "$work/entries" "$pair/a/data" "$work/temporary" > "$work/entries.out" 2>&1
    ! settled > "$work/settled" 2>&1 || { echo "trees are equal although writev was not captured"; return 1; }
    grep -q '^a: ' "$work/compare" || { cat "$work/settled" "$work/compare"; return 1; }
    sandbox down "$pair" > /dev/null
}

sandbox up "$pair" > /dev/null || exit 1
check "mariadb-install-db" installs
check "without the option MariaDB falls back to Linux AIO" falls_back
check "the sandbox, with the option" again_with_rings
check "io_uring, O_DIRECT" uses_rings native --innodb-flush-method=O_DIRECT
check "io_uring, O_DSYNC" uses_rings_durably
check "every operation" rings uring_entries
check "chains" rings uring_links
check "registered files" rings uring_files
check "durable writes" rings uring_durable
check "calls by a ring's number are refused, and counted" raw_calls_are_refused
check "fio's own calls are refused" fio_is_refused
check "one operation that is not captured is found" sees_one_uncaptured
check "the node dies under $clients clients" node_dies --innodb-flush-method=O_DIRECT
check "it uses io_uring there, too" uses "uring"
check "every acknowledged row is there" finds
tail -n 1 "$work/output"
check "tables are sound on the other node" sound native
check "the first one comes back" comes_back
finish_scenario
