# Sourced by run: with the patch of stdio's tables switched off, the rig must see that stdio was missed,
# by C and C++ programs alike.

if [ -n "$faults" ]; then
    for program in stdio stdio_modes stdio_processes stdio_reopen stdio_threads cxx_streams libc_routes; do
        name="control $program without the vtable patch"
        wanted "$name" || continue
        prepare "$work/control" ""
        saved=$library library=$faults
        LOCKSTEP_NO_VTABLE_PATCH=1 under_rig "$work/control" "" "$build/programs/$program" "$work/control/tree" "$work/control/outside"
        library=$saved
        differences=$(field differences "$work/control/report")
        if [ "${differences:-0}" -gt 0 ] && [ "$(field exit "$work/control/report")" = 0 ]; then pass
        else cat "$work/control/report" "$work/control/err" > "$work/details"; fail "$name" "$work/details"; fi
    done
fi

# With numbers trusted, whatever the generation, the rig must see what was missed; and what the library itself sees of a
# number's change is enough where it sees all of it.
if [ -n "$faults" ]; then
    for program in numbers_unseen numbers_seen; do
        name="control $program with numbers trusted"
        wanted "$name" || continue
        prepare "$work/control" ""
        saved=$library library=$faults
        LOCKSTEP_FAULT=generation:0:skip under_rig "$work/control" "" "$build/programs/$program" "$work/control/tree" "$work/control/outside"
        library=$saved
        differences=$(field differences "$work/control/report")
        case $program in
            numbers_unseen) [ "${differences:-0}" -gt 0 ] ;;
            numbers_seen) [ "$differences" = 0 ] ;;
        esac && [ "$(field exit "$work/control/report")" = 0 ]
        if [ $? = 0 ]; then pass; else cat "$work/control/report" "$work/control/err" > "$work/details"; fail "$name" "$work/details"; fi
    done
fi
