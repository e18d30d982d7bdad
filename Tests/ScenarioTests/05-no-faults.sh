#!/bin/bash
# Planted faults exist only in builds with LOCKSTEP_FAULTS: the release knows none of their names, the fault build knows
# them all (so the search finds what it looks for). Last line: "N passed, N failed".
set -u
: "${LOCKSTEP_PRODUCT:?}" "${LOCKSTEP_PRODUCT_FAULTS:?}"
passed=0 failed=0
names='LOCKSTEP_DAEMON_FAULT|watch-deaf|watch-overflow|fill-without-floor|pass-dead-intents|ack-before-journal|journal-without-flush|links-unmapped|LOCKSTEP_FAULT|barrier-waiting|border-kept|mappings-unasked|leave-untold'

# count PROGRAM: how many different names of faults it holds
count() { strings -a "$1" | grep -oE "$names" | sort -u | wc -l; }

for program in lockstep lockstepd lockstep-keeper lockstep-guard lockstep-observer liblockstep.so; do
    found=$(count "$LOCKSTEP_PRODUCT/$program")
    if [ "$found" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $program of the release holds $found names of planted faults"
    fi
done
for program in lockstepd liblockstep.so; do
    found=$(count "$LOCKSTEP_PRODUCT_FAULTS/$program")
    if [ "$found" -ge 2 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: the search finds only $found names of planted faults in the fault build's $program"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
