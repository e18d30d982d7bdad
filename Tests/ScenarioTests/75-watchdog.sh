#!/bin/bash
# Programs outside the capture write into both trees: they are named in log and status, and what they did is repaired without
# anybody asking for it; also what they did while no daemon ran. Openings for writing can be denied. With a deaf watch (planted
# fault) the difference stays. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

data=$pair/a/data replica=$pair/b/data
outsider=$(program outsider)
static=$work/programs/outsider-static
cc -std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -Werror -static -o "$static" "$here/Programs/outsider.c" || exit 1
root() { [ "$(id -u)" = 0 ]; }

log() { echo "$pair/$1/node/lockstepd.log"; }
# named NODE PATTERN: a line of the log since `mark`, and an entry of the status
mark() { marked_a=$(wc -l < "$(log a)") marked_b=$(wc -l < "$(log b)"); }
said() { local from=marked_$1; tail -n +$((${!from} + 1)) "$(log "$1")" | grep -aE "outside the capture: .*$2" > "$work/said"; }
in_status() {
    field "$1" outside > "$work/outside" && grep -aqE "$2" "$work/outside"
}
named() { # NODE PATTERN of the log, PATTERN of the status; within 2 s
    local begin=${EPOCHREALTIME/./}
    until_true 5 said "$1" "$2" || { tail -n 5 "$(log "$1")"; return 1; }
    local took=$((${EPOCHREALTIME/./} - begin))
    [ $took -lt 2000000 ] || { echo "named after $took us"; return 1; }
    until_true 5 in_status "$1" "$3" || { cat "$work/outside"; return 1; }
}
same() { cmp -s "$data/$1" "$replica/$1" && [ "$(stat -c '%a %u %s %Y' "$data/$1")" = "$(stat -c '%a %u %s %Y' "$replica/$1")" ]; }
content() { [ "$(cat "$1")" = "$2" ]; }
quiet() { # nothing of it is under way, and both nodes are as they should be
    local node
    sandbox status "$pair" --json > "$work/status.json" || return 1
    for node in a b; do [ "$(field $node outsideUnrepaired)" = 0 ] || return 1; done
}
# repaired NAME: both trees are equal, without a pass of names that `settle` would make
all_equal() { quiet && equal_trees > "$work/equal" 2>&1; }
mended() { until_true 15 all_equal || { cat "$work/equal"; sandbox status "$pair" | grep -A8 -E 'data:|outside'; return 1; }; }

if ! root; then
    skip "watchdog" "watching a file system needs root"
    finish_scenario
fi

mkdir -p "$data/kept"
for name in sed cp static map held heldmap plain gone.a gone.b; do echo "first words of $name" > "$data/$name"; done
sandbox up "$pair" --watch report > /dev/null || exit 1

# ---------------------------------------------------------------- a healthy load is nobody's

healthy() {
    captured bash -e -c 'cd "$1"; sqlite3 db "PRAGMA journal_mode=wal; CREATE TABLE t (x);" > /dev/null
        for n in $(seq 40); do sqlite3 db "INSERT INTO t VALUES ($n);"; echo $n >> log; (echo $n > part.$n); mv part.$n whole.$n; done
        mkdir -p deep/er; seq 5000 > deep/er/seq; sed -i s/7/seven/ deep/er/seq; cp deep/er/seq deep/copy; rm -r deep; rm whole.1*
        env -i /bin/sh -c "echo without > environment"' bash "$data" || return 1
    # A static program, whose calls the guard makes for it.
    captured "$static" write "$data/plain" "covered" || return 1
    sandbox settle "$pair" > /dev/null
    field a counters.outside && field b counters.outside
    [ "$(field a counters.outside)" = 0 ] && [ "$(field b counters.outside)" = 0 ] && [ "$(field a watch)" = watched ] && [ "$(field b watch)" = watched ] || { sandbox status "$pair"; return 1; }
    mended
}
check "covered programs, static ones too, are nobody's finding" healthy

# ---------------------------------------------------------------- each way, on either side

