# Sourced by run: writable shared mappings where the kernel can't track them; what a process that is killed leaves is owed; a
# mapping that goes untold is found.

mapping_check() { # mapping_check NAME FAULT EXPECT-EXIT OPTIONS PROGRAM: under the build with faults; $work/mapping/report, out, err
    prepare "$work/mapping" ""
    local saved=$library code
    library=$faults
    LOCKSTEP_FAULT=$2 under_rig "$work/mapping" "$4 --expect-exit $3" "$build/programs/$5" "$work/mapping/tree" "$work/mapping/outside"
    code=$?
    library=$saved
    return $code
}

if [ -n "$faults" ]; then
    name="mappings refused with the reason where they can't be tracked"
    if wanted "$name"; then
        { mapping_check "$name" tracking:0:skip 0 "" mappings_refused || cat "$work/mapping/report" "$work/mapping/err"
          [ "$(grep -c 'EACCES' "$work/mapping/out")" = 3 ] || { echo "not three refusals:"; cat "$work/mapping/out"; }
          [ "$(grep -c '^lockstep: mmap on .*/a: a writable shared mapping of a replicated file is refused: switched off$' "$work/mapping/err")" = 2 ] ||
            { echo "not two lines with the reason:"; cat "$work/mapping/err"; }
        } > "$work/details"
        if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
    fi
    name="mappings, control: one that goes untold is found"
    if wanted "$name"; then
        { mapping_check "$name" leave-untold:0:skip 0 "" mappings && echo "equal, although nothing was told"
          grep -q 'cut: content differs' "$work/mapping/err" || cat "$work/mapping/err"
        } > "$work/details"
        if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
    fi
    name="mappings of a killed process are owed, of others not"
    if wanted "$name"; then
        { mapping_check "$name" nothing:0:skip 0 --kills mappings_processes || cat "$work/mapping/report" "$work/mapping/err"
          [ "$(field mappings_owed "$work/mapping/report")" = 1 ] || cat "$work/mapping/report"
        } > "$work/details"
        if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
    fi
fi
