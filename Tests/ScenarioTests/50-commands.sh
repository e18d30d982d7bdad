#!/bin/bash
# The commands, with real daemons: bad input ends with one clear line and the documented code before anything is written;
# a peer that dies, a daemon that is killed under load, take-overs that must be refused; the same without root.
# Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

marker=$work/marker # what a program that must not run would leave
root() { [ "$(id -u)" = 0 ]; }
unwritten() { [ ! -e "$1" ] || { echo "written all the same: $1"; return 1; }; }
untouched() { [ ! -e "$marker" ] || { echo "the program ran all the same"; rm -f "$marker"; return 1; }; }
both() { "$@" 2>&1; }
# Without root: a normal user, in a directory of its own, with a copy of the product that it may read.
user_directory=$work/user
as_user() { if root; then setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; else "$@"; fi; }

# ---------------------------------------------------------------- arguments and directories

demo_of_oracle() { TMPDIR=$work/tmp expect 64 'unknown application oracle' lockstep demo --app oracle && [ -z "$(ls -A "$work/tmp")" ]; }
mkdir "$work/tmp"
lines=3 check "an unknown application is refused, nothing is made" demo_of_oracle
missing() {
    expect 66 'the directory above it is missing' lockstep sandbox up "$work/missing/pair" && unwritten "$work/missing" &&
        expect 66 'No such file' lockstep sandbox status "$work/missing" && expect 66 'No such file' lockstep run --node-directory "$work/missing" -- touch "$marker" &&
        expect 66 'no such directory' "$product/lockstepd" --directory "$work/missing" --node a --module m --role primary --root data="$work" --listen 127.0.0.1:1 --peer 127.0.0.1:2 && untouched
}
check "a missing directory: 66" missing
no_directory() { echo x > "$work/file" && expect 73 'not a directory' lockstep sandbox up "$work/file" && expect 66 'is missing' lockstep sandbox up "$work/file/pair"; }
check "a file in a directory's place: 73, 66" no_directory
not_writable() {
    mkdir -p "$work/locked/there" && chmod 555 "$work/locked" "$work/locked/there" || return 1
    expect 73 'Permission denied' as_user "$product/lockstep" sandbox up "$work/locked/pair" && unwritten "$work/locked/pair" &&
        expect 73 'Permission denied' as_user "$product/lockstep" sandbox up "$work/locked/there" && unwritten "$work/locked/there/a"
}
readable_product() { as_user test -x "$product/lockstep"; }
if readable_product; then check "a directory that can't be written: 73, nothing is made" not_writable; else skip "a directory that can't be written" "another user can't read $product"; fi

# ---------------------------------------------------------------- what leads out of the tree

leads_out() {
    local tree=$work/out/a/data
    mkdir -p "$tree/deep" "$work/elsewhere" || return 1
    ln -s /etc/passwd "$tree/absolute"; ln -s ../../../../elsewhere "$tree/deep/relative"; ln -s deep "$tree/inside"; echo x > "$work/elsewhere/file"; ln "$work/elsewhere/file" "$tree/second-name"
    lines=4 expect 78 'lead out of the tree' lockstep sandbox up "$work/out" || return 1
    grep -q "absolute -> /etc/passwd" "$work/expect.err" && grep -q 'relative -> ../../../../elsewhere' "$work/expect.err" && grep -q 'second-name: a file with 2 names' "$work/expect.err" || { cat "$work/expect.err"; return 1; }
    ! grep -q inside "$work/expect.err" && [ -z "$(ls -A "$work/out/b/data")" ] && unwritten "$work/out/a/node/journal" || return 1
    # A daemon that is started by hand looks itself.
    expect 78 'symbolic links lead out' "$product/lockstepd" --directory "$work/out/a/node" --node a --module m --role primary --root data="$tree" --listen 127.0.0.1:1 --peer 127.0.0.1:2
}
check "links that lead out of the tree: 78, all of them named" leads_out
mounted() {
    local tree=$work/mounted/a/data
    mkdir -p "$tree/there" "$work/elsewhere2" || return 1
    lines=2 expect 78 'lead out of the tree' unshare -m sh -c 'mount --bind "$1" "$2" && exec "$3" sandbox up "$4"' sh "$work/elsewhere2" "$tree/there" "$product/lockstep" "$work/mounted" || return 1
    grep -q "$tree/there: a mount point" "$work/expect.err"
}
if root && unshare -m true 2> /dev/null; then check "a mount inside the tree: 78" mounted; else skip "a mount inside the tree" "needs root"; fi

