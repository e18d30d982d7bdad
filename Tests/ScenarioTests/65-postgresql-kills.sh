#!/bin/bash
# PostgreSQL under pgbench with 8 clients. In each round one backend is killed (the server recovers in place), the load goes
# on, and the whole primary is killed; the other node takes over, and every transaction that was acknowledged since the
# first round is looked up. Then backends die at each labelled instruction of the preload library.
#
#   ROUNDS=50   kills of each kind; with CI=true always 3         SEED=n   the same choices again
. "$(dirname "$0")/pair.sh"
. "$here/postgresql.sh"

[ -x "$faults/lockstepd" ] || { echo "no build with planted faults in $faults"; echo "0 passed, 1 failed"; exit 1; }
product=$faults # its library has the labels
rounds=${ROUNDS:-50}
[ "${CI:-}" != true ] || rounds=3
seed=${SEED:-$((($(date +%s) * 31 + $$) % 1000000))}
RANDOM=$seed
echo "seed $seed, $rounds rounds"

moment() { read -r -t "0.0$((RANDOM % 90 + 10))" _ <> <(:); } # up to a tenth of a second
backend() { # one of the load's, while it is in a statement if one is
    sql "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY state = 'active' DESC, random() LIMIT 1"
}
recovered() { [ "$(grep -c 'ready to accept connections' "$work/server.log")" -gt "$1" ] && answers; }

backend_dies() {
    local ready victim
    start_load && until_true 60 committed $((50 + RANDOM % 150)) || { cat "$work/load" "$work/committed"; return 1; }
    ready=$(grep -c 'ready to accept connections' "$work/server.log")
    victim=$(backend) && moment
    kill -KILL "$victim" || return 1
    wait $bench # with the server's connections
    until_true 60 recovered "$ready" || { tail -n 20 "$work/server.log"; return 1; }
    grep -q "(PID $victim) was terminated by signal 9" "$work/server.log" || { echo "backend $victim was not what died"; return 1; }
    look_up
}
primary_dies() {
    start_load && until_true 60 committed $((50 + RANDOM % 150)) || { cat "$work/load" "$work/committed"; return 1; }
    moment
    kill_node $primary || return 1
    wait $bench
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    [ $primary = a ] && primary=b || primary=a
    start_server && look_up && amcheck
}
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 || { cat "$work/rejoin"; return 1; }; at_rest; }

up() { sandbox up "$pair" > "$work/up" 2>&1 && make_cluster && start_server && make_tables && at_rest || { cat "$work/up"; return 1; }; }
mend() { :; }
must() { # without it nothing that follows means anything
    local before=$failed
    check "$@"
    [ "$failed" = "$before" ] || finish_scenario
}
echo "none yet" > "$work/looked-up"
must "a pair with PostgreSQL" up
for round in $(seq "$rounds"); do
    must "round $round: a backend is killed" backend_dies
    must "round $round: the primary is killed, $(cat "$work/looked-up")" primary_dies
    must "round $round: the other comes back" comes_back
done
echo "after $rounds kills of backends and $rounds of the primary: $(cat "$work/looked-up")"

# ---------------------------------------------------------------- at labelled instructions

# A server that ends when one of its processes did: whoever comes first to a passage of the label.
server_ended() { ! kill -0 $server 2> /dev/null; }
dies_at() { # dies_at LABEL:PASSAGE
    local code=0
    : > "$work/server.log"
    owner=(env LOCKSTEP_FAULT="$1:kill" "${unprivileged[@]}")
    start_server -c restart_after_crash=off || code=1
    owner=("${unprivileged[@]}")
    [ $code = 0 ] && start_load || return 1
    until_true 60 server_ended || { echo "nobody came to $1"; return 1; }
    wait $bench $server
    grep -q 'was terminated by signal 9' "$work/server.log" || { tail -n 5 "$work/server.log"; return 1; }
    sandbox settle --timeout 20 "$pair" > "$work/settle" 2>&1 || { cat "$work/settle"; return 1; }
    equal_trees || return 1
    start_server && look_up && stop_server && settled
}
unprivileged=("${owner[@]}")
must "the server stops" stop_server
for label in reserve reserved published called done barrier-published barrier-waiting; do
    check "a process of the server dies at $label" dies_at $label:$((200 + RANDOM % 100))
done
end_pair "$pair"

# ---------------------------------------------------------------- the planted fault

# A barrier passes the intent of a dead process: nobody finds out what became of it.
caught() {
    local number
    for number in 1 2 3 4 5; do
        dies_at published:$((200 + RANDOM % 100)) > "$work/caught" 2>&1 || {
            grep -q 'lost$\|nobody came' "$work/caught" && { cat "$work/caught"; return 1; }
            echo "caught: $(head -n 1 "$work/caught")"
            return 0
        }
    done
    echo "not caught"
    return 1
}
pair=$work/dead-intents primary=a load=0
pairs+=("$pair")
rm -f "$logs"/*
export LOCKSTEP_DAEMON_FAULT=pass-dead-intents
must "a pair whose barriers pass intents of the dead" up
unset LOCKSTEP_DAEMON_FAULT
must "its server stops" stop_server
check "planted fault pass-dead-intents is caught" caught
grep '^caught' "$work/output"
finish_scenario
