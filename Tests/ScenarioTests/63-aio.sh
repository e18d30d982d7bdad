#!/bin/bash
# fio by each way of its to write: the trees are equal without a repair, and the guard had nothing to do. Processes that die
# with operations in flight; the death of the node under durable asynchronous writes. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
command -v fio > /dev/null || { echo "fio is not installed: apt-get install fio"; echo "0 passed, 1 failed"; exit 1; }
cd "$work" || exit 1
mkdir -p "$pair/a/data/fio"
tree() { echo "$pair/a/data/fio"; }

run_fio() { # run_fio NAME OPTION...
    local name=$1
    shift
    captured fio --name="$name" --directory="$(tree)" --size=12m --bsrange=4k-256k --rw=randwrite --numjobs=2 \
        --randseed=7 --fallocate=none --end_fsync=1 --verify=crc32c --output="$work/fio.out" "$@" > "$work/fio.err" 2>&1 ||
        { tail -n 20 "$work/fio.out" "$work/fio.err"; return 1; }
}
# writes NAME OPTION...: fio reads back what it wrote; equal trees, nothing repaired, nothing at the guard
writes() {
    local before counts
    before="$(guarded captured fio) $(guarded refused fio)"
    run_fio "$@" && settled || return 1
    counts="$(guarded captured fio) $(guarded refused fio)"
    [ "$counts" = "$before" ] || { echo "at the guard: $counts calls captured, refused, before $before"; return 1; }
    [ "$repaired" = 0 ] || { echo "$repaired repairs: something was missed"; return 1; }
}

sandbox up "$pair" > /dev/null || exit 1
check "libaio, buffered" writes buffered --ioengine=libaio --iodepth=16
check "libaio, direct" writes direct --ioengine=libaio --iodepth=32 --direct=1
check "libaio, direct, batches, events looked for in user space" writes batches --ioengine=libaio --iodepth=64 --direct=1 \
    --iodepth_batch=16 --iodepth_batch_complete_min=4 --userspace_reap
check "libaio, direct, sync=dsync" writes dsync --ioengine=libaio --iodepth=16 --direct=1 --sync=dsync --size=4m
check "libaio, buffered, fdatasync" writes fdatasync --ioengine=libaio --iodepth=16 --fdatasync=8 --size=4m
check "libaio, 1 MiB and 2 MiB at once" writes large --ioengine=libaio --iodepth=8 --direct=1 --bsrange=1m-2m
check "posixaio" writes posix --ioengine=posixaio --iodepth=8
check "posixaio, fsync" writes posixsync --ioengine=posixaio --iodepth=8 --fsync=16 --size=4m
check "sync" writes plain --ioengine=sync
check "psync, direct" writes positioned --ioengine=psync --direct=1
check "pvsync2" writes vector --ioengine=pvsync2
# The same places again and again, by two processes at once: overlaps are repaired by fills, and nothing is verified.
overlaps() { run_fio overlaps --filename=overlapping --ioengine=libaio --iodepth=32 --direct=1 --rw=randrw --verify=0 --norandommap \
    --size=1m --io_size=32m && at_rest; }
at_rest() { until_true 60 settled > "$work/at-rest" 2>&1 || { cat "$work/at-rest"; return 1; }; }
check "libaio, direct, overlapping writes" overlaps
# What was in flight when its process was killed is looked at when the kernel has ended it.
killed() {
    local round victim
    for round in 1 2 3 4 5; do
        captured fio --name=killed --directory="$(tree)" --size=8m --bs=64k --rw=randwrite --ioengine=libaio --iodepth=48 --direct=1 --fallocate=none \
            --norandommap --time_based --runtime=60 --thread --output=/dev/null > "$work/killed" 2>&1 &
        until_true 30 writing || { cat "$work/killed"; return 1; }
        for victim in $(pgrep -f -- "--directory=$(tree) --size=8m --bs=64k"); do
            [ "$(cat "/proc/$victim/comm")" != fio ] || kill -KILL "$victim"
        done
        wait $! 2> "$work/killed"
        settled || return 1
        captured rm -f "$(tree)/killed.0.0" || return 1
    done
}
writing() { [ "$(du -k "$(tree)/killed.0.0" 2> /dev/null | cut -f 1)" -gt 1000 ] 2> /dev/null; }
check "killed with operations in flight" killed
finish_scenario
