# Sourced by run: with the swap of the payload left out, both sides get other bytes from a buffer that changes; with
# completions given before the answer, the rig sees barriers that did not wait.

aio_control() { # aio_control NAME PLANTED OPTIONS PROGRAM FIELD: FIELD of the report is not zero; without the fault it is
    local name=$1 planted=$2 options=$3 program=$4 counted=$5 details=$work/details saved=$library
    wanted "$name" || return 0
    : > "$details"
    library=$faults
    for plant in "$planted" ""; do
        prepare "$work/control" ""
        LOCKSTEP_FAULT=${plant:-nothing}:0:skip under_rig "$work/control" "$options" "$build/programs/$program" "$work/control/tree" "$work/control/outside"
        count=$(field "$counted" "$work/control/report")
        if [ -n "$plant" ]; then [ "${count:-0}" -gt 0 ]; else [ "${count:-1}" = 0 ]; fi || {
            echo "planted '$plant': $counted ${count:-none}"; cat "$work/control/report" "$work/control/err"; } >> "$details"
    done
    library=$saved
    if [ -s "$details" ]; then fail "$name" "$details"; else pass; fi
}
if [ -n "$faults" ]; then
    aio_control "control aio without the copy of the payload" aio-payload "" aio_many differences
    aio_control "control aio completions before the answer" aio-answer "--hold-answers 3" aio_durable violations
fi
