#!/bin/bash
# The first copy of a tree that is being written all the time, again and again: the secondary dies, comes back, and is
# copied to while four writers go on; then they pause, and both trees must be equal. With the read floor switched off
# (planted fault) the same must find differences. ROUNDS=n shortens, SEED=n repeats. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

rounds=${ROUNDS:-100}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
files=18 # in each of 8 directories
restless=$(program restless)
echo "rounds: $rounds, seed: $seed"

make_tree() { # from outside the capture, before there is a pair
    local tree=$1 d f size
    mkdir -p "$tree/tree" "$tree/still/deep/er/and/deeper"
    for d in 0 1 2 3 4 5 6 7; do
        mkdir "$tree/tree/d$d"
        for f in $(seq 0 $((files - 1))); do
            case $((f % 6)) in 0) size=0 ;; 1) size=$((f * 37)) ;; 2) size=4096 ;; 3) size=65537 ;; 4) size=300000 ;; 5) size=600001 ;; esac
            head -c $size /dev/urandom > "$tree/tree/d$d/f$f"
        done
    done
    mkdir "$tree/tree/hot"
    for f in 0 1 2 3; do head -c 900001 /dev/urandom > "$tree/tree/hot/f$f"; done
    cd "$tree/still"
    head -c 3000000 /dev/urandom > large
    truncate -s 30000000 sparse; printf middle | dd of=sparse bs=1 seek=15000000 conv=notrunc 2> /dev/null; printf x | dd of=sparse bs=1 seek=20000003 conv=notrunc 2> /dev/null
    truncate -s 5000 hole
    echo newline > "new
line"; echo bytes > "$(printf '\377\376\200')"; echo long > "$(head -c 255 /dev/zero | tr '\0' n)"; echo blank > ' '; echo dash > -rf
    mkdir "$(printf 'd\201')" && echo x > "$(printf 'd\201/y')"
    ln -s large link; ln -s ../still/nothing dangling; ln -s "$(printf 'to\377')" "$(printf 'link\201')"; ln -s . self
    echo private > private; chmod 600 private; chmod 4711 hole; chmod 1777 deep; echo old > deep/er/old; touch -d 1999-12-31 deep/er/old; : > deep/er/and/deeper/empty
    [ "$(id -u)" != 0 ] || chown 12:34 private deep/er/old
    cd "$OLDPWD"
}

# ---------------------------------------------------------------- the writers

start_writers() {
    rm -f "$work/commands" "$work/answers" && mkfifo "$work/commands" "$work/answers"
    captured "$restless" "$pair/a/data" 4 $files "$1" < "$work/commands" > "$work/answers" 2> "$work/writers" &
    writers=$!
    exec 7<> "$work/commands" 8<> "$work/answers"
    answered going
}
answered() { # within a minute
    local answer
    read -r -t 60 answer <&8 || { echo "the writers did not answer with '$1'"; cat "$work/writers"; return 1; }
    [[ $answer == $1* ]] || { echo "the writers said '$answer', not '$1'"; return 1; }
    operations=${answer//[!0-9]/}
}
tell() { echo "$1" >&7; answered "$2"; }
end_writers() { # their exit code says whether a call failed
    echo end >&7
    local code=0
    wait "$writers" || code=$?
    exec 7>&- 8>&-
    [ $code = 0 ] || { echo "the writers ended with $code"; head -n 20 "$work/writers"; }
    return $code
}

# The writers start while the very first copy runs, as early as the daemon takes them.
first_copy_of_all() {
    make_tree "$pair/a/data"
    sandbox up "$pair" > "$work/up" 2>&1 &
    local up=$!
    until_true 60 test -S "$pair/a/node/control.sock" || return 1
    start_writers "$seed" || return 1
    wait $up || { cat "$work/up"; return 1; }
    tell pause paused && settled
}

# The secondary dies, and is copied to. The writers start again when the copy does, each fifth time before the kill: b's
# journal is then longer, and its replay too. Compared by the product, each tenth time by the listing too. The files are
# not in memory when the copy reads them: the longer a read takes, the more writes it meets.
connections() { grep -c 'link: primary a connected' "$pair/b/node/lockstepd.log"; }
copy_began() { [ "$(connections)" -gt "$1" ]; }
round() {
    local before rejoin
    [ $(($1 % 5)) != 0 ] || tell go going || return 1
    sandbox kill "$pair" b > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    "$restless" evict "$pair/a/data"
    before=$(connections)
    sandbox rejoin "$pair" > "$work/command" 2>&1 & rejoin=$!
    until_true 60 copy_began "$before" || return 1
    [ $(($1 % 5)) = 0 ] || tell go going || return 1
    wait $rejoin || { cat "$work/command"; return 1; }
    tell pause paused || return 1
    sandbox settle "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    if [ $(($1 % 10)) = 0 ]; then equal_trees; else sandbox compare "$pair" > "$work/compare" 2>&1; fi
}

all_rounds() {
    local n before
    for n in $(seq "$rounds"); do
        before=$operations
        if ! round "$n"; then
            echo "round $n of $rounds, seed $seed:"
            head -n 30 "$work/compare"
            return 1
        fi
        [ "$operations" -gt "$before" ] || { echo "round $n: the writers wrote nothing"; return 1; }
        least=$((operations - before < least ? operations - before : least))
    done
}

mkdir -p "$pair/a/data"
operations=0 least=999999999
check "first copy while four writers write: equal trees" first_copy_of_all
check "$rounds copies onto a returning node while four writers write: equal trees" all_rounds
echo "operations: $operations, at least $least in a round"
check "the writers saw nothing but what they expected" end_writers
check "equal trees after their end" settled
end_pair "$pair"

# ---------------------------------------------------------------- the planted fault

caught() {
    local n
    for n in $(seq "$rounds"); do
        : > "$work/compare"
        round "$n" || { grep -q 'ranges of 4096' "$work/compare" && { echo "caught in round $n: $(grep -c 'ranges of 4096' "$work/compare") files differ"; return 0; }; return 1; }
    done
    echo "not caught in $rounds rounds, seed $seed"
    return 1
}
if [ -x "$faults/lockstepd" ]; then
    product=$faults pair=$work/without-floor
    pairs+=("$pair")
    mkdir -p "$pair/a/data"
    export LOCKSTEP_DAEMON_FAULT=fill-without-floor
    mend() { :; }
    start_faulty() { make_tree "$pair/a/data"; sandbox up "$pair" && start_writers "$seed" && tell pause paused; }
    check "a pair with the fault fill-without-floor" start_faulty
    check "planted fault fill-without-floor is caught by the comparison" caught
    head -n 3 "$work/output"
    end_writers > /dev/null
    unset LOCKSTEP_DAEMON_FAULT
else
    echo "FAILED: no build with planted faults in $faults"
    failed=$((failed + 1))
fi
finish_scenario
