# Sourced by the scenarios: a pair of nodes in a directory of its own, checks that are counted, and an end that leaves
# no process and no file behind.
#
#   LOCKSTEP_PRODUCT          the release          LOCKSTEP_PRODUCT_FAULTS   the build with planted faults
#
#   check NAME COMMAND...     one test: passed when COMMAND succeeds; its output is shown when it doesn't
#   expect CODE LINE COMMAND  exit code CODE, and one line that matches LINE on standard error
#   finish_scenario           prints the last line; the scenario's exit code
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
product=${LOCKSTEP_PRODUCT:-$top/.build/product}
faults=${LOCKSTEP_PRODUCT_FAULTS:-$top/.build/product-faults}
export LC_ALL=C TZ=UTC
unset LD_PRELOAD LOCKSTEP_SOCKET LOCKSTEP_FAULT LOCKSTEP_DAEMON_FAULT LOCKSTEP_NODE_DIRECTORY
umask 022

[ -x "$product/lockstep" ] || { echo "$product/lockstep: no such program; tools/build makes it" >&2; exit 66; }

# Trees can't lie on overlayfs, which has no file identity.
choose_directory() {
    local place
    for place in "${TMPDIR:-/var/tmp}" /var/tmp /tmp /dev/shm; do
        [ "$(stat -f -c %T "$place" 2>/dev/null)" = overlayfs ] || { echo "$place"; return; }
    done
}
work=$(mktemp -d "$(choose_directory)/lockstep-scenario.XXXXXX")
chmod 755 "$work"
pair=$work/pair

passed=0 failed=0
started=$SECONDS

lockstep() { "$product/lockstep" "$@"; }
sandbox() { lockstep sandbox "$@"; }
captured() { lockstep sandbox run -q "$pair" -- "$@"; } # a program on the primary
# The same where no seccomp listener is to be had: the guard is off.
unguarded() { "$(program no_listener)" "${no_listener_errno:-16}" "$product/lockstep" sandbox run -q "$pair" -- "$@"; }

