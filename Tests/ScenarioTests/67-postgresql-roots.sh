#!/bin/bash
# PostgreSQL with its write-ahead log in a root of its own and a tablespace in a third, each at another path on the other
# node: its links lead there after a takeover, nothing that was acknowledged is missing, and the node that comes back has
# its own paths again. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
. "$here/postgresql.sh"

names=(data wal space)
paths_a=("$work/node-a/cluster" "$work/node-a/log" "$work/node-a/fast")
paths_b=("$work/b/deeper/base" "$work/b/wal" "$work/b/deeper/tables")
mkdir -p "$work/node-a" "$work/b/deeper"
root_path() { local -n paths=paths_$primary; echo "${paths[$1]}"; }
data() { echo "$(root_path 0)/pg"; }

equal_trees() { # all roots
    local code=0 i
    sandbox compare "$pair" > "$work/compare" 2>&1 || { code=1; head -n 30 "$work/compare"; }
    for i in 0 1 2; do listing "${paths_a[$i]}" "${paths_a[@]}"; done > "$work/listing.a"
    for i in 0 1 2; do listing "${paths_b[$i]}" "${paths_b[@]}"; done > "$work/listing.b"
    cmp -s "$work/listing.a" "$work/listing.b" || { code=1; echo "listings differ (< a, > b):"; diff -a "$work/listing.a" "$work/listing.b" | head -n 30; }
    return $code
}
leads() { # where PostgreSQL's links lead on the node that is primary
    local link
    [ "$(readlink "$(data)/pg_wal")" = "$(root_path 1)/pg_wal" ] || { echo "pg_wal: $(readlink "$(data)/pg_wal")"; return 1; }
    for link in "$(data)"/pg_tblspc/*; do
        case $(readlink "$link") in "$(root_path 2)/space" | "$(root_path 0)/inside") ;; *) echo "$link: $(readlink "$link")"; return 1 ;; esac
    done
    [ "$(ls "$(data)/pg_tblspc" | wc -l)" = 2 ]
}

makes() {
    local arguments=() i
    for i in 0 1 2; do arguments+=(--root "${names[$i]}=${paths_a[$i]},${paths_b[$i]}"); done
    sandbox up "$pair" "${arguments[@]}" > /dev/null || return 1
    captured install -d -m 700 "$(root_path 1)/pg_wal" "$(root_path 2)/space" "$(root_path 0)/inside" || return 1
    [ ${#owner[@]} = 0 ] || captured chown postgres:postgres "$(root_path 1)/pg_wal" "$(root_path 2)/space" "$(root_path 0)/inside" || return 1
    make_cluster --waldir="$(root_path 1)/pg_wal" && settled
}
check "initdb --waldir in a second root" makes
# The write-ahead log of CREATE TABLESPACE holds node a's path: once a checkpoint is behind it, recovery does not read it.
spaces() {
    start_server && sql "CREATE TABLESPACE fast LOCATION '$(root_path 2)/space'" && sql "CREATE TABLESPACE inside LOCATION '$(root_path 0)/inside'" &&
        sql "CREATE DATABASE moved TABLESPACE inside" && make_tables && sql "ALTER TABLE pgbench_accounts SET TABLESPACE fast" && sql "ALTER TABLE commits SET TABLESPACE fast" &&
        sql "CHECKPOINT" && at_rest && leads &&
        [ -n "$(ls "${paths_b[2]}"/space/*/*)" ]
}
check "tablespaces in a third root, and in the first" spaces

over() { # over FROM TO: killed under load, taken over, looked up, rejoined
    start_load && until_true 120 committed 300 && kill_node "$1" || return 1
    wait $bench 2> /dev/null
    sandbox takeover "$pair" > /dev/null || return 1
    primary=$2
    leads || return 1
    local before after
    before=$(ls -lR "$work/$3" | cksum)
    start_server && look_up && amcheck && sql "CHECKPOINT" || return 1
    after=$(ls -lR "$work/$3" | cksum)
    [ "$before" = "$after" ] || { echo "node $2 wrote into node $1's roots"; return 1; }
    sandbox rejoin "$pair" > /dev/null && at_rest
}
check "killed under load, node b takes over with its own paths; 0 lost; the other one returns" over a b node-a
check "and back" over b a b
ends() { sql "DROP DATABASE moved" && sql "DROP TABLESPACE inside" && at_rest && stop_server && settled && [ "$(field a linksOut)" = 0 ]; }
check "a tablespace is dropped; shut down, the trees are equal" ends
finish_scenario
