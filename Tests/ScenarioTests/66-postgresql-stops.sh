#!/bin/bash
# One backend of PostgreSQL stands still, by SIGSTOP or under a debugger: idle in a transaction, or at each labelled
# instruction of a captured write to a temporary file. The others go on committing, and what they committed survives
# the node's death. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
. "$here/postgresql.sh"

[ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; echo "0 passed, 1 failed"; exit 1; }
product=$faults # its library has the labels
unprivileged=("${owner[@]}")

state_of() { sed "s/.*) //; s/ .*//" "/proc/$1/stat" 2> /dev/null; } # T: stopped, t: under a debugger
stands() { [ "$(state_of "$1")" = "$2" ]; }

# Connections of their own for each transaction: their processes come to few passages each.
others_commit() {
    local before after
    before=$(sql "SELECT count(*) FROM pgbench_history")
    # shellcheck disable=SC2086 # options
    timeout 120 "$bin/pgbench" "${connection[@]}" -n ${1:-} -c 4 -j 2 -t 25 "$database" > "$work/pgbench" 2>&1 || { echo "the others don't commit"; cat "$work/pgbench"; return 1; }
    after=$(sql "SELECT count(*) FROM pgbench_history")
    [ "$after" = $((before + 100)) ] || { echo "$before transactions before, $after after"; return 1; }
}

# A session whose statements come through descriptor 7; its backend is $backend.
open_session() {
    rm -f "$work/statements" "$work/session"
    mkfifo "$work/statements"
    "$bin/psql" -XqAt "${connection[@]}" -d "$database" < "$work/statements" > "$work/session" 2>&1 7>&- &
    session=$!
    exec 7> "$work/statements"
    echo "SELECT pg_backend_pid();" >&7
    until_true 60 test -s "$work/session" || return 1
    backend=$(head -n 1 "$work/session")
}
end_session() { # end_session STATEMENT
    echo "$1" >&7
    exec 7>&-
    wait $session || { cat "$work/session"; return 1; }
}

debug() { # debug PID: gdb holds it until `release`
    rm -f "$work/hold"
    mkfifo "$work/hold"
    gdb -nx -q -batch -p "$1" -ex 'shell cat "$HOLD" > /dev/null' -ex detach < /dev/null > "$work/gdb" 2>&1 7>&- &
    debugger=$!
    exec 8> "$work/hold"
    until_true 60 stands "$1" t || { cat "$work/gdb"; return 1; }
}
release() {
    exec 8>&-
    wait $debugger || { cat "$work/gdb"; return 1; }
}
export HOLD=$work/hold

# ---------------------------------------------------------------- idle in a transaction

idle() { # idle HOW: a transaction that has written stands between two statements
    local code=0
    open_session && echo "BEGIN; INSERT INTO notes VALUES ('$1'); SELECT 'written';" >&7 &&
        until_true 60 grep -qx written "$work/session" || { cat "$work/session"; return 1; }
    if [ "$1" = stop ]; then kill -STOP "$backend" && until_true 10 stands "$backend" T; else debug "$backend"; fi || return 1
    others_commit && at_rest || code=1
    if [ "$1" = stop ]; then kill -CONT "$backend"; else release; fi || code=1
    end_session "COMMIT;" && [ "$(sql "SELECT count(*) FROM notes WHERE how = '$1'")" = 1 ] && at_rest || code=1
    return $code
}

# ---------------------------------------------------------------- inside a captured write

sorted="SELECT count(*) FROM (SELECT aid FROM pgbench_accounts ORDER BY filler, aid OFFSET 1) sorted"
temporary_file_of() { ls -l "/proc/$1/fd" | grep -q 'base/pgsql_tmp/'; }

# The session sorts, and comes to the passage in a write to its temporary file long before any other process comes so far.
inside() { # inside LABEL HOW
    local code=0
    open_session || return 1
    echo "SET work_mem = '64kB'; SET max_parallel_workers_per_gather = 0; $sorted;" >&7
    until_true 60 stands "$backend" T || { echo "the session did not come to $1"; cat "$work/session"; return 1; }
    temporary_file_of "$backend" || { echo "it has no temporary file"; return 1; }
    if [ "$2" = gdb ]; then debug "$backend" || return 1; fi
    others_commit -C || code=1
    if [ "$2" = gdb ]; then release || code=1; fi
    kill -CONT "$backend"
    end_session "" && [ "$(tail -n 1 "$work/session")" = 99999 ] && at_rest || { cat "$work/session"; code=1; }
    return $code
}
# The node dies while the session stands; what the others were told is there.
inside_and_dies() {
    local before code=0
    open_session || return 1
    echo "SET work_mem = '64kB'; SET max_parallel_workers_per_gather = 0; $sorted;" >&7
    until_true 60 stands "$backend" T || { echo "the session did not come there"; return 1; }
    others_commit -C || code=1
    before=$(sql "SELECT count(*), sum(delta) FROM pgbench_history")
    kill_node a && exec 7>&- && sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    wait $session
    primary=b owner=("${unprivileged[@]}")
    start_server && [ "$(sql "SELECT count(*), sum(delta) FROM pgbench_history")" = "$before" ] && amcheck || code=1
    return $code
}
# A server whose processes stop at their 150th passage of the label. It ends without the checkpoint of an orderly
# shutdown, and another one recovers: those two would come so far.
with_label() {
    stop_server QUIT && owner=("${unprivileged[@]}") && start_server && stop_server || return 1
    owner=(env LOCKSTEP_FAULT="$1:150:stop" "${unprivileged[@]}")
    start_server -c autovacuum=off
}

up() {
    sandbox up "$pair" > "$work/up" 2>&1 && make_cluster && start_server && bench -i -q && sql "CREATE TABLE notes (how text)" && sql CHECKPOINT &&
        at_rest || { cat "$work/up"; return 1; }
}
mend() { :; }
check "a pair with PostgreSQL" up
[ "$failed" = 0 ] || finish_scenario
check "a backend that is idle in a transaction is stopped: the others commit" idle stop
check "gdb is attached to a backend that is idle in a transaction: the others commit" idle gdb
for label in reserve reserved published called done; do
    check "a server whose sorting backend will stop at $label" with_label $label
    check "a backend stands in a write to a temporary file, at $label: the others commit" inside $label stop
    check "the same, and gdb attached to it" inside $label gdb
done
check "a server whose sorting backend will stop at published" with_label published
check "the primary dies while a backend stands at published: what the others committed is there" inside_and_dies
finish_scenario
