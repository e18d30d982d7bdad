#!/bin/bash
# A pair under what servers do to a library: 200,000 open-write-close cycles without growth of the library or of either
# daemon, forks among threads, cancellations, storms of signals; the trees are equal afterwards. ROUNDS_OF_CYCLES=N makes
# fewer cycles. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

data=$pair/a/data
build=${LOCKSTEP_TESTS_BUILD:-$top/.build-interposer-tests}
"$top/Tests/InterposerTests/build" "$build" || { echo "a program does not compile"; echo "0 passed, 1 failed"; exit 1; }
export ROUNDS_OF_CYCLES=${ROUNDS_OF_CYCLES:-200000}
sandbox up "$pair" > /dev/null || exit 1

run_program() { # run_program NAME: its own directory of the tree; the output is looked at
    mkdir -p "$work/outside-$1"
    captured bash -c "mkdir -p '$data/$1' && cd '$data/$1' && exec '$build/programs/$1' '$data/$1' '$work/outside-$1'" < /dev/null
}
good() { # good NAME PATTERN: the program says so, and the trees are equal
    run_program "$1" > "$work/program" 2>&1 || { cat "$work/program"; return 1; }
    grep -q -- "$2" "$work/program" || { echo "it said, without \"$2\":"; cat "$work/program"; return 1; }
    settled
}
resident() { # resident NODE: KiB that the daemon holds of its own
    local pid
    for pid in $(processes_of "$pair/$1"); do
        [ "$(cat "/proc/$pid/comm")" != lockstepd ] || awk '/^RssAnon:/ {print $2}' "/proc/$pid/status"
    done
}

cycles() {
    # The first run fills caches and pools.
    ROUNDS_OF_CYCLES=20000 good robust_cycles "wrong 0, grown: no" || return 1
    local a b a_after b_after
    a=$(resident a) b=$(resident b)
    good robust_cycles "wrong 0, grown: no" || return 1
    a_after=$(resident a) b_after=$(resident b)
    echo "RssAnon in KiB: a $a, then $a_after; b $b, then $b_after"
    [ "${a:-0}" -gt 0 ] && [ "${b:-0}" -gt 0 ] && [ "${b_after:-0}" -gt 0 ] && [ $((a_after - a)) -lt 16384 ] && [ $((b_after - b)) -lt 16384 ]
}

check "$ROUNDS_OF_CYCLES open-write-close cycles: neither the program nor a daemon grows" cycles
for program in robust_fork:"wrong 0 failed 0, lines whole: yes" robust_cancel:"canceled 160, wrong 0, lines whole: yes" robust_jumps:"canceled 80, wrong 0, lines whole: yes" \
    robust_interrupts:"wrong 0, signals: many" robust_stacks:"wrong: 0"; do
    check "${program%%:*}, then equal trees" good "${program%%:*}" "${program#*:}"
done
finish_scenario