by_sed() { # TREE NODE
    mark
    sed -i 's/first/other/' "$1/sed" && named "$2" "renamed: $1/sed" "$1/sed" && mended
}
by_cp() {
    mark
    cp /etc/passwd "$1/cp" && named "$2" "written.*: $1/cp" "$1/cp" && mended
}
by_static() {
    mark
    "$static" write "$1/static" "by a static program" && named "$2" "written.*: $1/static" "$1/static" && mended
}
by_mapping() {
    mark
    "$outsider" map "$1/map" "stored into memory" && named "$2" "written.*: $1/map" "$1/map" && mended
}
by_names() {
    mark
    # In the replica they are undone while they go on: not each of them finds what the one before has made.
    { mkdir -p "$1/made/deep"; echo made > "$1/made/deep/file"; ln -s file "$1/made/link"; mv "$1/made" "$1/moved"; } 2> "$work/err"
    mkfifo "$1/fifo" && rm "$1/gone.$2" && chmod 600 "$1/static" && chmod "$([ "$2" = a ] && echo 711 || echo 700)" "$1/kept" && chown "0:$([ "$2" = a ] && echo 4242 || echo 4711)" "$1/kept" &&
        named "$2" "removed: $1/gone.$2" "$1/gone.$2" && rm -f "$1/fifo" && mended
}
for way in sed cp static mapping names; do
    check "$way on the primary: named within 2 s, repaired" by_$way "$data" a
done
for way in sed cp static mapping names; do
    check "$way on the secondary: named within 2 s, repaired" by_$way "$replica" b
done
kept() { # the primary's words, not those of who wrote into the replica
    content "$replica/sed" "$(cat "$data/sed")" && cmp "$data/cp" /etc/passwd && grep -q 'by a static' "$replica/static" && [ -e "$replica/moved/deep/file" ] && [ "$(stat -c '%a %g' "$replica/kept")" = "711 4242" ] && [ ! -e "$replica/gone.a" ] && [ -e "$replica/gone.b" ]
}
check "what is on both is what was done on the primary" kept

# ---------------------------------------------------------------- open for long

held() { # held TREE NODE HOW FILE
    local code=0 pid
    mark
    coproc HOLD { "$outsider" "$3" "$1/$4" "written on $2"; }
    local in=${HOLD[1]} out=${HOLD[0]}
    read -r -t 10 pid <&"$out"
    named "$2" "process $pid.*open for writing.*: $1/$4" "\"pid\":$pid" || code=1
    [ -e "/proc/$pid" ] || { echo "it has ended"; code=1; }
    echo >&"$in"
    read -r -t 10 <&"$out"
    if [ "$2" = a ]; then
        # Its words come to the secondary although it goes on.
        until_true 10 grep -q "written on a" "$replica/$4" || { echo "not shipped while it is open"; code=1; }
        [ -e "/proc/$pid" ] || { echo "it has ended"; code=1; }
    else
        # The replica is no good for a takeover meanwhile, and says so.
        [ "$(field b data)" = suspect ] || { echo "data: $(field b data)"; code=1; }
        lines=1 expect 1 '' sandbox status "$pair" || code=1
    fi
    echo >&"$in"
    wait "$HOLD_PID" 2> /dev/null
    mended || code=1
    [ "$2" = a ] || ! grep -q "written on b" "$replica/$4" || { echo "its words stayed"; code=1; }
    return $code
}
check "a writer on the primary is named before it closes, and its words are shipped" held "$data" a hold held
check "one that stores into a mapping, too" held "$data" a holdmap heldmap
check "a writer on the secondary is named before it closes, and makes the replica suspect" held "$replica" b hold held
check "one that stores into a mapping there, too" held "$replica" b holdmap heldmap

suspect_refuses() { # the primary dies while somebody has a file of the replica open
    local pid code=0
    coproc HOLD { "$outsider" hold "$replica/held" "too late"; }
    local in=${HOLD[1]} out=${HOLD[0]}
    read -r -t 10 pid <&"$out"
    until_true 5 field_is b data suspect || code=1
    sandbox kill "$pair" a > /dev/null
    lines=1 expect 77 'suspect' sandbox takeover "$pair" || code=1
    echo >&"$in"; read -r -t 10 <&"$out"; echo >&"$in"
    wait "$HOLD_PID" 2> /dev/null
    lines=1 expect 77 'suspect' sandbox takeover "$pair" || code=1
    sandbox down "$pair" > /dev/null && sandbox up "$pair" > /dev/null || return 1
    mended || code=1
    return $code
}
check "a replica that others wrote to does not take over" suspect_refuses

# ---------------------------------------------------------------- while no daemon runs

