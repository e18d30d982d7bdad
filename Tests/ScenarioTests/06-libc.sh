#!/bin/bash
# What changes files inside this machine's C library is what the preload library relies on (tools/audit-libc), and the
# audit names what is not: with a line of the list, or a wrapped call, taken out. Last line: "N passed, N failed".
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $1"; head -n 20 "$work/out"; }

if "$top/tools/audit-libc" > "$work/out" 2>&1 && ! grep -q '^note' "$work/out"; then pass; else fail "this machine's libc is as listed"; fi

# control LINE PATTERN: without LINE the audit fails, and names what is missing
control() {
    grep -vxF "$1" "$top/tools/libc-callers.txt" > "$work/list"
    cmp -s "$work/list" "$top/tools/libc-callers.txt" && { echo "no such line: $1" > "$work/out"; fail "control $1"; return; }
    if "$top/tools/audit-libc" --list "$work/list" > "$work/out" 2>&1; then fail "not noticed: $1 is not listed"; return; fi
    if grep -qxF "$2" "$work/out"; then pass; else fail "not named: $1"; fi
}
control "pointer _IO_file_write 7" "pointers in data to _IO_file_write: 7, in the list 0"
control "pointer try_file 1 __gen_tempname" "pointers in data to try_file: 1, in the list 0"
# A line in the middle of each kind.
for kind in wrapped patched follow reads elsewhere harmless guard; do
    mapfile -t lines < <(grep " $kind\$" "$top/tools/libc-callers.txt")
    line=${lines[$((${#lines[@]} / 2))]}
    set -- $line
    control "$line" "not in the list: $2 calls $1"
done

# A copy of the tool, beside a library that does not wrap one name of fopen.
mkdir -p "$work/top/tools" "$work/top/Sources/CInterposer"
cp "$top"/tools/audit-libc* "$top/tools/libc-callers.txt" "$top/tools/need" "$work/top/tools/"
grep -v '^CALL(fopen64)' "$top/Sources/CInterposer/calls.h" > "$work/top/Sources/CInterposer/calls.h"
if "$work/top/tools/audit-libc" > "$work/out" 2>&1 || ! grep -qx 'not wrapped: fopen64 (fopen)' "$work/out"; then fail "a name that is not wrapped is noticed"; else pass; fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
