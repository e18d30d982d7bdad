# Sourced after pair.sh: running `lockstep demo`, as it is and with something spoiled in the middle.
# Everything that a demo keeps lies in here, and goes with it.
export TMPDIR=$work

passes() { # passes ARGUMENT...
    lockstep demo --json "$@" > "$work/demo" 2> "$work/demo.err" || { cat "$work/demo" "$work/demo.err"; return 1; }
    grep -E '"lost":0,.*"tailUnexplained":0,.*"treesEqual":true' "$work/demo" || { cat "$work/demo"; return 1; }
    [ "$(wc -l < "$work/demo")" = 1 ] || { echo "not one line"; cat "$work/demo"; return 1; }
    ! ls -d "$work"/lockstep-demo-* 2> /dev/null
}

# Starts a demo, calls `spoil B-TREE` once the trees have been compared and the load goes on, and waits for the end.
spoiled() { # spoiled ARGUMENT...
    local line directory= code=0 ended=0 errors demo
    : > "$work/demo.err"
    rm -f "$work/errors"
    mkfifo "$work/errors"
    # With a deaf watch (planted fault): else what is spoiled would be repaired before the demo looks.
    LOCKSTEP_DAEMON_FAULT=watch-deaf "$faults/lockstep" demo "$@" > "$work/demo" 2> "$work/errors" < /dev/null &
    demo=$!
    exec {errors}< "$work/errors"
    while read -r -t 120 line <&"$errors" || ended=$? && [ "$ended" = 0 ]; do
        echo "$line" >> "$work/demo.err"
        case $line in
        "1/7 "*) directory=${line##* } ;;
        "4/7 "*) spoil "$directory/pair/b/data" "$directory" ;;
        esac
    done
    exec {errors}<&-
    [ "$ended" -le 128 ] || { echo "the demo says nothing for 120 s"; kill "$demo"; }
    wait "$demo" || code=$?
    cat "$work/demo" "$work/demo.err"
    rm -rf "$directory"
    [ "$code" = 1 ] || { echo "exit code $code, expected 1"; return 1; }
}