# ---------------------------------------------------------------- programs that can't be covered

sandbox up "$pair" > /dev/null || exit 1
data=$pair/a/data
echo 'int main(void) { return 0; }' > "$work/program.c"
cc -static "$work/program.c" -o "$work/static"
echo "#!$work/static" > "$work/script" && chmod 755 "$work/script"
cp /bin/true "$work/setuid" && { ! root || chown 65534 "$work/setuid"; } && chmod 4755 "$work/setuid"
echo 'static char taken[4096] __attribute__((section(".taken"), used)) = "taken"; int main(int count, char **values) { return count + !values; }' |
    cc -x c -no-pie -Wl,--section-start=.taken=0x200000000000 - -o "$work/taken"
echo text > "$work/text"
refusal() { expect "$1" "^lockstep: .*$2" captured "${@:3}" && untouched; }
unguarded_refusal() { expect "$1" "^lockstep: .*$2" unguarded "${@:3}" && untouched; }
check "a static program without the guard: 126" unguarded_refusal 126 static "$work/static"
check "a script whose interpreter is static, without the guard: 126" unguarded_refusal 126 static "$work/script"
if root; then check "a setuid program without the guard: 126" unguarded_refusal 126 'set-user-ID|setuid' "$work/setuid"; else skip "a setuid program" "needs root"; fi
check "a program that has the library's page: 126" refusal 126 '0x200000000000|taken|page' "$work/taken"
check "a file that can't be executed: 126" refusal 126 . "$work/text"
check "no such program: 127" refusal 127 . "$work/no-such-program"
inside() { lines=3 expect 126 'lockstep: .*static' unguarded sh -c "'$work/static'; code=\$?; exit \$code"; }
check "a static program is not started by a covered one either, without the guard" inside
nested() { expect 77 'inside' captured "$product/lockstep" sandbox run -q "$pair" -- touch "$marker" && untouched; }
check "a run inside a run: 77" nested
codes() {
    expect 0 '' captured true && expect 42 '' captured sh -c 'exit 42' && expect $((128 + 15)) '' captured sh -c 'kill -TERM $$' && expect 1 '' captured grep -q x /dev/null
}
check "run exits as the program does" codes

# ---------------------------------------------------------------- ports, daemons, versions

port_of() { sqlite3 :memory: "SELECT json_extract(CAST(readfile('$pair/sandbox.json') AS TEXT), '\$.nodes.$1.port')"; }
port_taken() {
    mkdir -p "$work/other/data" "$work/other/node" || return 1
    expect 71 "port $(port_of b).*in use" "$product/lockstepd" --directory "$work/other/node" --node b --module m --role secondary --root data="$work/other/data" --listen 127.0.0.1:"$(port_of b)" --peer 127.0.0.1:1
}
check "a port that is taken: 71" port_taken
second_daemon() { expect 77 'a daemon runs here already' "$product/lockstepd" --directory "$pair/a/node" --node a --module sandbox --role primary --root data="$data" --listen 127.0.0.1:1 --peer 127.0.0.1:2 && settled; }
check "a second daemon in the same directory: 77" second_daemon
check "up where it is up: 77" expect 77 'it is up' lockstep sandbox up "$pair"

