# Sourced by run: what the built library is, without running it.

check() { # check NAME: judges the details that were written
    if [ -s "$work/details" ]; then fail "$1" "$work/details"; else pass; fi
}

if [ -n "$library" ] && wanted "static needs libc only"; then
    readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vx 'libc\.so\.6' > "$work/details"
    readelf -d "$library" | grep -E 'RPATH|RUNPATH|TEXTREL' >> "$work/details"
    check "static needs libc only"
fi

if [ -n "$library" ] && wanted "static stack is not executable, relocations read-only"; then
    { readelf -lW "$library" | grep 'GNU_STACK.*RWE'; readelf -lW "$library" | grep -q GNU_RELRO || echo "no RELRO"; } > "$work/details"
    check "static stack is not executable, relocations read-only"
fi

if [ -n "$library" ] && wanted "static exports are the calls of calls.h"; then
    nm -D --defined-only "$library" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort -u > "$work/exported"
    # The list: CALL(name) lines, one or several on a line.
    grep -oE '^ *CALL\(.*' "$top/Sources/CInterposer/calls.h" | grep -oE 'CALL\([A-Za-z0-9_]+' | sed 's/CALL(//' | sort -u > "$work/listed"
    [ -s "$work/listed" ] && diff "$work/listed" "$work/exported" > "$work/details" || [ -s "$work/listed" ] || echo "calls.h lists nothing" > "$work/details"
    check "static exports are the calls of calls.h"
fi

if [ -n "$library" ] && [ -n "$faults" ] && wanted "static no planted faults in a release"; then
    strings -a "$library" | grep -E 'LOCKSTEP_FAULT|LOCKSTEP_NO_VTABLE_PATCH|barrier-waiting' > "$work/details"
    # The same search finds them in the other build, or it could never fail.
    strings -a "$faults" | grep -q LOCKSTEP_FAULT || echo "the search does not find them in the fault build either" >> "$work/details"
    check "static no planted faults in a release"
fi

if [ -n "$library" ] && wanted "static thread-local storage is small"; then
    : > "$work/details"
    bytes=$(readelf -lW "$library" | awk '$1 == "TLS" {print $6}')
    [ $((${bytes:-0})) -le 128 ] || echo "thread-local storage of $((bytes)) bytes" > "$work/details"
    check "static thread-local storage is small"
fi
