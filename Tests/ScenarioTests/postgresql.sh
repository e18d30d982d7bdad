# Sourced after pair.sh: one PostgreSQL server on the pair's primary, captured.
#
#   make_cluster [OPTION...]     initdb in the primary's tree
#   start_server [OPTION...]     returns when it answers; options as for postgres, -c NAME=VALUE
#   stop_server [SIGNAL]         INT (fast shutdown) by default
#   sql STATEMENT                on stdout its rows, columns separated by |; database in $database
#   at_rest                      settles and compares until what the server wrote in between is over, 60 s at most
#   kill_node NODE               SIGKILL of everything of the node, and its shared memory removed
primary=a
database=postgres
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -n 1)
[ -x "$bin/postgres" ] || { echo "PostgreSQL is not installed: apt-get install postgresql-15"; echo "0 passed, 1 failed"; exit 1; }
# PostgreSQL refuses to be root.
owner=()
[ "$(id -u)" != 0 ] || owner=(setpriv --reuid=postgres --regid=postgres --init-groups --)
cd "$work" || exit 1

data() { echo "$pair/$primary/data/pg"; }
sockets=$work/sockets
mkdir "$sockets"
[ ${#owner[@]} = 0 ] || chown postgres "$sockets"
connection=(--host="$sockets" --username=postgres)

make_cluster() {
    captured install -d -m 700 "$(data)" && { [ ${#owner[@]} = 0 ] || captured chown postgres:postgres "$(data)"; } &&
        captured "${owner[@]}" "$bin/initdb" -D "$(data)" -U postgres -A trust -E UTF8 --locale=C "$@" > "$work/initdb" 2>&1 ||
        { tail -n 20 "$work/initdb"; return 1; }
}

answers() { [ "$(sql "SELECT 'here'" 2> /dev/null)" = here ]; }
start_server() {
    # They name a process of a dead server, and that number may be anybody's by now.
    captured rm -f "$(data)/postmaster.pid"
    rm -f "$sockets"/.s.PGSQL.*
    captured "${owner[@]}" "$bin/postgres" -D "$(data)" -c listen_addresses= -c unix_socket_directories="$sockets" \
        "$@" < /dev/null >> "$work/server.log" 2>&1 &
    server=$!
    until_true 120 answers_or_ended && answers || { tail -n 20 "$work/server.log"; return 1; }
}
answers_or_ended() { answers || ! kill -0 $server 2> /dev/null; }

postmaster() { head -n 1 "$(data)/postmaster.pid"; }
stop_server() {
    kill -"${1:-INT}" "$(postmaster)" && wait $server || { tail -n 20 "$work/server.log"; return 1; }
}
sql() {
    "$bin/psql" -XqAt -v ON_ERROR_STOP=1 "${connection[@]}" -d "$database" -c "$1"
}
bench() { # pgbench with options
    "$bin/pgbench" "${connection[@]}" "$@" "$database" > "$work/pgbench" 2>&1 || { tail -n 20 "$work/pgbench"; return 1; }
}
amcheck() {
    "$bin/pg_amcheck" "${connection[@]}" --all --install-missing --heapallindexed --jobs=2 > "$work/amcheck" 2>&1 ||
        { echo "pg_amcheck:"; head -n 20 "$work/amcheck"; return 1; }
}

at_rest() {
    local deadline=$((SECONDS + 60))
    until settled > "$work/at-rest" 2>&1; do
        [ $SECONDS -lt $deadline ] || { cat "$work/at-rest"; return 1; }
    done
}

# Only a server on the same directory would remove the shared memory of a killed one.
kill_node() {
    local leader segment files process code=0
    leader=$(postmaster)
    segment=$(sed -n '7s/.* //p' "$(data)/postmaster.pid")
    files=$(for process in "$leader" $(cat "/proc/$leader/task/$leader/children"); do
        grep -o '/dev/shm/PostgreSQL\.[0-9]*' "/proc/$process/maps"; done 2> /dev/null | sort -u)
    sandbox kill "$pair" "$1" > "$work/kill" 2>&1 || { cat "$work/kill"; code=1; }
    [ -z "$segment" ] || ipcrm -m "$segment"
    # shellcheck disable=SC2086 # a list of names without blanks
    rm -f $files
    wait $server 2> /dev/null
    return $code
}

# ---------------------------------------------------------------- a load whose acknowledgements are known

# pgbench's own transaction, and a row that tells which one it was; pgbench logs it when its COMMIT has returned.
logs=$work/logs load=0 clients=8
mkdir -p "$logs"
cat > "$work/transaction" << 'END'
\set n :n + 1
\set aid random(1, 100000)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
INSERT INTO commits VALUES (:load, :client_id, :n, repeat(md5(:load || '/' || :client_id || '/' || :n), 8));
END;
END

make_tables() {
    bench -i -q && sql "CREATE TABLE commits (load integer, client integer, n integer, text text, PRIMARY KEY (load, client, n))"
}
start_load() { # in the background, until the server ends; its number is $load
    load=$((load + 1))
    "$bin/pgbench" "${connection[@]}" -n -c $clients -j 2 -T 100000 -D n=0 -D load=$load -l --log-prefix="$logs/$load" -f "$work/transaction" \
        "$database" > "$work/load" 2>&1 &
    bench=$!
}
committed() { [ "$(sql "SELECT count(*) FROM commits WHERE load = $load" 2> "$work/committed")" -ge "$1" ]; }

# Every transaction that was ever logged is there, as it was written, and all of them are whole.
look_up() {
    local lost sums
    awk '{ name = FILENAME; sub(".*/", "", name); sub("[.].*", "", name); print name "|" $1 "|" $2 }' "$logs"/* | sort > "$work/logged"
    sql "SELECT load, client, n FROM commits WHERE text = repeat(md5(load || '/' || client || '/' || n), 8)" | sort > "$work/found"
    lost=$(comm -23 "$work/logged" "$work/found" | wc -l)
    sums=$(sql "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND
        (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches) AND
        (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)")
    echo "$(wc -l < "$work/logged") acknowledged, $lost lost" | tee "$work/looked-up"
    [ "$lost" = 0 ] || { comm -23 "$work/logged" "$work/found" | head -n 5; return 1; }
    [ "$sums" = t ] || { echo "the sums of the balances differ"; return 1; }
}
