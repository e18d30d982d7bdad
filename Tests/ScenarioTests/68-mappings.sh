#!/bin/bash
# Files written through shared mappings. What any process was told to be durable is on the second node when the first one dies,
# by each way to store and to make durable; processes that die, or take the tracking away; the daemon's death; fio. With the look
# at the mappings left out, the same loses. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
command -v fio > /dev/null || { echo "fio is not installed: apt-get install fio"; echo "0 passed, 1 failed"; exit 1; }
cd "$work" || exit 1
mapper=$(program mapper)
rounds=${ROUNDS:-3}
primary=a
tree() { echo "$pair/$primary/data"; }
log_of() { cat "$pair/$1/node/lockstepd.log"; }

runs() { # runs MODE
    captured "$mapper" "$1" "$(tree)/$1" > "$work/runs" 2>&1 || { cat "$work/runs"; return 1; }
    settled
}
has_stored() { grep -q stored "$work/dirty"; }
# start_dirty NAME: a process that stored and does nothing; its number in $victim
start_dirty() {
    : > "$work/dirty"
    captured "$mapper" dirty "$(tree)/$1" > "$work/dirty" 2>&1 &
    until_true 30 has_stored || { cat "$work/dirty"; return 1; }
    victim=$(pgrep -f -- "mapper dirty $(tree)/$1\$" | while read -r pid; do [ "$(cat "/proc/$pid/comm")" != mapper ] || echo "$pid"; done)
    [ -n "$victim" ]
}
killed() {
    start_dirty killed || return 1
    kill -KILL "$victim"
    wait $! 2> "$work/killed"
    settled && log_of a | grep -q 'killed, mapped by process .*: its process is gone; 262144 bytes are read whole' || { log_of a | tail -n 5; return 1; }
}
unattended() { # nobody asks for anything to be durable: it comes within seconds all the same
    start_dirty unattended || return 1
    until_true 20 cmp -s "$pair/a/data/unattended" "$pair/b/data/unattended" || return 1
    settled || return 1
    kill -KILL "$victim"
    wait $! 2> "$work/killed"
    settled
}
closes() {
    runs closed && log_of a | grep -q 'closed, mapped by process .*: it is not tracked any more; 32768 bytes are read whole'
}
restarted() { # the daemon dies while a process has it mapped: the next one learns that from its arena
    start_dirty restarted || return 1
    settled || return 1
    sandbox kill "$pair" a --what daemon > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    settled || return 1
    before=$(log_of a | grep -c 'read whole')
    kill -USR1 "$victim"
    until_true 10 grep -q aaaa "$pair/a/data/restarted" || return 1
    # Made durable by a process that has nothing mapped, and there when that returns.
    captured dd of="$(tree)/restarted" if=/dev/null conv=fsync,notrunc status=none || return 1
    settled && grep -q aaaa "$pair/b/data/restarted" && [ "$(log_of a | grep -c 'read whole')" = "$before" ] || return 1
    kill -KILL "$victim"
    wait $! 2> "$work/killed"
    settled
}
run_fio() { # run_fio NAME OPTION...
    local name=$1
    shift
    captured fio --name="$name" --directory="$(tree)" --size=12m --bsrange=4k-64k --rw=randwrite --numjobs=2 --randseed=7 --fallocate=none \
        --ioengine=mmap --end_fsync=1 --verify=crc32c --output="$work/fio.out" "$@" > "$work/fio.err" 2>&1 || { tail -n 20 "$work/fio.out" "$work/fio.err"; return 1; }
    settled && [ "$repaired" = 0 ] || { echo "$repaired repairs"; return 1; }
}

at_work() { [ "$(wc -l < "$work/durable")" -ge "$1" ]; }
# dies ROUNDS-OF-ALL: the first node dies while all routes are at work; the second one takes over
dies() {
    : > "$work/durable"
    captured "$mapper" load "$(tree)/load" > "$work/durable" 2> "$work/errors" < /dev/null &
    until_true 60 at_work "$1" || { cat "$work/errors" "$work/durable"; return 1; }
    sandbox kill "$pair" $primary > "$work/kill" 2>&1 && wait $! 2> "$work/killed"
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    [ $primary = a ] && primary=b || primary=a
    # What was printed last may be half a line.
    sed '$d' "$work/durable" | "$mapper" check "$(tree)/load"
}
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 && settled || { cat "$work/rejoin"; return 1; }; }

sandbox up "$pair" > /dev/null || exit 1
check "scattered stores, more than a batch holds; a file that grows under its mapping" runs wide
check "threads and processes that map, cut, move, fork and write at once" runs storm
check "a process that is killed" killed
check "nobody makes it durable" unattended
check "a process that closes what it has not opened" closes
check "the daemon dies" restarted
check "fio, stores" run_fio stores
check "fio, fsync now and then" run_fio synced --fsync=16 --size=4m
for round in $(seq "$rounds"); do
    check "round $round: what is durable is there after the death of the node" dies $((100 + round * 40))
    tail -n 10 "$work/output"
    check "round $round: it comes back" comes_back
done

# ---------------------------------------------------------------- control

loses() { # with the look left out, stores that no call tells of are missed, and what is told by calls is not
    [ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; return 1; }
    local product=$faults pair=$work/unasked code=0
    primary=a
    pairs+=("$pair")
    LOCKSTEP_DAEMON_FAULT=mappings-unasked lockstep sandbox up "$pair" > /dev/null || return 1
    dies 150 > "$work/loses" 2>&1 || code=$?
    cat "$work/loses"
    [ $code = 1 ] && grep -q '^synced: .*LOST' "$work/loses" && grep -q '^plain: .*LOST' "$work/loses" && grep -q '^kernel: .*LOST' "$work/loses" &&
        ! grep -q '^unmapped: .*LOST' "$work/loses"
}
check "control: with the look at mappings left out it is lost" loses
finish_scenario
