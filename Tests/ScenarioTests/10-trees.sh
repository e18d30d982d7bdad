#!/bin/bash
# Both trees are the same, byte for byte, after everything that the tests of the preload library do, through the real
# daemons: SQLite in its journal modes, plain programs for each captured call, shells; and the journal is readable with
# the distribution's lz4. One pair lives through all of it. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

data=$pair/a/data
interposer=$top/Tests/InterposerTests
"$interposer/build" "${LOCKSTEP_TESTS_BUILD:-$top/.build-interposer-tests}" || { echo "a program does not compile"; echo "0 passed, 1 failed"; exit 1; }
programs=${LOCKSTEP_TESTS_BUILD:-$top/.build-interposer-tests}/programs
records=$(program records)
sandbox up "$pair" > /dev/null || exit 1

# ---------------------------------------------------------------- SQLite

sqlite_script() { # transactions of several sizes, a rollback, a savepoint, blobs over several pages, VACUUM
    cat <<SQL
PRAGMA journal_mode=$1;
PRAGMA synchronous=FULL;
CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, data BLOB);
CREATE INDEX i ON t (who, id);
BEGIN; WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 400) INSERT INTO t SELECT x, 'first', randomblob(300) FROM n; COMMIT;
BEGIN; UPDATE t SET data = randomblob(2000) WHERE id % 3 = 0; ROLLBACK;
BEGIN; UPDATE t SET data = randomblob(5000) WHERE id % 5 = 0; SAVEPOINT s; DELETE FROM t WHERE id > 100; ROLLBACK TO s; COMMIT;
INSERT INTO t VALUES (1000, 'blob', zeroblob(700000));
DELETE FROM t WHERE id % 2 = 0;
VACUUM;
INSERT INTO t (who, data) VALUES ('last', randomblob(10));
PRAGMA integrity_check;
SQL
}

sqlite_alone() {
    sqlite_script "$1" | captured sqlite3 "$data/$1.db" > "$work/sqlite.out" 2>&1 && tail -n 1 "$work/sqlite.out" | grep -qx ok || { cat "$work/sqlite.out"; return 1; }
    settled
}

sqlite_many() { # four processes at once, each a run of its own, and one that vacuums in between
    local who pids=() code=0
    captured sqlite3 "$data/many-$1.db" "PRAGMA journal_mode=$1; CREATE TABLE t (who, n, data);" > /dev/null || return 1
    for who in 1 2 3 4; do
        for n in $(seq 20); do
            echo "INSERT INTO t VALUES ($who, $n, randomblob($((n * 150))));"
            [ $((n % 7)) != 0 ] || echo "BEGIN IMMEDIATE; DELETE FROM t WHERE who = $who; ROLLBACK;"
        done > "$work/load.$who"
        captured sqlite3 -bail -cmd ".timeout 60000" -cmd "PRAGMA synchronous=FULL" "$data/many-$1.db" < "$work/load.$who" > "$work/load.out.$who" 2>&1 &
        pids+=($!)
    done
    for n in 1 2 3; do echo "VACUUM; PRAGMA wal_checkpoint;"; done | captured sqlite3 -cmd ".timeout 60000" "$data/many-$1.db" > "$work/load.out.5" 2>&1 || { cat "$work/load.out.5"; code=1; }
    for who in 0 1 2 3; do wait "${pids[$who]}" || { code=1; cat "$work/load.out.$((who + 1))"; }; done
    [ $code = 0 ] || return 1
    settled || return 1
    # Opened on the other side, from a copy: opening changes a database.
    rm -rf "$work/copy" && mkdir "$work/copy" && cp "$pair/b/data/many-$1.db"* "$work/copy/" && rm -f "$work/copy/"*-shm
    [ "$(sqlite3 "$work/copy/many-$1.db" "SELECT who, count(*), max(n) FROM t GROUP BY who; PRAGMA integrity_check;" | tr '\n' ' ')" = "1|20|20 2|20|20 3|20|20 4|20|20 ok " ] || {
        echo "the copy on b does not hold what was written"; sqlite3 "$work/copy/many-$1.db" "SELECT who, count(*), max(n) FROM t GROUP BY who; PRAGMA integrity_check;"; return 1; }
}

