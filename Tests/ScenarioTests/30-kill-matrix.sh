#!/bin/bash
# 30-kill-matrix.sh: nodes killed at random moments under a real SQLite load; what SQLite acknowledged must be there.
#
#   ROUNDS=30   how many kills of the primary, and how many of both nodes        SEED=n   the same choices again
#
# One pair lives through all rounds: the nodes change roles in each, and every round looks up every transaction that was
# acknowledged since the beginning.
#
#   round:  4 clients load ─ SIGKILL ─ takeover ─ look-up, integrity_check ─ rejoin ─ settle, compare ─ roles changed
#
# These are deaths of processes: what they wrote stays in the page cache. That the secondary's journal reaches the device
# before it acknowledges is shown by counting flushes, at the end; that takes root and a loop device.
. "$(dirname "$0")/pair.sh"
rounds=${ROUNDS:-30}
seed=${SEED:-$((($(date +%s) * 31 + $$) % 1000000))}
RANDOM=$seed
echo "seed $seed, $rounds rounds of each kind"

load=$work/kill_load
cc -std=gnu11 -O2 -Wall -Wextra -Werror -o "$load" "$here/Programs/kill_load.c" -lsqlite3 || { echo "0 passed, 1 failed"; exit 1; }
pair_number=0 clients=() keepers=()

# ---------------------------------------------------------------- the pair and its load

new_pair() {
    end_pair "$pair"
    pair_number=$((pair_number + 1))
    pair=$work/pair$pair_number logs=$work/log$pair_number-
    pairs+=("$pair")
    primary=a secondary=b
}

