#!/bin/bash
# Several roots, at other paths on node a than on node b, in one order; links from one root into another, which lead to
# the same place on both nodes; links and mounts that lead out of all roots. With the mapping of links switched off
# (planted fault) the comparison must find them. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

a=$work/node-a b=$work/elsewhere/node-b # roots: data, write-ahead log
mkdir -p "$a" "$b/deeper" "$work/listed" "$work/unlisted"
a_data=$a/cluster a_wal=$a/wal b_data=$b/deeper/base b_wal=$b/log
two_roots=$(program two_roots)
root() { [ "$(id -u)" = 0 ]; }

up_pair() { sandbox up "$pair" --root "data=$a_data,$b_data" --root "wal=$a_wal,$b_wal" "$@"; }

equal_trees() { # instead of that of one root: both roots, by the product and by a listing of our own
    local code=0
    sandbox compare "$pair" > "$work/compare" 2>&1 || { code=1; head -n 30 "$work/compare"; }
    { listing "$a_data" "$a_data" "$a_wal"; listing "$a_wal" "$a_data" "$a_wal"; } > "$work/listing.a"
    { listing "$b_data" "$b_data" "$b_wal"; listing "$b_wal" "$b_data" "$b_wal"; } > "$work/listing.b"
    # Relative links that leave their root are absolute on the other node, at the place where they end.
    sed -i -e 's|^\(relative l .* \)\.\./cluster/spc$|\1@0/spc|' -e 's|^\(d/in l .* \)\.\./\.\./wal/relative$|\1@0/spc|' "$work/listing.a"
    cmp -s "$work/listing.a" "$work/listing.b" || { code=1; echo "listings differ (< a, > b):"; diff -a "$work/listing.a" "$work/listing.b" | head -n 30; }
    return $code
}
leads_to() { [ "$(readlink "$1")" = "$2" ] || { echo "$1 leads to $(readlink "$1"), not to $2"; return 1; }; }

# ---------------------------------------------------------------- what can't be

apart() { # apart PATTERN ROOT...: refused with 64 before anything is made
    local pattern=$1 root arguments=()
    for root in "${@:2}"; do arguments+=(--root "$root"); done
    expect 64 "$pattern" lockstep sandbox up "$work/refused" "${arguments[@]}" && [ ! -e "$work/refused" ] && [ ! -e "$work/x" ] || return 1
}
impossible() {
    apart "NAME=A_PATH,B_PATH" "data" && apart "NAME=A_PATH,B_PATH" "data=$work/x" && apart "NAME=A_PATH,B_PATH" "=$work/x,$work/y" &&
        apart "NAME=A_PATH,B_PATH" "data=$work/x,$work/y,$work/z" && apart "'relative' is not an absolute path" "data=$work/x,relative" &&
        apart "another one with that name" "data=$work/x,$work/y" "data=$work/z,$work/w" &&
        apart "at most 8" $(for n in 1 2 3 4 5 6 7 8 9; do echo "r$n=$work/x,$work/y"; done) &&
        apart "are the same directory" "data=$work/x,$work/x" && apart "are the same directory" "data=$work/x,$work/y" "wal=$work/z,$work/./listed/../x" &&
        apart "lies in root data of node a" "data=$work/listed,$work/y" "wal=$work/listed/wal,$work/z" &&
        apart "lies in root wal of node b" "data=$work/listed/in,$work/y" "wal=$work/z,$work/listed" &&
        apart "the directory of node a, .*, lies in root data of node b" "data=/usr,$work" &&
        mkdir -p "$work/held/a/node/in" && expect 64 "lies in the directory of node a" lockstep sandbox up "$work/held" --root "data=$work/held/a/node/in,$work/y" || return 1
    ln -s "$work/listed" "$work/alias"
    apart "are the same directory" "data=$work/listed,$work/y" "wal=$work/z,$work/alias" || return 1
    echo x > "$work/file"
    expect 73 'not a directory' lockstep sandbox up "$work/refused" --root "data=$work/file,$work/y" &&
        expect 66 'the directory above it is missing' lockstep sandbox up "$work/refused" --root "data=$work/x,$work/missing/y" && [ ! -e "$work/refused" ] || return 1
    mkdir "$work/full" && echo x > "$work/full/file" && expect 77 'holds data that no sandbox put there' lockstep sandbox up "$work/refused" --root "data=$work/x,$work/full" || return 1
    lines=3 expect 64 'not an absolute path' lockstep sandbox up "$work/refused" --outside relative
}
check "roots that are relative, equal, one in another, no directories, too many: 64, 66, 73, 77" impossible

