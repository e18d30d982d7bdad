#!/bin/bash
# Renames and links across the border of the tree: what comes in is told whole, what goes out is unlinked, also while others
# write to it on both sides. With verdicts that outlive a crossing (planted fault) the comparison must find the difference.
# ROUNDS=n shortens 1500. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

rounds=${ROUNDS:-1500}
border=$(program border)
data=$pair/a/data out=$work/out
mkdir -p "$out"

contend() { # contend SEED: four processes
    local entered left busy wrote
    rm -rf "${out:?}"/*
    captured timeout 600 "$border" "$data" "$out" "$1" "$rounds" > "$work/border" || { echo "border: exit code $?"; return 1; }
    read -r entered left busy wrote < "$work/border"
    echo "$entered came in, $left went out, $busy were busy, $wrote writes"
    [ "$entered" -ge $((rounds / 50)) ] && [ "$left" -ge $((rounds / 50)) ] && [ "$wrote" -ge "$rounds" ] || return 1
}
contended() { contend "$1" && settled; }

by_mv() { # files, links and directories, in and out; directories come in by copying
    mkdir -p "$out/tree/deep" "$data/goes/deep" && ln -s target "$out/link" && head -c 5000000 /dev/urandom > "$out/big" &&
        truncate -s 20M "$out/sparse" && echo end >> "$out/sparse" && setfattr -n user.kept -v yes "$out/big" 2> /dev/null
    local number
    for number in $(seq 200); do echo "$number" > "$out/tree/deep/$number"; done
    sandbox settle "$pair" > /dev/null || return 1
    captured bash -e -c 'cd "$1" && for n in $(seq 200); do echo $n > goes/deep/$n; done
        mv "$2/big" "$2/sparse" "$2/link" "$2/tree" . && ln "$2/hard" linked 2> /dev/null || true
        mv goes "$2/gone" && mv link "$2/link"' bash "$data" "$out" || return 1
    [ -e "$data/big" ] && [ -e "$data/tree/deep/200" ] && [ ! -e "$data/goes" ] && [ "$(ls "$out/gone/deep" | wc -l)" = 200 ] && settled
}
by_ln() {
    echo "a further name" > "$out/named" && captured ln "$out/named" "$data/named" && captured ln "$data/named" "$out/again" || return 1
    settled && [ "$(cat "$pair/b/data/named")" = "a further name" ] || return 1
    # By an outer name nobody could tell the peer: refused.
    ! captured bash -c 'echo more >> "$1"' bash "$out/named" 2> "$work/err" && grep -q "a file with several names" "$work/err" && [ "$(cat "$data/named")" = "a further name" ]
}
durable() { # in, and a durability point behind it; then the whole primary dies
    head -c 3000000 /dev/urandom > "$out/wanted" && cp "$out/wanted" "$work/kept" || return 1
    captured bash -e -c 'mv "$1/wanted" "$2/wanted" && sync "$2/wanted" && kill -KILL $$' bash "$out" "$data"
    sandbox kill "$pair" a > /dev/null && sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    cmp "$work/kept" "$pair/b/data/wanted"
}

mkdir -p "$data"
sandbox up "$pair" > /dev/null || exit 1
check "mv: files, links, directories, in and out" by_mv
check "ln: a further name inside and outside" by_ln
for seed in 1 2 3; do check "four processes, $rounds rounds, seed $seed" contended $seed; done
check "in and synchronized: it is on the secondary when the primary dies" durable
sandbox down "$pair" > /dev/null

product=$faults pair=$work/control data=$work/control/a/data
pairs+=("$pair")
mkdir -p "$data"
sandbox up "$pair" > /dev/null || exit 1
missed() {
    captured "$border" "$data" "$out" && settled || return 1
    rm -f "$data/once" && sandbox settle "$pair" > /dev/null || return 1
    LOCKSTEP_FAULT=border-kept:0:skip captured "$border" "$data" "$out" || return 1
    [ "$(stat -c %s "$data/once")" = 18 ] && ! settled > "$work/difference" 2>&1 && grep -q "differ" "$work/difference" || { echo "the trees are equal"; return 1; }
}
check "control: a verdict from before a crossing is caught" missed
finish_scenario