up() { sandbox up "$pair" > "$work/up" 2>&1 || { cat "$work/up"; return 1; }; }
other() { [ "$1" = a ] && echo b || echo a; }
daemon() { # the process of a node's daemon
    sqlite3 :memory: "SELECT json_extract(CAST(readfile('$pair/sandbox.json') AS TEXT), '\$.nodes.$1.daemon.pid')"
}
applier() { # the thread that brings node $1's files up to its journal
    local comm
    for comm in /proc/"$(daemon "$1")"/task/*/comm; do
        [ "$(cat "$comm")" != applier ] || basename "$(dirname "$comm")"
    done
}

start_load() { # start_load NUMBER MODE BYTES: clients, journal mode, bytes of scratch in a transaction
    local number database=$pair/$primary/data/kill.db
    captured "$load" prepare "$database" "$2" || return 1
    clients=()
    for number in $(seq "$1"); do
        "$product/lockstep" sandbox run -q "$pair" -- "$load" client "$database" "$number" "$logs$number" "$3" \
            2> "$work/client.$number" < /dev/null &
        clients+=($!)
    done
}

load_ended() { # every client was killed; one that gave up before has said why
    wait "${clients[@]}" 2> /dev/null
    ! cat "$work"/client.* | grep '^kill-load: ' || { echo "a client gave up before the kill"; return 1; }
}

# ---------------------------------------------------------------- a round

take_over() {
    local begin=${EPOCHREALTIME/./} code
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    primary=$secondary secondary=$(other "$secondary")
    captured sqlite3 "$pair/$primary/data/kill.db" 'SELECT count(*) FROM commits' > /dev/null || return 1
    echo $(((${EPOCHREALTIME/./} - begin) / 1000)) >> "$work/takeovers"
}

look_up() { captured "$load" check "$pair/$primary/data/kill.db" 4 "$logs" | tee "$work/found"; return "${PIPESTATUS[0]}"; }

come_back() {
    sandbox rejoin "$pair" > "$work/rejoin" 2>&1 || { cat "$work/rejoin"; return 1; }
    settled
}

mode_of() { [ $(($1 % 2)) = 0 ] && echo wal || echo delete; }

primary_dies() { # primary_dies ROUND
    start_load 4 "$(mode_of "$1")" 8000 || return 1
    "$load" await --acks $((50 + RANDOM % 400)) "$logs" --delay $((RANDOM % 5000)) "${clients[@]}" || return 1
    sandbox kill "$pair" "$primary" > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    load_ended && take_over && look_up && come_back
}

# The primary's daemon is first in the order: nothing is acknowledged after its death, and it can't see the other's.
both_die() { # both_die ROUND SCRATCH-BYTES WHEN...
    local round=$1 bytes=$2
    shift 2
    start_load 4 "$(mode_of "$round")" "$bytes" || return 1
    "$load" strike "$@" --delay $((RANDOM % 5000)) "$(daemon $primary)" "$(daemon $secondary)" "${clients[@]}" || return 1
    sandbox kill "$pair" "$primary" > "$work/kill" 2>&1 && sandbox kill "$pair" "$secondary" >> "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    load_ended && take_over && look_up
}

both_die_and_return() { both_die "$@" && come_back; }

# The secondary's applier stands still while the journal grows: at the takeover the files are far behind.
behind() {
    local thread
    thread=$(applier $secondary)
    [ -n "$thread" ] || { echo "no thread 'applier' in node $secondary's daemon"; return 1; }
    both_die "$1" 8000 --freeze "$thread" --acks $((100 + RANDOM % 300)) "$logs" || return 1
    grep -o 'replayed [0-9]* batches' "$pair/$primary/node/lockstepd.log" | tail -n 1
    come_back
}

# Right after a checkpoint, when segments are about to be used again.
checkpointed() { both_die_and_return "$1" 400000 --replaced "$pair/$secondary/node/table"; }

# The takeover itself dies, and is asked for again.
takeover_dies() { # takeover_dies ROUND
    local ready blow code=0 moment=(--delay $((RANDOM * 4)))
    # In every other round right after the new epoch became durable.
    [ $(($1 % 2)) = 0 ] || moment=(--replaced "$pair/$secondary/node/record" --delay $((RANDOM % 10000)))
    start_load 4 "$(mode_of "$1")" 8000 || return 1
    "$load" await --acks $((50 + RANDOM % 400)) "$logs" "${clients[@]}" || return 1
    sandbox kill "$pair" "$primary" > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    load_ended || return 1
    exec {ready}< <("$load" strike "${moment[@]}" "$(daemon $secondary)" 2>&1)
    blow=$!
    read -r -u "$ready" _
    sandbox takeover "$pair" > "$work/first" 2>&1 || code=$?
    wait "$blow" || { cat <&"$ready"; return 1; }
    exec {ready}<&-
    echo "the first takeover ended with $code"
    if [ "$code" = 0 ]; then # it was sooner than the blow
        primary=$secondary secondary=$(other "$secondary")
        sandbox kill "$pair" "$primary" --what daemon > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    else
        interrupted=$((interrupted + 1))
        take_over || return 1
    fi
    look_up && come_back
}

round() { # round NAME COMMAND...: after a failure the others get a fresh pair
    local before=$failed
    check "$@"
    [ "$failed" = "$before" ] && return
    new_pair
    check "a fresh pair" up
}

new_pair
check "a pair" up
begun=$SECONDS
for number in $(seq "$rounds"); do round "primary killed, $number, $(mode_of "$number")" primary_dies "$number"; done
echo "kills of the primary: $((SECONDS - begun)) s; $(cat "$work/found" 2> /dev/null)"

begun=$SECONDS interrupted=0
for number in $(seq $((rounds / 3))); do round "takeover killed, $number, $(mode_of "$number")" takeover_dies "$number"; done
echo "kills of the takeover: $((SECONDS - begun)) s, $interrupted interrupted"

begun=$SECONDS
for number in $(seq "$rounds"); do
    name="both killed, $number, $(mode_of "$number")"
    case $((number % 6)) in
        3 | 4) round "$name, applier behind" behind "$number" ;;
        5) round "$name, after a checkpoint" checkpointed "$number" ;;
        *) round "$name" both_die_and_return "$number" 8000 --acks $((50 + RANDOM % 400)) "$logs" ;;
    esac
done
echo "kills of both: $((SECONDS - begun)) s; $(cat "$work/found" 2> /dev/null)"
sort -n "$work/takeovers" 2> /dev/null | awk '{ t[NR] = $1 } END { if (NR) printf "takeover and first query: median %.3f s, longest %.3f s, %d takeovers\n", t[int((NR + 1) / 2)] / 1000, t[NR] / 1000, NR }'

# ---------------------------------------------------------------- planted faults

release=$product

# An acknowledgement before the journal has the batch: what was acknowledged last is nowhere when both nodes die.
acknowledges_early() {
    local number attempts=30
    up || return 1
    for number in $(seq $attempts); do
        both_die "$number" 8000 --acks $((50 + RANDOM % 400)) "$logs" > "$work/early" 2>&1
        if grep -q '^lost: ' "$work/early"; then
            echo "caught in round $number: $(tail -n 1 "$work/early")" | tee -a "$work/figures"
            return 0
        fi
        [ -s "$work/early" ] && tail -n 1 "$work/early" | grep -q ' lost=0 halves=0 integrity=ok' || { cat "$work/early"; return 1; }
        come_back || return 1
    done
    echo "not caught in $attempts rounds"
    return 1
}

product=$faults
new_pair
export LOCKSTEP_DAEMON_FAULT=ack-before-journal
check "an acknowledgement before the journal write is caught" acknowledges_early
unset LOCKSTEP_DAEMON_FAULT
product=$release

# ---------------------------------------------------------------- flushes of the journal's device

mounted=() devices=()
leave_devices() {
    local one
    new_pair
    for one in "${mounted[@]}"; do umount "$one"; done
    for one in "${devices[@]}"; do losetup -d "$one"; done
    mounted=() devices=()
}
trap 'leave_devices; clean_up' EXIT

flushes() { awk '{ print $16 }' "/sys/block/${device#/dev/}/stat"; }

# b's journal on an ext4 of its own: every group that b acknowledges costs this device a flush. One client, because the
# kernel lets writes that are in flight together share one.
flushes_and_groups() { # sets `flushed` and `groups` of a load
    local image=$work/journal$pair_number.img before_flushes before_groups
    mkdir -p "$pair/b/node/journal"
    chmod 700 "$pair/b/node"
    truncate -s 768M "$image" && device=$(losetup -f --show "$image") || return 1
    devices+=("$device")
    mkfs.ext4 -q -m 0 "$device" && mount "$device" "$pair/b/node/journal" || return 1
    mounted+=("$pair/b/node/journal")
    rmdir "$pair/b/node/journal/lost+found"
    up || return 1
    start_load 1 wal 8000 && "$load" await --acks 20 "$logs" "${clients[@]}" || return 1
    before_flushes=$(flushes) before_groups=$(field b counters.batches)
    "$load" await --acks 400 "$logs" "${clients[@]}" || return 1
    groups=$(field b counters.batches) flushed=$(flushes)
    groups=$((groups - before_groups)) flushed=$((flushed - before_flushes))
    sandbox kill "$pair" a --what app > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    load_ended
    sandbox down "$pair" > /dev/null
    echo "$groups groups, $flushed flushes" | tee -a "$work/figures"
}

all_flushed() { flushes_and_groups && [ "$groups" -gt 100 ] && [ "$flushed" -ge "$groups" ]; }
not_all_flushed() { flushes_and_groups && [ "$groups" -gt 100 ] && [ "$flushed" -lt "$groups" ]; }

if [ "$(id -u)" != 0 ]; then
    echo "skipped: flushes of the journal's device: needs root"
elif ! losetup -f > /dev/null 2>&1; then
    echo "skipped: flushes of the journal's device: needs loop devices"
else
    new_pair
    check "every acknowledged group costs the journal's device a flush" all_flushed
    product=$faults
    new_pair
    export LOCKSTEP_DAEMON_FAULT=journal-without-flush
    check "a journal without flushes is caught by the same count" not_all_flushed
    unset LOCKSTEP_DAEMON_FAULT
    product=$release
    leave_devices
fi

[ ! -e "$work/figures" ] || cat "$work/figures"
trap clean_up EXIT
finish_scenario