bound_twice() { # one directory under two paths, and a root beneath the other by another path
    mkdir -p "$work/m/data/sub" "$work/m/same" "$work/m/beneath" "$work/m/b1" "$work/m/b2" || return 1
    lines=1 expect 64 'are the same directory' unshare -m sh -c 'mount --bind "$1/data" "$1/same" && exec "$2" sandbox up "$1/pair" --root "data=$1/data,$1/b1" --root "wal=$1/same,$1/b2"' sh "$work/m" "$product/lockstep" &&
        lines=1 expect 64 'root wal of node a, .*, lies in root data of node a' unshare -m sh -c 'mount --bind "$1/data/sub" "$1/beneath" && exec "$2" sandbox up "$1/pair" --root "data=$1/data,$1/b1" --root "wal=$1/beneath,$1/b2"' sh "$work/m" "$product/lockstep"
}
if root && unshare -m true 2> /dev/null; then check "roots that are the same directory by a bind mount: 64" bound_twice; else skip "roots by a bind mount" "needs root"; fi

# ---------------------------------------------------------------- links that lead out, at the start

mkdir -p "$a_data/spc" "$a_wal"
ln -s "$a_wal" "$a_data/pg_wal" && ln -s "$a_data/spc" "$a_data/tablespace" && ln -s ../cluster/spc "$a_wal/relative" && ln -s "$work/listed/there" "$a_data/to-listed"
echo first > "$a_wal/000001"; echo row > "$a_data/spc/16384"

leads_out() {
    ln -s "$work/unlisted/x" "$a_data/spc/out" && ln -s ../../../unlisted "$a_wal/out" && ln -s "$b_wal" "$a_data/to-the-other-node" || return 1
    lines=5 expect 78 'lead out of the tree' up_pair || return 1
    for link in "spc/out -> $work/unlisted/x" "wal/out -> ../../../unlisted" "to-the-other-node -> $b_wal" "to-listed -> $work/listed/there"; do
        grep -qF -- "$link" "$work/expect.err" || { echo "not listed: $link"; cat "$work/expect.err"; return 1; }
    done
    # What is listed is no error; the rest still is.
    lines=4 expect 78 'lead out of the tree' up_pair --outside "$work/listed" || return 1
    expect 78 "symbolic links lead out.*to-the-other-node -> $b_wal" "$product/lockstepd" --directory "$pair/a/node" --node a --module m --role primary --root "data=$a_data" --root "wal=$a_wal" --outside "$work/listed" --listen 127.0.0.1:1 --peer 127.0.0.1:2 &&
        ! grep -q to-listed "$work/expect.err" || { cat "$work/expect.err"; return 1; }
    rm "$a_data/spc/out" "$a_wal/out" "$a_data/to-the-other-node"
}
check "links that lead out of all roots: 78, all of them named, those under --outside not" leads_out