other_version() { # keeper and library of another version of the capture's ABI, from the sources
    local next=$work/next
    mkdir -p "$next/tools" && cp -r "$top/Sources" "$next/" && cp "$top/tools/build-interposer" "$top/tools/build-keeper" "$next/tools/" || return 1
    sed -i 's/LOCKSTEP_ABI_VERSION 1u/LOCKSTEP_ABI_VERSION 2u/' "$next/Sources/CCaptureABI/include/CCaptureABI.h"
    for which in keeper library; do
        mkdir -p "$next/$which" && cp "$product"/lockstep* "$product/liblockstep.so" "$next/$which/" || return 1
    done
    "$next/tools/build-keeper" "$next/keeper" && "$next/tools/build-interposer" "$next/library" || return 1
    expect 76 'version|ABI' "$next/keeper/lockstep" sandbox run -q "$pair" -- touch "$marker" && untouched || return 1
    # The keeper says it on its own standard error too: the program's may be a server's log.
    lines=2 expect 76 'version|ABI' "$next/library/lockstep" sandbox run -q "$pair" -- touch "$marker" && untouched && settled
}
check "a keeper, or a library, of another ABI version: 76" other_version

# ---------------------------------------------------------------- status

valid_status() {
    local file=$work/status field
    sandbox status "$pair" --json > "$file" || { echo "exit code $?"; return 1; }
    [ "$(wc -l < "$file")" = 1 ] && [ "$(sqlite3 :memory: "SELECT json_valid(CAST(readfile('$file') AS TEXT))")" = 1 ] || { echo "no line of JSON"; cat "$file"; return 1; }
    for field in module node role state ready data link epoch positions.appended positions.flushed positions.acked positions.applied drained released \
        copy.running copy.objects copy.objectsDone copy.bytesDone application.keepers application.processes guard watch counters.operations counters.barriers \
        counters.batches counters.fills counters.repairs counters.revoked counters.refused 'roots[0].name' 'roots[0].path'; do
        [ -n "$(field a "$field")" ] && [ -n "$(field b "$field")" ] || { echo "no field $field"; return 1; }
    done
    [ "$(field a state) $(field b state) $(field a link) $(field b data) $(field a guard)" = "primary secondary connected up to date on" ] || { cat "$file"; return 1; }
    lockstep status --node-directory "$pair/a/node" --json > "$file" && [ "$(sqlite3 :memory: "SELECT json_extract(CAST(readfile('$file') AS TEXT), '\$.role')")" = primary ] &&
        [ "$(field a counters.operations)" -gt 0 ] || { cat "$file"; return 1; }
}
before_status() { captured sqlite3 "$data/kept.db" "CREATE TABLE t (n); INSERT INTO t VALUES (0);" && settled && valid_status; }
check "status --json: one line with the promised fields" before_status

# ---------------------------------------------------------------- bounds

settle_bound() { # an operation that never ends, as far as settle can wait
    rm -f "$work/hold" && mkfifo "$work/hold"
    captured sh -c "cd '$data'; echo x > bound; kill -STOP \$\$; echo y > bound" < "$work/hold" & local run=$!
    exec 7> "$work/hold"
    until_true 20 test -e "$pair/b/data/bound" || return 1
    # Nothing is in flight: a stopped program does not hold up a settle.
    sandbox settle --timeout 20 "$pair" > /dev/null || return 1
    sandbox kill "$pair" a --what app > /dev/null
    exec 7>&-
    wait $run 2> /dev/null
    settled
}
check "a stopped application holds up no settle; kill --what app ends it" settle_bound

# ---------------------------------------------------------------- a peer that dies