# The list that the daemon of NODE writes when its copy has ended is there.
listed() { [ "$(od -An -tu8 -j32 -N8 "$pair/$1/node/watch-list" | tr -d ' ')" -ge "$(sed -n 's/.*\(up to date at\|copy complete at\) position \([0-9]*\).*/\2/p' "$(log "$1")" | tail -n 1)" ]; }
meanwhile() { # meanwhile NODE TREE VICTIM
    local daemon code=0
    captured bash -c 'echo "just before" > "$1/covered"; sync "$1/covered"' bash "$data" || return 1
    sandbox settle "$pair" > /dev/null
    # A list is written when a copy has ended; the one that this node has then knows what was just written.
    sandbox kill "$pair" "$1" --what daemon > /dev/null && until_true 30 up_to_date && until_true 30 listed "$1" || return 1
    captured bash -c 'echo "and again" > "$1/covered"; sync "$1/covered"' bash "$data" || return 1
    mark
    daemon=$(sandbox_daemon "$1")
    kill -KILL "$daemon"
    echo "while nobody looked" > "$2/sed"
    rm "$2/$3" || code=1
    echo new > "$2/new.$1"
    sandbox kill "$pair" "$1" --what daemon > /dev/null || code=1
    until_true 30 up_to_date || code=1
    named "$1" "written, found changed.* sed " ": sed " || code=1
    said "$1" "removed, found changed.* $3 " || { echo "$3 is not said to be gone"; code=1; }
    said "$1" "created, found changed.* new.$1 " || { echo "new.$1 is not said to be made"; code=1; }
    said "$1" "found changed.* covered " && { echo "a covered program's change is put down to others"; cat "$work/said"; code=1; }
    mended || code=1
    return $code
}
sandbox_daemon() { sed -n "s/.*\"$1\":{\"daemon\":{[^}]*\"pid\":\([0-9]*\).*/\1/p" "$pair/sandbox.json"; }
up_to_date() { [ "$(field b data)" = "up to date" ] && [ "$(field a state)" = primary ]; }
check "changed while the primary's daemon was down: named at its start" meanwhile a "$data" cp
check "changed while the secondary's daemon was down: named at its start" meanwhile b "$replica" map

damaged() { # a list that can't be read, or is none: said, and everything is compared
    local daemon code=0
    daemon=$(sandbox_daemon b)
    kill -KILL "$daemon"
    printf '\xff' | dd of="$pair/b/node/watch-list" bs=1 seek=70 conv=notrunc 2> /dev/null
    echo "nobody knows" > "$replica/sed"
    mark
    sandbox kill "$pair" b --what daemon > /dev/null || code=1
    tail -n +$((marked_b + 1)) "$(log b)" | grep -q "the list of the roots is damaged" || { tail -n 5 "$(log b)"; code=1; }
    until_true 30 up_to_date && mended || code=1
    return $code
}
check "a damaged list is said, and everything is compared" damaged
sandbox down "$pair" > /dev/null

# ---------------------------------------------------------------- deny

pair=$work/deny data=$work/deny/a/data replica=$work/deny/b/data
pairs+=("$pair")
mkdir -p "$data/deep"
echo "nobody may" > "$data/file" && echo "nobody may" > "$data/deep/file"
sandbox up "$pair" --watch deny > /dev/null || exit 1
denied() { # TREE NODE
    local before
    before=$(field "$2" counters.denied)
    mark
    "$outsider" open "$1/$3" > "$work/opened" || return 1
    [ "$(cat "$work/opened")" = "open:EPERM openat:EPERM append:EPERM truncate:EPERM openat2:EPERM creat:EPERM read:opened " ] || { cat "$work/opened"; return 1; }
    [ "$("$static" read "$1/$3")" = 11 ] || return 1
    content "$1/$3" "nobody may" && until_true 5 said "$2" "outsider .*was denied to open for writing: $1/$3" || return 1
    [ "$(field "$2" counters.denied)" = $((before + 6)) ] || { echo "denied: $(field "$2" counters.denied), before $before"; return 1; }
}
check "opening for writing is EPERM on the primary, reading works" denied "$data" a file
check "in a directory below, too" denied "$data" a deep/file
check "and on the secondary" denied "$replica" b deep/file
unaffected() {
    captured bash -e -c 'cd "$1"; echo mine > file; mkdir -p new/er; echo deep > new/er/file; sqlite3 db "CREATE TABLE t (x); INSERT INTO t VALUES (1);"
        for n in $(seq 50); do (echo $n >> file); done; sed -i s/deep/deeper/ new/er/file' bash "$data" || return 1
    captured "$static" write "$data/file" "static" || return 1
    mended && content "$replica/new/er/file" deeper && [ "$(field a counters.outside)" = 0 ]
}
check "covered programs are not affected" unaffected
denied_anew() { [ -e "$replica/new/er/file" ] && ! "$outsider" write "$data/new/er/file" x > /dev/null && ! "$outsider" write "$replica/new/er/file" x > /dev/null; }
check "new directories are denied as well" denied_anew
not_by_opening() { # what is no opening can't be denied, and is repaired
    mark
    rm "$data/deep/file" && mv "$data/file" "$data/moved" && named a "renamed: $data/moved" "$data/moved" && mended
}
check "removing and renaming are repaired instead" not_by_opening
dead() { # nobody waits for a daemon that is dead
    local daemon
    daemon=$(sandbox_daemon a)
    kill -KILL "$daemon"
    timeout 10 "$outsider" write "$data/moved" "unhindered" || { echo "code $?"; return 1; }
    sandbox kill "$pair" a --what daemon > /dev/null && until_true 30 up_to_date && mended
}
check "a dead daemon denies nothing and holds up nobody" dead
stopped() { # one that is stopped holds up who opens files of the tree, and nobody else
    local daemon code=0
    daemon=$(sandbox_daemon a)
    kill -STOP "$daemon"
    timeout 10 cat "$work/programs/../opened" > /dev/null && timeout 10 touch "$work/beside" || code=1
    kill -CONT "$daemon"
    until_true 30 up_to_date && mended || code=1
    return $code
}
check "a stopped daemon holds up nobody beside the tree" stopped
sandbox down "$pair" > /dev/null

