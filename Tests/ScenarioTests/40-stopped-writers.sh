#!/bin/bash
# One of four writers on the same files is killed, or stopped, at each labelled instruction of the preload library: the
# others' durability points return within a bound, nothing is stuck afterwards, and the trees are equal. While it is
# stopped the primary dies: what the others were told is durable is there. A daemon that lets durability points pass the
# intent of a dead process (planted fault) is caught. ROUNDS=n shortens 30 kills and 30 stops. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

[ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; echo "0 passed, 1 failed"; exit 1; }
product=$faults # its library has the labels
rounds=${ROUNDS:-30}
bound_us=${BOUND_US:-2000000}
labels=(reserve reserved published called done locked barrier-published barrier-waiting)
contenders=$(program contenders)
longest=0 longest_where=none
primary=a

tree() { echo "$pair/$primary/data"; }
longest_of() { sed -n 's/^longest flush of the others: \([0-9]*\) us$/\1/p' "$1"; }
judge_flush() { # judge_flush FILE WHERE
    local us
    us=$(longest_of "$1")
    [ -n "$us" ] || { echo "no durability point was timed"; return 1; }
    [ "$us" -le "$longest" ] || { longest=$us longest_where=$2; }
    [ "$us" -le "$bound_us" ] || { echo "a durability point of the others took $us us"; return 1; }
}
nothing_stuck() { # all that was captured was taken, answered and given back
    local drained released
    drained=$(field $primary drained) && released=$(field $primary released) || return 1
    [ "$drained" = "$released" ] || { echo "drained $drained, released $released"; return 1; }
    until_true 10 field_is $primary application.processes 0 || { echo "processes that are no more: $(field $primary application.processes)"; return 1; }
}

beside() { # beside kill|stop LABEL:PASSAGE NUMBER
    local name=$1-$3 code=0
    captured mkdir "$(tree)/$name" || return 1
    captured timeout 150 "$contenders" run "$(tree)/$name" "$work/notes.$name" "$1" "$2" < /dev/null > "$work/run" 2> "$work/run.err" || { code=1; echo "exit code: failed"; }
    grep -v ': us$' "$work/run"
    [ $code = 0 ] || { grep -v '^lockstep: node' "$work/run.err" | head; return 1; }
    judge_flush "$work/run" "$1 $2" || return 1
    echo "$(longest_of "$work/run") $1 $2" >> "$work/flushes"
    sandbox settle --timeout 30 "$pair" > "$work/settle" 2>&1 || { cat "$work/settle"; return 1; }
    sandbox compare "$pair" > "$work/compare" 2>&1 || { head -n 20 "$work/compare"; return 1; }
    [ $(($3 % 8)) != 0 ] || equal_trees || return 1
    "$contenders" verify "$pair/a/data/$name" "$work/notes.$name" && nothing_stuck && captured rm -r "$(tree)/$name"
}

# Labels in turn; passages spread over the operations of a round, and some rounds later.
passages=(1 2 3 4 5 6 7 8 9 11 13 16 19 23 29 37 41 53 61 79)
sandbox up "$pair" > /dev/null || exit 1
for how in kill stop; do
    for number in $(seq "$rounds"); do
        label=${labels[$(((number - 1) % ${#labels[@]}))]}
        passage=${passages[$(((number * 7 + number / 3) % ${#passages[@]}))]}
        check "$how $number: at $label, passage $passage" beside $how $label:$passage $number
    done
done
echo "longest durability point beside a killed or stopped writer: $longest us ($longest_where), median $(sort -n "$work/flushes" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}') us"

# ---------------------------------------------------------------- the primary dies while one is stopped

taken_over() { # taken_over LABEL:PASSAGE NUMBER
    local name=over-$2 other run
    captured mkdir "$(tree)/$name" || return 1
    # What is waited for in it must not be the one before's.
    rm -f "$work/run" "$work/hold" && mkfifo "$work/hold"
    captured "$contenders" run "$(tree)/$name" "$work/notes.$name" stop "$1" hold < "$work/hold" > "$work/run" 2> "$work/run.err" &
    run=$!
    exec 7> "$work/hold"
    until_true 100 grep -qs 'longest flush' "$work/run" || { cat "$work/run" "$work/run.err"; exec 7>&-; return 1; }
    cp "$work/notes.$name" "$work/notes.now"
    sandbox kill "$pair" $primary > "$work/command" 2>&1 || { cat "$work/command"; exec 7>&-; return 1; }
    exec 7>&-
    wait $run 2> /dev/null
    judge_flush "$work/run" "take-over, $1" || return 1
    sandbox takeover "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    [ $primary = a ] && primary=b || primary=a
    "$contenders" verify "$(tree)/$name" "$work/notes.now" || return 1
    sandbox rejoin "$pair" > "$work/command" 2>&1 && captured rm -r "$(tree)/$name" && settled || { cat "$work/command"; return 1; }
}
number=0
mend() { :; }
for label in "${labels[@]}"; do
    for passage in 3 8; do
        [ "$rounds" -ge 16 ] || [ $passage = 3 ] || continue
        number=$((number + 1))
        check "the primary dies while a writer is stopped at $label, passage $passage" taken_over $label:$passage $number
    done
done
end_pair "$pair"

# ---------------------------------------------------------------- the planted fault

# A dead writer's intent that nobody settles: the secondary has what the primary has not, and no settle ends.
all_applied() { [ "$(field a positions.applied)" = "$(field a positions.appended)" ]; }
caught() {
    local passage code=1
    for passage in 3 4 5 6 7 8 9; do
        captured mkdir "$(tree)/$passage" || return 1
        captured timeout 150 "$contenders" run "$(tree)/$passage" "$work/notes.$1.$passage" kill published:$passage < /dev/null > "$work/run" 2> "$work/run.err"
        until_true 20 all_applied
        # Times are carried by settle, and none ends.
        sandbox compare "$pair" 2>&1 | grep ': ' | grep -v ': modified at ' > "$work/compare"
        if [ -s "$work/compare" ]; then
            code=0
            echo "caught by the comparison, killed at published, passage $passage: $(head -n 1 "$work/compare")"
        fi
    done
    if sandbox settle --timeout 10 "$pair" > "$work/settle" 2>&1; then echo "it settled"; else code=0; echo "caught by settle: $(tail -n 1 "$work/settle")"; fi
    return $code
}
pair=$work/dead-intents primary=a
pairs+=("$pair")
LOCKSTEP_DAEMON_FAULT=pass-dead-intents sandbox up "$pair" > /dev/null || exit 1
check "planted fault pass-dead-intents is caught" caught fault
grep '^caught' "$work/output"
pair=$work/sound
pairs+=("$pair")
sandbox up "$pair" > /dev/null || exit 1
not_caught() { ! caught sound; }
check "without the fault the same finds nothing" not_caught
finish_scenario