load() { # load DATABASE COUNT: inserts one by one; the number of the last acknowledged one goes to $work/acknowledged
    local n
    for n in $(seq "$2"); do echo "INSERT INTO t VALUES ($n); SELECT $n;"; done |
        captured sqlite3 -bail -cmd ".timeout 20000" -cmd "PRAGMA synchronous=FULL" "$1" > "$work/acknowledged" 2> "$work/load.err"
}
peer_dies() {
    captured sqlite3 "$data/alone.db" "PRAGMA journal_mode=wal; CREATE TABLE t (n);" > /dev/null || return 1
    load "$data/alone.db" 4000 & local load=$!
    until_true 20 test -s "$work/acknowledged" || return 1
    sandbox kill "$pair" b > /dev/null || return 1
    until_true 20 field_is a state alone || return 1
    expect 1 '' lockstep sandbox status "$pair" || return 1
    wait $load || { echo "a client's error: $(cat "$work/load.err")"; return 1; }
    [ "$(tail -n 1 "$work/acknowledged")" = 4000 ] || { echo "the last one: $(tail -n 1 "$work/acknowledged")"; return 1; }
    expect 69 . lockstep sandbox settle "$pair" || return 1
    sandbox rejoin "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    [ "$(field a state) $(field b data)" = "primary up to date" ] && settled
}
check "kill b: writers go on alone; rejoin; equal trees" peer_dies
check "rejoin where b lives: 77" expect 77 'node b lives' lockstep sandbox rejoin "$pair"
check "takeover while a lives: 77" expect 77 'node a lives' lockstep sandbox takeover "$pair"

daemon_dies() { # several times under load: nobody gets an error
    local n
    captured sqlite3 "$data/again.db" "PRAGMA journal_mode=wal; CREATE TABLE t (n);" > /dev/null || return 1
    : > "$work/acknowledged"
    load "$data/again.db" 6000 & local load=$!
    for n in 1 2 3; do
        until_true 20 test -s "$work/acknowledged" || return 1
        local before
        before=$(tail -n 1 "$work/acknowledged")
        sandbox kill "$pair" a --what daemon > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
        goes_on() { [ "$(tail -n 1 "$work/acknowledged")" -gt "$((before + 20))" ]; }
        kill -0 $load 2> /dev/null && { until_true 30 goes_on || return 1; }
    done
    wait $load || { echo "a client's error: $(cat "$work/load.err")"; return 1; }
    [ "$(tail -n 1 "$work/acknowledged")" = 6000 ] || { echo "the last one: $(tail -n 1 "$work/acknowledged")"; return 1; }
    until_true 60 field_is a state primary && settled && captured sqlite3 "$data/again.db" "SELECT count(*), max(n) FROM t" > "$work/count" && grep -qx '6000|6000' "$work/count"
}
check "kill a --what daemon, three times under load: no client sees an error" daemon_dies
secondary_daemon_dies() {
    : > "$work/acknowledged"
    load "$data/again.db" 2000 & local load=$!
    until_true 20 test -s "$work/acknowledged" || return 1
    sandbox kill "$pair" b --what daemon > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    wait $load || { echo "a client's error: $(cat "$work/load.err")"; return 1; }
    until_true 60 field_is b data "up to date" && settled
}
check "kill b --what daemon under load: no client sees an error" secondary_daemon_dies

# ---------------------------------------------------------------- take-over

inconsistent() { # a dies while b is being copied to: b can't take over
    local attempt state=
    captured sh -c "for i in 1 2 3 4 5 6 7 8; do head -c 40000000 /dev/urandom > '$data/bulk'\$i; done" && settled || return 1
    for attempt in 1 2 3 4 5; do
        sandbox kill "$pair" b > /dev/null || return 1
        sandbox rejoin "$pair" > "$work/rejoin" 2>&1 & local rejoin=$!
        copying() { [ "$(field b data)" = inconsistent ] && [ "$(field a copy.bytesDone)" -gt 0 ]; }
        until_true 20 copying && sandbox kill "$pair" a > /dev/null
        wait $rejoin && { echo "attempt $attempt: the copy was over"; sandbox down "$pair"; sandbox up "$pair"; } && continue
        state=$(field b data)
        break
    done
    [ "$state" = inconsistent ] || { echo "b is: $state"; return 1; }
    expect 77 'inconsistent' lockstep sandbox takeover "$pair" || return 1
    # And again: it stays so.
    expect 77 'inconsistent' lockstep sandbox takeover "$pair" || return 1
    expect 69 'primary.s daemon is not running' lockstep sandbox run -q "$pair" -- touch "$marker" && untouched || return 1
    sandbox down "$pair" > /dev/null && sandbox up "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    settled && captured sh -c "rm '$data/bulk'*" && settled
}
check "takeover of an inconsistent b: 77; up again makes it whole" inconsistent