# ---------------------------------------------------------------- without privilege

pair=$work/plain data=$work/plain/a/data replica=$work/plain/b/data
pairs+=("$pair")
mkdir -p "$data"
echo first > "$data/file"
unprivileged() {
    setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$product/lockstep" sandbox up "$pair" --watch report > /dev/null || return 1
    field a watch; field b watch
    [[ "$(field a watch)" == "not watched ("*"Operation not permitted"* ]] && [[ "$(field b watch)" == "not watched ("*"Operation not permitted"* ]] || return 1
    captured bash -c 'echo covered > "$1/covered"; sync "$1/covered"' bash "$data" && echo made > "$data/made" || return 1
    settled && [ "$repaired" = 1 ] && sandbox status "$pair" > /dev/null
}
check "without CAP_SYS_ADMIN: 'not watched', and everything else works" unprivileged
next_start() { # what it changed is found when the daemon is started again
    until_true 30 listed a && mark || return 1
    echo outside > "$data/file"
    sandbox kill "$pair" a --what daemon > /dev/null && named a "written, found changed.* file " ": file " && until_true 30 up_to_date && mended
}
check "and the pass at the next start finds what was written" next_start
sandbox down "$pair" > /dev/null

# ---------------------------------------------------------------- controls

product=$faults pair=$work/lost data=$work/lost/a/data replica=$work/lost/b/data
pairs+=("$pair")
mkdir -p "$data"
echo first > "$data/file" && echo first > "$data/other"
LOCKSTEP_DAEMON_FAULT=watch-overflow sandbox up "$pair" --watch report > /dev/null || exit 1
overflow() { # TREE NODE: the first event is lost with all that came with it
    until_true 30 test -e "$pair/$2/node/watch-list" || return 1
    echo "nobody heard of this" > "$1/file"
    until_true 10 grep -q 'watch: planted; everything is compared' "$(log "$2")" || return 1
    [ "$(field "$2" counters.watchLost)" = 1 ] && mended
}
check "events lost on the primary: compared and repaired" overflow "$data" a
check "events lost on the secondary: compared and repaired" overflow "$replica" b
sandbox down "$pair" > /dev/null

pair=$work/deaf data=$work/deaf/a/data replica=$work/deaf/b/data
pairs+=("$pair")
mkdir -p "$data"
echo first > "$data/file"
LOCKSTEP_DAEMON_FAULT=watch-deaf sandbox up "$pair" --watch report > /dev/null || exit 1
deaf() {
    echo "nobody heard of this" > "$data/file"
    captured bash -c 'echo covered > "$1/covered"; sync "$1/covered"' bash "$data" || return 1
    sandbox settle "$pair" > /dev/null
    ! equal_trees > /dev/null 2>&1 && content "$replica/file" first
}
check "control: with a deaf watch the difference stays" deaf
sandbox down "$pair" > /dev/null

# ---------------------------------------------------------------- by force

pair=$work/force data=$work/force/a/data replica=$work/force/b/data
pairs+=("$pair")
mkdir -p "$data"
echo first > "$data/held"
sandbox up "$pair" --watch report > /dev/null || exit 1
forced() { # the primary is gone for good, and a stranger wrote into the replica: the operator decides
    local pid
    coproc HOLD { "$outsider" hold "$replica/held" "by force"; }
    local in=${HOLD[1]} out=${HOLD[0]}
    read -r -t 10 pid <&"$out"
    until_true 5 field_is b data suspect || return 1
    sandbox kill "$pair" a > /dev/null
    lines=1 expect 77 'suspect' sandbox takeover "$pair" || return 1
    sandbox takeover --force "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    field_is b role primary || return 1
    echo >&"$in"; read -r -t 10 <&"$out"; echo >&"$in"
    wait "$HOLD_PID" 2> /dev/null
    sandbox rejoin "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    settled
}
check "takeover --force takes a suspect replica over" forced
finish_scenario
