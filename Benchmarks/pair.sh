# Sourced by the benchmarks: a pair of nodes in a directory of its own, which is ended and removed at the end.
set -u -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/.." && pwd)
product=${LOCKSTEP_PRODUCT:-$top/.build/product}
export LC_ALL=C
unset LD_PRELOAD LOCKSTEP_SOCKET LOCKSTEP_NODE_DIRECTORY
[ -x "$product/lockstep" ] || { echo "$product/lockstep: no such program; tools/build makes it" >&2; exit 66; }
json=0
[ "${1:-}" != --json ] || { json=1; shift; }

work=$(mktemp -d "${DIRECTORY:-/var/tmp}/lockstep-benchmark.XXXXXX") || exit 73
chmod 755 "$work"
pair=$work/pair
clean_up() {
    trap - EXIT INT TERM
    [ ! -e "$pair/sandbox.json" ] || "$product/lockstep" sandbox down "$pair" > /dev/null 2>&1
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

captured() { "$product/lockstep" sandbox run -q "$pair" -- "$@"; }
# figures_median KIND NAME: of the lines "KIND NAME FIGURE" in $work/figures
figures_median() {
    awk -v kind="$1" -v name="$2" '$1 == kind && $2 == name { print $3 }' "$work/figures" | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}
