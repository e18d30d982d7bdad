# Sourced by run: io_uring with the copy of the payload left out, completions given before the answer, and one operation that is
# not captured: each is seen. Lines say what is refused.
if [ -n "$faults" ]; then
    aio_control "control uring without the copy of the payload" uring-payload "--io-uring" uring_many differences
    aio_control "control uring completions before the answer" aio-answer "--io-uring --hold-answers 3" uring_durable violations
    aio_control "control uring with one operation not captured" uring-writev "--io-uring" uring_entries differences
fi
uring_lines() {
    local text details=$work/details
    wanted "uring refusals are said" || return 0
    prepare "$work/control" ""
    under_rig "$work/control" "--io-uring" "$build/programs/uring_refused" "$work/control/tree" "$work/control/outside"
    : > "$details"
    for text in "SQPOLL submits past every call" "these flags are not captured" "an operation that is not captured"; do
        grep -q "^lockstep: .*$text" "$work/control/err" || echo "no line \"$text\"" >> "$details"
    done
    if [ -s "$details" ]; then cat "$work/control/err" >> "$details"; fail "uring refusals are said" "$details"; else pass; fi
}
uring_inert() { # without a keeper the functions are liburing's
    local way details=$work/details
    wanted "uring inert" || return 0
    for way in plain inert; do
        prepare "$work/$way" ""
        (cd "$work/$way/tree" && [ $way = plain ] || export LD_PRELOAD="$library"
         exec "$build/programs/uring_calls" "$work/$way/tree" "$work/$way/outside" > "$work/$way/out" 2>&1)
    done
    diff "$work/plain/out" "$work/inert/out" > "$details"
    [ -s "$work/plain/out" ] || echo "no output" >> "$details"
    if [ -s "$details" ]; then fail "uring inert" "$details"; else pass; fi
}
if [ -n "$library" ]; then uring_lines; uring_inert; fi
