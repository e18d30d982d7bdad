#!/bin/bash
# Files of more than 4 GiB, sparse: each call as the kernel alone gives it, equal on both sides, also after a first copy, and
# sparse on both sides. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

beyond=$(program beyond)
data=$pair/a/data
mkdir -p "$data/calls" "$data/before" "$work/plain"

digests() { "$beyond" digest "$1/calls/sparse" "$1/calls/other" "$1/before/sparse" "$1/before/other"; }
equal() {
    digests "$data" > "$work/a" && digests "$pair/b/data" > "$work/b" && [ "$(wc -l < "$work/a")" = 4 ] || return 1
    cmp "$work/a" "$work/b" || { diff "$work/a" "$work/b"; return 1; }
    # 36 GiB of size, a few MiB of space.
    [ "$(du -sk "$pair/b/data" | cut -f 1)" -lt 100000 ] || { du -sk "$pair/b/data"; return 1; }
}
calls() {
    (cd "$work/plain" && "$beyond" .) > "$work/plain.out" && captured "$beyond" "$data/calls" > "$work/captured.out" || return 1
    diff "$work/plain.out" "$work/captured.out" && [ "$("$beyond" digest "$work/plain/sparse")" = "$("$beyond" digest "$data/calls/sparse")" ] &&
        sandbox settle "$pair" > /dev/null && equal
}
again() { sandbox kill "$pair" b > /dev/null && sandbox rejoin "$pair" > /dev/null && sandbox settle "$pair" > /dev/null && equal; }

"$beyond" "$data/before" > /dev/null
sandbox up "$pair" > /dev/null || exit 1
check "each call beyond 4 GiB, and files that were there before" calls
check "the same after a first copy" again
finish_scenario