take_over() {
    load "$data/again.db" 200 && sandbox kill "$pair" a > /dev/null || return 1
    expect 69 'not running' lockstep sandbox settle "$pair" || return 1
    sandbox takeover "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    captured sqlite3 "$pair/b/data/again.db" "PRAGMA integrity_check; SELECT count(*) FROM t WHERE n = 200" > "$work/count" && [ "$(tr '\n' ' ' < "$work/count")" = "ok 3 " ] || { cat "$work/count"; return 1; }
    expect 77 'node b lives' lockstep sandbox takeover "$pair" || return 1
    sandbox rejoin "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    [ "$(field b state) $(field a state) $(field a data)" = "primary secondary up to date" ] && settled
}
check "takeover, run on b, rejoin a" take_over

down_and_up() {
    sandbox down "$pair" > /dev/null || return 1
    [ -z "$(processes_of "$pair")" ] || { echo "still there: $(processes_of "$pair")"; return 1; }
    expect 69 'not running' lockstep sandbox run -q "$pair" -- touch "$marker" && expect 69 . lockstep run --node-directory "$pair/b/node" -- touch "$marker" &&
        expect 69 . lockstep status --node-directory "$pair/b/node" && untouched || return 1
    sandbox down "$pair" > /dev/null || { echo "down a second time: $?"; return 1; }
    sandbox up "$pair" > /dev/null && settled && captured sqlite3 "$pair/b/data/again.db" "INSERT INTO t VALUES (7)" && settled
}
check "down leaves no process; run is refused (69); up goes on with the primary that was" down_and_up
end_pair "$pair"

# ---------------------------------------------------------------- a ring that is scribbled over

