#!/bin/bash
# Four programs churn few names while a part of the pair dies and comes back: nothing, the primary's daemon, or the
# secondary, in turn. Then settle, and equal trees. No program sees an error. ROUNDS=n shortens 30, SEED=n repeats.
# Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

rounds=${ROUNDS:-30}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
churn=$(program churn)
echo "rounds: $rounds, seed: $seed"

disturb() {
    case $1 in
    nothing) ;;
    daemon) sandbox kill "$pair" a --what daemon > "$work/command" 2>&1 || { cat "$work/command"; return 1; } ;;
    secondary)
        { sandbox kill "$pair" b && sandbox rejoin "$pair"; } > "$work/command" 2>&1 || { cat "$work/command"; return 1; } ;;
    esac
}
round() { # round NUMBER WHAT
    local programs=() number before code=0
    captured mkdir "$pair/a/data/churned" || return 1 # moved into each other for ever, directories would only grow
    before=$(field a counters.operations)
    for number in 1 2 3 4; do
        captured "$churn" "$pair/a/data/churned" $((seed + $1 * 4 + number)) 2500 > "$work/churn.$number" 2>&1 &
        programs+=($!)
    done
    until_true 30 operations_passed $((before + 500)) || { echo "the programs did nothing"; code=1; }
    disturb "$2" || code=1
    for number in "${programs[@]}"; do wait "$number" || { code=1; echo "a program saw an error:"; }; done
    [ $code = 0 ] || { head -n 5 "$work"/churn.*; return 1; }
    sandbox settle "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    sandbox compare "$pair" > "$work/compare" 2>&1 || { head -n 20 "$work/compare"; return 1; }
    captured rm -r "$pair/a/data/churned"
}
operations_passed() { # a daemon that was started again counts from 0
    local now
    now=$(field a counters.operations) && [ "$now" -ge "$1" ]
}

mkdir -p "$pair/a/data"
sandbox up "$pair" > /dev/null || exit 1
what=(nothing daemon secondary)
for number in $(seq "$rounds"); do
    check "round $number: ${what[$((number % 3))]} dies" round "$number" "${what[$((number % 3))]}"
done
check "equal trees after all of it" settled
finish_scenario
