# Sourced by run: what the library does before main when it can't do its work: one line and an exit code of the ABI.

refusal() { # refusal NAME CODE PATTERN COMMAND...: run plainly, the library in LD_PRELOAD
    local name="refusal $1" expected=$2 pattern=$3
    shift 3
    [ -n "$library" ] && wanted "$name" || return 0
    prepare "$work/refusal" ""
    (cd "$work/refusal/tree" && "$@" > "$work/refusal/out" 2> "$work/refusal/err" < /dev/null)
    local code=$?
    { [ $code = $expected ] || echo "exit code $code, not $expected"
      [ -z "$pattern" ] || [ "$(grep -c "^lockstep: .*$pattern" "$work/refusal/err")" = 1 ] || { echo "not exactly one line \"lockstep: ...$pattern...\":"; cat "$work/refusal/err"; }
      [ ! -e "$work/refusal/tree/made" ] || echo "the program ran all the same"
    } > "$work/details"
    if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
}

refusal "inert without LOCKSTEP_SOCKET" 0 "" env LD_PRELOAD="$library" sh -c 'echo x > plain && rm plain'
refusal "no keeper" 69 . env LD_PRELOAD="$library" LOCKSTEP_SOCKET=lockstep-nobody-listens touch made
refusal "keeper of another ABI version" 0 "ABI" "$rig" --library "$library" --root "$work/refusal/tree" --mirror "$work/refusal/mirror" \
    --abi-version 99 --expect-exit 76 --report "$work/refusal/report" -- touch made