scribble=$(program scribble)
free_port() { # one that nobody has at this moment
    local port
    while port=$((20000 + RANDOM % 12000)); do (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo $port; return; }; done
}
node() { # node NAME ROLE: a daemon of our own, in the background; its number is in $!
    local name=$1 listen peer
    [ "$name" = a ] && listen=$port_a peer=$port_b || listen=$port_b peer=$port_a
    "$product/lockstepd" --directory "$by_hand/$name/node" --node "$name" --module m --role "$2" --root data="$by_hand/$name/data" --listen 127.0.0.1:$listen --peer 127.0.0.1:$peer --wait-bound 20 2>> "$by_hand/$name/log" &
}
ready() { lockstep status --node-directory "$by_hand/a/node" > /dev/null 2>&1; }
child_recorded() { [ "$(stat -c %s "$by_hand/b/data/records" 2> /dev/null)" -ge $((8 * $1)) ]; }
scribbled() { # scribbled HOW
    by_hand=$work/$1 port_a=$(free_port) port_b=$(free_port)
    pairs+=("$by_hand")
    mkdir -p "$by_hand"/{a,b}/{data,node} || return 1
    node b secondary; local b=$!
    node a primary; local a=$! code=0 acknowledged
    until_true 30 ready || { cat "$by_hand"/?/log; kill $a $b; return 1; }
    # The keeper itself, with a short bound: it keeps the memory for the next daemon, which nobody starts.
    timeout 100 "$product/lockstep-keeper" --node-directory "$by_hand/a/node" --library "$product/liblockstep.so" --wait-bound 3 -- "$scribble" "$by_hand/a/data" "$by_hand/notes" "$1" < /dev/null > "$work/run" 2> "$work/run.err"
    cat "$work/run"
    if [ "$1" = locks ]; then
        [ "$(grep -c success "$work/run")" = 4 ] && kill -0 $a || { echo "scribbled locks are taken over, nothing else"; code=1; }
        kill $a
        wait $a
    else
        # Not killed, ended by itself, and in time: it must not go on with such a ring.
        died() { ! kill -0 $a 2> /dev/null; }
        until_true 20 died || { echo "the daemon goes on"; kill $a; code=1; }
        wait $a
        [ $? = 76 ] || { echo "not ended with 76"; code=1; }
        [ "$(grep -c 'scribbled' "$by_hand/a/log")" = 1 ] || { echo "not one line that says so"; code=1; }
        grep -qx 'after: EIO' "$work/run" && grep -qx 'the child: EIO' "$work/run" || { echo "EIO is what applications get"; code=1; }
    fi
    acknowledged=$(sed -n 's/^acknowledged: //p' "$work/run")
    [ -n "$acknowledged" ] && [ "$acknowledged" -ge 50 ] && until_true 20 child_recorded "$acknowledged" || { echo "acknowledged: $acknowledged, on b: $(($(stat -c %s "$by_hand/b/data/records") / 8))"; code=1; }
    # No more than was written is there, each record where it belongs.
    cmp -n "$(stat -c %s "$by_hand/b/data/records")" "$by_hand/a/data/records" "$by_hand/b/data/records" || code=1
    kill $b
    wait $b
    [ $code = 0 ] || head -n 20 "$by_hand"/?/log "$work/run.err"
    return $code
}
for how in unannounced far back everything; do
    check "the order ring is scribbled over ($how): said in one line, 76, EIO, nothing false acknowledged" scribbled $how
done
check "scribbled offset locks are taken over" scribbled locks

# ---------------------------------------------------------------- without root

without_root() {
    pair=$user_directory/pair data=$pair/a/data
    local user=("$product/lockstep" sandbox)
    as_user "${user[@]}" up "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    as_user "${user[@]}" run -q "$pair" -- bash -e -c "cd '$data'; mkdir -p d/e; head -c 3000000 /dev/urandom > d/e/f; chmod 640 d/e/f; mv d/e e; ln -s e/f link; sqlite3 db 'PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1);'" > /dev/null || return 1
    as_user mkdir -p "$data/made/outside" || return 1
    as_user "${user[@]}" settle "$pair" | grep -Eq 'repaired: [1-9]' || { echo "nothing was repaired"; return 1; }
    as_user "${user[@]}" compare "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    [ "$(stat -c %u "$pair/b/data/e/f")" = "$(as_user id -u)" ] || { echo "owner $(stat -c %u "$pair/b/data/e/f")"; return 1; }
    as_user "${user[@]}" kill "$pair" a > /dev/null && as_user "${user[@]}" takeover "$pair" > /dev/null && as_user "${user[@]}" run -q "$pair" -- sqlite3 "$pair/b/data/db" "INSERT INTO t VALUES (2); SELECT count(*) FROM t" > "$work/count" || return 1
    [ "$(cat "$work/count")" = 2 ] && as_user "${user[@]}" rejoin "$pair" > /dev/null && as_user "${user[@]}" settle "$pair" > /dev/null && as_user "${user[@]}" compare "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    listing "$pair/a/data" > "$work/listing.a"
    listing "$pair/b/data" > "$work/listing.b"
    diff "$work/listing.a" "$work/listing.b" && as_user "${user[@]}" down "$pair" > /dev/null
}
mkdir "$user_directory" && { ! root || chown 65534:65534 "$user_directory"; }
pairs+=("$user_directory/pair")
if readable_product; then check "a normal user: up, run, settle, compare, kill, takeover, rejoin, down" without_root; else skip "a normal user" "can't read $product"; fi
finish_scenario