# Whatever happened: nothing of ours runs on. Processes are known by their directory, never by their names.
end_pair() {
    local directory=$1 pid
    [ -e "$directory/sandbox.json" ] || return 0
    timeout 60 "$product/lockstep" sandbox down "$directory" > /dev/null 2>&1
    for pid in $(processes_of "$directory"); do kill -KILL "$pid" 2>/dev/null; done
    return 0
}
processes_of() { # processes with DIRECTORY in their arguments or environment
    local process
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" != $$ ] && [ "${process#/proc/}" != "$BASHPID" ] || continue
        cat "$process/cmdline" "$process/environ" 2>/dev/null | grep -qaF "$1/" && echo "${process#/proc/}"
    done
}
pairs=("$pair")
clean_up() {
    local directory
    trap - EXIT INT TERM
    for directory in "${pairs[@]}"; do end_pair "$directory"; done
    [ -n "${KEEP:-}" ] && echo "kept: $work" >&2 || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

check() { # check NAME COMMAND...
    local name=$1 begin=$SECONDS
    shift
    if "$@" > "$work/output" 2>&1; then
        passed=$((passed + 1))
        echo "passed: $name ($((SECONDS - begin)) s)"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        head -n 60 "$work/output" | sed 's/^/    /'
        evidence | sed 's/^/    | /'
        [ -z "${STOP:-}" ] || exit 1
        mend > /dev/null 2>&1
    fi
}

mend() { # a failure must not make all later tests fail: the secondary gets a new copy
    sandbox compare "$pair" && [ "$(field a state)" = primary ] && return
    sandbox kill "$pair" b
    sandbox rejoin "$pair"
}

evidence() { # what the daemons last said
    local node
    for node in a b; do
        [ -e "$pair/$node/node/lockstepd.log" ] && tail -n 12 "$pair/$node/node/lockstepd.log"
    done
    return 0
}

skip() { echo "skipped: $1: $2"; }

expect() { # expect CODE PATTERN COMMAND...
    local code=$1 pattern=$2 got=0
    shift 2
    "$@" > "$work/expect.out" 2> "$work/expect.err" < /dev/null || got=$?
    [ "$got" = "$code" ] || { echo "exit code $got, expected $code: $*"; cat "$work/expect.err" "$work/expect.out"; return 1; }
    [ -z "$pattern" ] || grep -Eq -- "$pattern" "$work/expect.err" || {
        echo "no line like '$pattern' from: $*"; cat "$work/expect.err"; return 1; }
    [ -z "$pattern" ] || [ "$(wc -l < "$work/expect.err")" = "${lines:-1}" ] || {
        echo "more than one line from: $*"; cat "$work/expect.err"; return 1; }
}

# until SECONDS COMMAND...: waits for COMMAND to succeed, bounded. What can be waited for by an event is.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "not within its bound: $*"; return 1; }
        read -r -t 0.02 _ <> <(:) || true
    done
}

# ---------------------------------------------------------------- comparing

# What a tree is, entry by entry, in text: independent of the product's own comparison. Modification times of files;
# those of directories, access times and change times are not promised. A link into a root is called by that root's number:
# its path is another one on the other node.
listing() { # listing TREE [ROOT ...]: the roots of the node, TREE if none are given
    local number=0 root mapping=()
    for root in "${@:2}" $([ $# -gt 1 ] || echo "$1"); do
        mapping+=(-e "s|^\\(.* l [0-9]*:[0-9]* \\)$root\\(/.*\\)\\{0,1\\}\$|\\1@$number\\2|")
        number=$((number + 1))
    done
    (cd "$1" && {
        find . ! -name '*-shm' ! -name lock.mdb \( -type d -printf '%P %y %m %U:%G\0' -o -type l -printf '%P %y %U:%G %l\0' \
            -o -printf '%P %y %m %U:%G %s %T@\0' \) | sort -z
        find . -type f ! -name '*-shm' ! -name lock.mdb -print0 | sort -z | xargs -0 -r sha1sum -z
    } | tr '\0' '\n') | sed "${mapping[@]}"
}

equal_trees() {
    local code=0
    sandbox compare "$pair" > "$work/compare" 2>&1 || { code=1; head -n 30 "$work/compare"; }
    listing "$pair/a/data" > "$work/listing.a"
    listing "$pair/b/data" > "$work/listing.b"
    cmp -s "$work/listing.a" "$work/listing.b" || { code=1; echo "listings differ (< a, > b):"; diff -a "$work/listing.a" "$work/listing.b" | head -n 30; }
    return $code
}

settled() { # settles, then compares
    sandbox settle "$pair" > "$work/settle" 2>&1 || { cat "$work/settle"; return 1; }
    repaired=$(sed -n 's/^repaired: //p' "$work/settle")
    equal_trees
}

# field NODE PATH: one value of the pair's status, `counters.barriers` say.
field() {
    local code=0
    sandbox status "$pair" --json > "$work/status.json" || code=$?
    case $code in 0 | 1 | 75) ;; *) return 1 ;; esac # 1 and 75 are answers
    sqlite3 :memory: "SELECT json_extract(value, '\$.$2') FROM json_each(CAST(readfile('$work/status.json') AS TEXT), '\$.nodes') WHERE json_extract(value, '\$.node') = '$1'"
}
# guarded COLUMN [PROGRAM]: calls that the guard captured or refused, of all programs or one
guarded() {
    sandbox status "$pair" --json > "$work/status.json" || [ $? != 69 ] || return 1
    sqlite3 :memory: "SELECT coalesce(sum(json_extract(call.value, '\$.$1')), 0) FROM json_each(CAST(readfile('$work/status.json') AS TEXT), '\$.nodes') AS node,
        json_each(node.value, '\$.guarded') AS call WHERE json_extract(node.value, '\$.node') = 'a' AND ('${2:-}' = '' OR json_extract(call.value, '\$.program') = '${2:-}')"
}
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
needs_no_guard() { # the trees are equal without its help
    sandbox status "$pair" | sed -n '/guard:/,/watch:/p'
    [ "$(guarded captured)" = 0 ] && [ "$(guarded refused)" = 0 ]
}
# unrepaired NODE COMMAND...: what COMMAND changes from outside the capture stays: the node's daemon stands still meanwhile.
unrepaired() {
    local daemon code=0
    daemon=$(sed -n "s/.*\"$1\":{\"daemon\":{[^}]*\"pid\":\([0-9]*\).*/\1/p" "$pair/sandbox.json")
    kill -STOP "$daemon" || return 1
    "${@:2}" || code=$?
    kill -CONT "$daemon"
    return $code
}

# ---------------------------------------------------------------- programs

# program NAME [OPTION...]: compiles Programs/NAME.c, prints where it is
program() {
    mkdir -p "$work/programs"
    cc -std=gnu11 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Werror -pthread -I "$top/Sources/CCaptureABI/include" \
        -o "$work/programs/$1" "$here/Programs/$1.c" "${@:2}" || exit 1
    echo "$work/programs/$1"
}

finish_scenario() {
    echo "took $((SECONDS - started)) s"
    echo "$passed passed, $failed failed"
    clean_up
    [ "$failed" = 0 ]
    exit
}
