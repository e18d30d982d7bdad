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
socket_directory() { # another for each pair and node: the lock file of a killed server's socket stays
    local directory=$work/sockets-$(basename "$pair")-$primary
    [ -d "$directory" ] || { mkdir "$directory" && { [ ${#owner[@]} = 0 ] || chown postgres "$directory"; }; }
    echo "$directory"
}
connection() { echo --host="$(socket_directory)" --username=postgres; }

make_cluster() {
    captured install -d -m 700 "$(data)" && { [ ${#owner[@]} = 0 ] || captured chown postgres:postgres "$(data)"; } &&
        captured "${owner[@]}" "$bin/initdb" -D "$(data)" -U postgres -A trust -E UTF8 --locale=C "$@" > "$work/initdb" 2>&1 ||
        { tail -n 20 "$work/initdb"; return 1; }
}

answers() { [ "$(sql "SELECT 'here'" 2> /dev/null)" = here ]; }
start_server() {
    # It names a process of the other, dead server; here that number may be anybody's.
    captured rm -f "$(data)/postmaster.pid"
    captured "${owner[@]}" "$bin/postgres" -D "$(data)" -c listen_addresses= -c unix_socket_directories="$(socket_directory)" \
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
    # shellcheck disable=SC2046 # words
    "$bin/psql" -XqAt -v ON_ERROR_STOP=1 $(connection) -d "$database" -c "$1"
}
bench() { # pgbench with options
    # shellcheck disable=SC2046
    "$bin/pgbench" $(connection) "$@" "$database" > "$work/pgbench" 2>&1 || { tail -n 20 "$work/pgbench"; return 1; }
}
amcheck() {
    # shellcheck disable=SC2046
    "$bin/pg_amcheck" $(connection) --all --install-missing --heapallindexed --jobs=2 > "$work/amcheck" 2>&1 ||
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
