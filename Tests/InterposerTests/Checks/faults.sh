# Sourced by run: one writer among four is killed, or stopped, at each labelled instruction of the library; the others'
# flushes return, the mirror is equal, nothing is stuck.

labels="reserve reserved published called done locked barrier-published barrier-waiting"
if [ -n "$faults" ]; then
    for how in kill stop; do
        for label in $labels; do
            for passage in 1 2 7 16; do
                name="faults $how at $label, passage $passage"
                wanted "$name" || continue
                prepare "$work/faults" ""
                [ $how = kill ] && options=--kills || options=
                # Held for 3 ms, or an answer is there before anybody has to wait.
                [ $label = barrier-waiting ] && options="$options --hold-answers 3"
                saved=$library library=$faults
                under_rig "$work/faults" "$options --timeout 20" "$build/programs/writers" "$work/faults/tree" "$work/faults/outside" $how $label:$passage
                code=$?
                library=$saved
                { [ $code = 0 ] || cat "$work/faults/report" "$work/faults/err"
                  grep -E 'never came|after it|signal|exit [^0]' "$work/faults/out"
                  [ "$(grep -c 'another writer: exit 0' "$work/faults/out")" = 3 ] || echo "a writer that was let alone did not end"
                } > "$work/details"
                if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
            done
        done
    done
fi
