#!/bin/bash
# Four processes make every captured call on the same ranges, names and attributes at the same time: the trees are equal
# all the same, because what overlapped was read again (rules R1, R2). Each call on its own is a program of the preload
# library's tests, and 10-trees.sh takes them through the daemons. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

data=$pair/a/data
callers=$(program callers)
sandbox up "$pair" > /dev/null || exit 1

together() { # together WHAT SEED ROUNDS: calls of each kind succeeded, some overlapped, and the trees are equal
    local before after calls
    before=$(field a counters.repairs) || return 1
    mkdir -p "$data/$1" && sandbox settle "$pair" > /dev/null || return 1
    captured timeout 300 "$callers" "$1" "$data/$1" "$2" "$3" > "$work/callers" || { echo "callers: exit code $?"; return 1; }
    read -r calls _ < "$work/callers"
    settled || return 1
    after=$(field a counters.repairs) || return 1
    echo "$calls calls, $((after - before)) repairs"
    [ "$calls" -gt "$3" ] && [ $((after - before)) -gt 0 ] || { echo "nothing overlapped"; return 1; }
}

for seed in 1 2 3; do
    check "bytes: four processes on three files, seed $seed" together bytes $seed 800
    check "names: four processes on ten names, seed $seed" together names $seed 800
    check "attributes: four processes on four objects, seed $seed" together attributes $seed 800
done
finish_scenario