sqlite_open() { # compared while a process has the database open, its -wal or -journal there
    rm -f "$work/to" "$work/from" && mkfifo "$work/to" "$work/from"
    captured sqlite3 "$data/open-$1.db" < "$work/to" > "$work/from" 2>&1 &
    local process=$! answer code=0
    exec 7> "$work/to" 8< "$work/from"
    echo "PRAGMA journal_mode=$1; CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(30000)); BEGIN; INSERT INTO t VALUES (randomblob(8000000)); SELECT 'ready';" >&7
    while read -r -t 60 answer <&8; do [ "$answer" != ready ] || break; done
    [ "$answer" = ready ] || { echo "sqlite3 said: $answer"; code=1; }
    settled || code=1
    find "$pair/b/data" -name "open-$1.db*" -size +0 | grep -Eq -- '-(wal|journal)$' || { echo "no journal of SQLite's on b"; code=1; }
    echo "ROLLBACK;" >&7
    exec 7>&- 8<&-
    wait $process || code=1
    [ $code = 0 ] && settled
}

for mode in delete truncate persist wal; do
    check "sqlite, journal_mode=$mode: transactions, rollback, VACUUM" sqlite_alone $mode
    check "sqlite, journal_mode=$mode: four processes at once, and one that vacuums" sqlite_many $mode
    check "sqlite, journal_mode=$mode: while a transaction is open" sqlite_open $mode
done

# ---------------------------------------------------------------- programs and shells of the preload library's tests

run_plainly() { (cd "$1/tree" && "${@:2}" "$1/tree" "$1/outside" < /dev/null > "$1/out" 2> "$1/err"); }

# What the library refuses to start is started where the guard is on. Opens of posix_spawn's child that fail anyhow (of a
# directory, of a link) are its own calls, and would be counted.
runs_as() { case $1 in uncovered | spawn_actions) echo unguarded ;; *) echo captured ;; esac; }

through_daemon() { # through_daemon NAME PREPARE EXPECTED COMMAND...: the same output as plain, and equal trees
    local name=$1 prepare=$2 expected=$3 plain=$work/plain-$1 code plain_code
    shift 3
    mkdir -p "$plain/tree" "$plain/outside" "$data/$name" "$work/outside-$name"
    [ -z "$prepare" ] || { bash "$prepare" "$plain/tree" "$plain/outside"; bash "$prepare" "$data/$name" "$work/outside-$name"; }
    sandbox settle "$pair" > /dev/null || return 1
    run_plainly "$plain" "$@"
    plain_code=$?
    (cd "$data/$name" && $(runs_as "$name") "$@" "$data/$name" "$work/outside-$name" < /dev/null > "$plain/out.covered" 2> "$plain/err.covered")
    code=$?
    [ -z "$expected" ] || plain_code=0
    [ $code = $plain_code ] || { echo "exit code $code, plain $plain_code"; cat "$plain/err.covered"; return 1; }
    diff "${expected:-$plain/out}" "$plain/out.covered" || { echo "output differs (< plain or expected, > covered)"; cat "$plain/err.covered"; return 1; }
    find "$data/$name" ! -type d ! -type f ! -type l -delete # fifos and the like are not replicated
    settled || return 1
    captured rm -r "$data/$name" # among it links that a new start would refuse
}