mounts_out() {
    mkdir "$a_data/mounted" || return 1
    up_mounted() { unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$work/unlisted" "$a_data/mounted" "$product/lockstep" sandbox up "$work/mounts" \
        --root "data=$a_data,$work/mounts-b" --outside "$work/listed" --outside "$a_wal" "$@"; }
    lines=2 expect 78 'lead out of the tree' up_mounted && grep -q "$a_data/mounted: a mount point" "$work/expect.err" || return 1
    echo outside > "$work/unlisted/file"
    pairs+=("$work/mounts")
    up_mounted --outside "$a_data/mounted" || return 1
    sandbox compare "$work/mounts" && [ -e "$work/mounts-b/spc/16384" ] && [ ! -e "$work/mounts-b/mounted" ] || return 1
    sandbox down "$work/mounts" > /dev/null
    rm -r "$a_data/mounted"
}
if root && unshare -m true 2> /dev/null; then check "a mount in a root: 78, unless it is under --outside" mounts_out; else skip "a mount in a root" "needs root"; fi

# ---------------------------------------------------------------- a pair with two roots

first_copy() {
    up_pair --outside "$work/listed" > "$work/up" || return 1
    [ "$(sort "$work/up")" = "a primary   $a_data
a primary   $a_wal
b secondary $b_data
b secondary $b_wal" ] || { cat "$work/up"; return 1; }
    leads_to "$b_data/pg_wal" "$b_wal" && leads_to "$b_data/tablespace" "$b_data/spc" && leads_to "$b_wal/relative" "$b_data/spc" &&
        leads_to "$b_data/to-listed" "$work/listed/there" && [ "$(cat "$b_data/pg_wal/000001" "$b_wal/relative/16384")" = "first
row" ] && settled && expect 0 '' lockstep sandbox status "$pair"
}
check "the first copy brings both roots, and links lead into node b's own" first_copy

load() { # files, databases and names in both roots at once, through links too
    local pids=() who code=0 tree
    for tree in "$1" "$2"; do
        captured sqlite3 -bail "$tree/$3.db" "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (n, x);
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 200) INSERT INTO t SELECT x, randomblob(500) FROM n; UPDATE t SET x = randomblob(700) WHERE n % 3 = 0;" > /dev/null &
        pids+=($!)
    done
    captured bash -e -u -c "cd '$1'; mkdir $3; for i in \$(seq 60); do echo \$i >> pg_wal/segment-$3; head -c 9000 /dev/urandom > $3/f\$i; ln -s '$2'/segment-$3 $3/l\$i; mv -T $3/f\$i pg_wal/g-$3-\$i; mv $3/l\$i pg_wal/l-$3-\$i; sync pg_wal/g-$3-\$i; done
        ln -s '$2' $3/whole; ln -s '$1'/./$3/ $3/self; ln -s ../pg_wal/segment-$3 $3/by-link; rm pg_wal/g-$3-7; echo by link > $3/whole/through-$3; mv $3 $3.moved; mv $3.moved/self $3.moved/self2" < /dev/null &
    pids+=($!)
    for who in "${pids[@]}"; do wait "$who" || code=1; done
    return $code
}
load_a() { load "$a_data" "$a_wal" one && settled && leads_to "$b_wal/l-one-60" "$b_wal/segment-one" && leads_to "$b_data/one.moved/self2" "$b_data/./one/" && leads_to "$b_data/one.moved/whole" "$b_wal"; }
check "load in both roots at once, with links made meanwhile, and files moved from one root into the other" load_a

across() { # between two roots, as between two mounts; on the other node they may be on two file systems
    captured python3 -c "
import errno, os
for call in (os.rename, os.link):
    try: call('$a_wal/000001', '$a_data/moved')
    except OSError as e: print(call.__name__, errno.errorcode[e.errno])
    else: print(call.__name__, 'done')" > "$work/across" 2> "$work/across.err" < /dev/null || return 1
    grep -qx 'rename EXDEV' "$work/across" && ! grep -q done "$work/across" && [ -e "$a_wal/000001" ] && [ ! -e "$a_data/moved" ] || { cat "$work/across"; return 1; }
    captured mv "$a_wal/000001" "$a_data/moved" < /dev/null && settled && [ "$(cat "$b_data/moved")" = first ]
}
check "a rename from one root into another is answered with EXDEV, and mv copies" across

# ---------------------------------------------------------------- a link that is made while running

links_out_are() { # links_out_are NUMBER EXIT_CODE
    [ "$(field a linksOut)" = "$1" ] || { echo "linksOut: $(field a linksOut)"; return 1; }
    expect "$2" '' lockstep sandbox status "$pair"
}
while_running() {
    links_out_are 0 0 || return 1
    captured sh -c "cd '$a_data'; ln -s '$work/unlisted' out; mkdir d; ln -s ../../wal/relative d/in; ln -s '$work/listed' fine" < /dev/null && settled && links_out_are 1 1 &&
        grep -qF "$a_data/out -> $work/unlisted" "$work/expect.out" && grep -qF "leads out of the replicated roots: $a_data/out -> $work/unlisted" "$pair/a/node/lockstepd.log" || { cat "$work/expect.out"; return 1; }
    # One that leads out once it is moved; one that was made outside the capture; and all of them after a restart.
    captured sh -c "cd '$a_data'; ln -s ../spc d/up; mv d/up up" < /dev/null && links_out_are 2 1 || return 1
    ln -s /nowhere "$a_wal/uncaptured" && settled && links_out_are 3 1 || return 1
    sandbox kill "$pair" a --what daemon > /dev/null && until_true 60 field_is a state primary && links_out_are 3 1 || return 1
    captured rm "$a_data/out" "$a_data/up" "$a_wal/uncaptured" < /dev/null && settled && links_out_are 0 0
}
check "a link out of the roots that is made while running is logged, counted, and the status says 1" while_running

# ---------------------------------------------------------------- one order; takeover, rejoin, and back

number() { od -An -t u8 "$1" | tr -d ' '; }
one_order() { # killed in the middle of alternating writes: what b has is a moment of a's order
    captured "$two_roots" "$a_data" "$a_wal" > "$work/said" 2> "$work/two_roots" < /dev/null &
    local process=$! one two said
    until_true 60 grep -qx 300 "$work/said" || return 1
    sandbox kill "$pair" a > /dev/null || return 1
    wait $process
    sandbox takeover "$pair" > /dev/null || return 1
    one=$(number "$b_data/counter") two=$(number "$b_wal/counter") said=$(tail -n 1 "$work/said")
    echo "a: $one, b: $two, said: $said"
    [ "$one" = "$two" ] || [ "$one" = $((two + 1)) ] || return 1
    [ "$two" -ge "$said" ]
}
check "killed between writes into two roots: the other node has a moment of their one order, and what was said" one_order
load_b() {
    local before
    before=$(ls -R "$a" | cksum)
    load "$b_data" "$b_wal" two || return 1
    [ "$before" = "$(ls -R "$a" | cksum)" ] || { echo "node b wrote into node a's roots"; return 1; }
    leads_to "$b_data/pg_wal" "$b_wal"
}
check "after the takeover node b works in its own roots, through the links too" load_b
rejoin() {
    sandbox rejoin "$pair" > /dev/null && settled && leads_to "$a_data/pg_wal" "$a_wal" && leads_to "$a_wal/l-two-3" "$a_wal/segment-two" && leads_to "$a_data/tablespace" "$a_data/spc"
}
check "the rejoin maps the links back" rejoin
back() { # and a takes over again
    sandbox kill "$pair" b > /dev/null && sandbox takeover "$pair" > /dev/null && load "$a_data" "$a_wal" three && sandbox rejoin "$pair" > /dev/null && settled && leads_to "$b_data/pg_wal" "$b_wal"
}
check "and back again" back
again() { # down and up: the roots are remembered, others are refused
    sandbox down "$pair" > /dev/null && expect 77 'it is a sandbox with other roots' lockstep sandbox up "$pair" --root "data=$a_wal,$b_wal" && sandbox up "$pair" > "$work/up" && grep -q "b secondary $b_wal" "$work/up" && settled
}
check "down and up remembers the roots, and refuses others" again

# ---------------------------------------------------------------- the comparison itself

sees() { # each planted into b from outside
    local code=0
    differs() {
        if sandbox compare "$pair" > "$work/differs" 2>&1; then echo "not seen: $1"; code=1; fi
        grep -q "$2" "$work/differs" || { echo "not said: $1"; cat "$work/differs"; code=1; }
        ! equal_trees > /dev/null || { echo "the listing does not see: $1"; code=1; }
    }
    ln -sfn "$a_wal" "$b_data/pg_wal"; differs "a link to the other node's root" '^data: pg_wal: a link to'
    ln -sfn "$b_data" "$b_data/pg_wal"; differs "a link to another root" '^data: pg_wal: a link to'
    ln -sfn "$b_wal/" "$b_data/pg_wal"; differs "a link with other words" '^data: pg_wal: a link to'
    ln -sfn "$b_wal" "$b_data/pg_wal"
    cp -p "$b_wal/segment-two" "$work/segment"; echo more >> "$b_wal/segment-two"; differs "bytes in the second root" '^wal: segment-two: '; cp -p "$work/segment" "$b_wal/segment-two"
    equal_trees || code=1
    return $code
}
check "the comparison sees links that lead elsewhere, and the second root" unrepaired b sees
sandbox down "$pair" > /dev/null

unmapped() { # the same as the first copy, with the mapping switched off
    [ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; return 1; }
    local product=$faults pair=$work/unmapped code=0
    pairs+=("$pair")
    mkdir -p "$work/u/a" "$work/u/aw" && ln -s "$work/u/aw" "$work/u/a/pg_wal" || return 1
    LOCKSTEP_DAEMON_FAULT=links-unmapped lockstep sandbox up "$pair" --root "data=$work/u/a,$work/u/b" --root "wal=$work/u/aw,$work/u/bw" > /dev/null || return 1
    sandbox compare "$pair" > "$work/unmapped.out" || code=$?
    [ $code = 1 ] && grep -q '^data: pg_wal: a link to' "$work/unmapped.out" || { echo "exit code $code"; cat "$work/unmapped.out"; return 1; }
}
check "control: without the mapping of links the comparison finds them" unmapped
finish_scenario