for source in "$interposer"/Programs/*.c "$interposer"/Programs/*.cc; do
    name=$(basename "${source%.*}")
    at=$interposer/Programs/$name
    [ ! -e "$at.options" ] || continue # those need the rig's own answers
    [ -e "$at.prepare" ] && prepare=$at.prepare || prepare=
    [ -e "$at.expected" ] && expected=$at.expected || expected=
    check "program $name" through_daemon "$name" "$prepare" "$expected" "$programs/$name"
done
for script in "$interposer"/Shell/*.sh; do
    name=$(basename "$script" .sh)
    check "shell $name" through_daemon "shell-$name" "" "" bash "$script"
done

# ---------------------------------------------------------------- files, large and many; names

script() { # a script under the capture in the tree, then compared
    captured bash -e -u -c "cd '$data'; $1" < /dev/null || return 1
    settled
}

check "files of several MB, written in pieces and over again" script '
    mkdir large; cd large
    head -c 7000000 /dev/urandom > once
    for size in 1 511 4096 65537 1000003; do dd if=/dev/urandom of=pieces bs=$size count=3 conv=notrunc oflag=append 2> /dev/null; done
    dd if=/dev/urandom of=once bs=100001 count=20 seek=7 conv=notrunc 2> /dev/null
    cp once copy; truncate -s 3000001 copy; truncate -s 20000000 copy
    cp --sparse=always copy sparse; dd if=/dev/urandom of=synced bs=1M count=3 oflag=sync 2> /dev/null'
check "2,000 small files, half of them renamed, a quarter removed" script '
    mkdir small; cd small
    for i in $(seq 2000); do echo "file $i" > f$i; done
    mkdir moved; for i in $(seq 1 2 2000); do mv f$i moved/m$i; done
    for i in $(seq 2 4 2000); do rm f$i; done; chmod 600 f4 f8; touch -d 2001-02-03 f12 moved/m1'
check "deep directories, renamed at every level" script '
    mkdir -p deep/1/2/3/4/5/6/7/8/9; cd deep
    for d in 1 1/2 1/2/3 1/2/3/4/5/6/7/8/9; do echo "in $d" > $d/file; ln -s file $d/link; done
    mv 1/2/3/4/5/6/7/8/9 1/nine; mv 1/2/3 three; mv 1 three/4/one; mv three/4/one/2 .; mv three/4 four
    echo more >> four/one/nine/file; mv four three; rmdir three/four/5/6/7/8; echo x > three/four/one/file; mkdir 1; mv -T three 1; mv 2/file 1/file'
check "files are removed and replaced while they are open" script '
    mkdir opened; cd opened
    exec 5> gone 6> replaced 7>> log
    echo before >&5; rm gone; echo after >&5; head -c 3000000 /dev/urandom >&5
    echo old >&6; echo new > other; mv other replaced; echo "to the old one" >&6; sync
    for i in 1 2 3; do echo $i >&7; mv log log.$i; echo "$i after" >&7; exec 7>> log; done
    echo again > gone; exec 5>&- 6>&- 7>&-'
check "names that are no text" script '
    mkdir names; cd names
    for name in "with
newline" "$(printf "\\377\\376")" " blank " "quote\"s" "back\\slash" "-dash" "*" "$(head -c 255 /dev/zero | tr "\\0" x)"; do echo "$name" > "./$name"; done
    mkdir "$(printf "d\\200")"; mv "./*" "$(printf "d\\200")/[a]"; ln -s "$(printf "to\\201")" "$(printf "link\\n")"'
check "coreutils: cp -a, mv between trees, install, tar, sed -i, sort -o, split" script '
    mkdir tools; cd tools
    cp -a ../deep copy; mv copy/2 two; install -m 640 ../large/once installed; tar cf all.tar copy two; mkdir out; tar xf all.tar -C out
    seq 20000 > numbers; sed -i s/7/seven/ numbers; sort -r -o numbers numbers; split -l 3000 numbers part.; cat part.* > joined; cmp numbers joined; rm part.a[a-c]; chmod -R g+w out; rm -r copy'

# ---------------------------------------------------------------- from outside the capture

from_outside() {
    mkdir -p "$data/outside/made/deep" && echo content > "$data/outside/made/deep/file" && ln -s file "$data/outside/made/deep/link" &&
        head -c 3000000 /dev/urandom > "$data/outside/big" && chmod 640 "$data/outside/big" && rm -r "$data/small/moved" && mv "$data/large/once" "$data/outside/twice" || return 1
    settled || return 1
    # Where the file system can be watched, most of it is repaired before settle is asked.
    [ "$(($(field a counters.outside) + ${repaired:-0}))" -gt 6 ] || { echo "repaired: ${repaired:-nothing said}"; return 1; }
    # What was found is known from then on: captured programs write to it, and nothing is left to repair.
    captured bash -e -c "cd '$data/outside'; echo more >> made/deep/file; mv made moved; rm twice" < /dev/null || return 1
    settled || return 1
    [ "$repaired" = 0 ] || { echo "repaired again: $repaired"; return 1; }
}
check "what was made, moved and removed from outside the capture is repaired by settle" from_outside

at_once() { # captured programs work in directories that nobody told of, without a settle in between
    local n
    for n in 1 2 3 4 5; do
        mkdir "$data/unknown.$n" "$work/unknown.$n" || return 1
        captured "$programs/rename" "$data/unknown.$n" "$work/unknown.$n" < /dev/null > /dev/null 2>&1 || return 1
        settled || return 1
    done
}
check "programs work at once in directories made from outside the capture" at_once

# ---------------------------------------------------------------- the comparison itself

comparison_sees() { # each kind of difference, planted into b from outside
    local b=$pair/b/data code=0 victim=names/-dash
    differs() {
        if equal_trees > "$work/differs" 2>&1; then echo "not seen: $1"; code=1; fi
        grep -q . "$work/compare" || { echo "not said: $1"; code=1; }
    }
    cp -p "$b/$victim" "$work/victim"
    dd if=/dev/zero of="$b/large/copy" bs=1 seek=2999999 count=1 conv=notrunc 2> /dev/null; touch -r "$data/large/copy" "$b/large/copy"; differs "one byte"
    cp -p "$data/large/copy" "$b/large/copy"
    chmod 600 "$b/$victim"; differs "a mode"; chmod 644 "$b/$victim"
    if [ "$(id -u)" = 0 ]; then chown 7:7 "$b/$victim"; differs "an owner"; chown 0:0 "$b/$victim"; fi
    touch "$b/$victim"; differs "a modification time"; touch -r "$data/$victim" "$b/$victim"
    mkdir "$b/names/more"; differs "a directory"; rmdir "$b/names/more"
    equal_trees || code=1
    return $code
}
goes_on() { until_true 60 field_is b data "up to date" && until_true 60 field_is a state primary && settled; }
check "the comparison sees one byte, a mode, an owner, a time, a name" unrepaired b comparison_sees
check "and the pair goes on" goes_on

# ---------------------------------------------------------------- the journal

closed_segment() { # the oldest closed segment of b: one that a later one follows
    local segments=("$pair"/b/node/journal/*.segment)
    [ ${#segments[@]} -ge 2 ] && echo "${segments[0]}"
}
journal_decodes() {
    local attempt=0 segment
    until segment=$(closed_segment); do
        attempt=$((attempt + 1))
        [ $attempt -le 20 ] || { echo "no segment was closed"; ls -l "$pair/b/node/journal"; return 1; }
        captured bash -e -c "head -c 4000000 /dev/urandom > '$data/noise.$attempt'; mv '$data/noise.$attempt' '$data/noise'; sync '$data/noise'" < /dev/null || return 1
    done
    cp "$segment" "$work/segment" || return 1
    lz4 -dc < "$work/segment" > "$work/decoded" || { echo "lz4: $?"; return 1; }
    "$records" "$(basename "$segment" .segment)" < "$work/decoded" || return 1
    # It can fail: one byte changed is noticed by lz4's own checksums.
    printf '\xff\x00\xff' | dd of="$work/segment" bs=1 seek=500000 conv=notrunc 2> /dev/null
    if lz4 -dc < "$work/segment" > "$work/decoded" 2> /dev/null && "$records" "$(basename "$segment" .segment)" < "$work/decoded" > /dev/null; then echo "a changed byte was not noticed"; return 1; fi
}
check "lz4 -dc decodes a closed journal segment; its records make sense" journal_decodes
check "no call was left to the guard" needs_no_guard
check "in the end the trees are equal" settled
finish_scenario
