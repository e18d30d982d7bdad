#!/bin/bash
# The demo with servers: PostgreSQL under pgbench, and Redis. That it passes, and that lost, changed and damaged data is
# told when it is there.
#
#   DEMO_RUNS=N   how often each must pass, 2 by default
. "$(dirname "$0")/pair.sh"
. "$here/demo.sh"

ask_postgresql() { # ask_postgresql DEMO-DIRECTORY STATEMENT
    psql -XqAt -h "$1/sockets-a" -U postgres -c "$2" postgres
}

# One row less, another with another text, and a branch with a balance that no transaction made.
postgresql_rows() {
    spoil() {
        ask_postgresql "$2" "DELETE FROM commits WHERE (client, n) = (0, 1)"
        ask_postgresql "$2" "UPDATE commits SET text = 'another' WHERE (client, n) = (1, 1)"
        ask_postgresql "$2" "UPDATE pgbench_branches SET bbalance = bbalance + 1"
    }
    spoiled --app postgresql --json --seconds 4 || return 1
    grep -q '"lost":2,' "$work/demo" && grep -q '"tailUnexplained":0,' "$work/demo" &&
        grep -q '"integrity":"sums of accounts, tellers, branches and history differ: ' "$work/demo"
}

# On the secondary only, in an index that neither the load nor the start of the server touches.
postgresql_index() {
    local file=
    spoil() {
        file=$(ask_postgresql "$2" "SELECT pg_relation_filepath('pg_description_o_c_o_index')")
        dd if=/dev/zero of="$1/postgresql/$file" bs=1 seek=$((10 * 8192 + 4096)) count=3000 conv=notrunc status=none
    }
    spoiled --app postgresql --seconds 4 || return 1
    grep -qx "unexplained: postgresql/$file: 4 KiB at $((10 * 8192 + 4096))" "$work/demo.err" &&
        grep -q '^lost  *0$' "$work/demo" && grep -q '^integrity check .*pg_description_o_c_o_index.*pg_amcheck: code 2' "$work/demo"
}

redis_keys() {
    spoil() {
        redis-cli -s "$2/redis.socket" DEL commit:1:1
        redis-cli -s "$2/redis.socket" SET commit:2:1 another
    } > /dev/null
    spoiled --app redis --json --seconds 2 || return 1
    grep -q '"lost":2,' "$work/demo" && grep -q '"tailUnexplained":0,' "$work/demo" && grep -q '"integrity":"ok"' "$work/demo"
}

# Both are told by the package's name, and no directory is made.
without_redis() {
    mkdir -p "$work/none"
    expect 127 '^lockstep: redis-server: it is not installed; apt-get install redis-server$' \
        env "PATH=$work/none" "$product/lockstep" demo --app redis
}
without_postgresql() {
    expect 127 '^lockstep: PostgreSQL 14 or later: it is not installed; apt-get install postgresql-15$' \
        unshare -m sh -c "mount -t tmpfs none /usr/lib/postgresql && exec '$product/lockstep' demo --app postgresql"
}
nothing_left() {
    ! ls -d "$work"/lockstep-demo-* 2> /dev/null || return 1
    diff <(ls /dev/shm | grep '^PostgreSQL') "$work/shm" && diff <(ipcs -m) "$work/ipcs"
}

ls /dev/shm | grep '^PostgreSQL' > "$work/shm"
ipcs -m > "$work/ipcs"
for app in postgresql redis; do
    for run in $(seq 1 "${DEMO_RUNS:-2}"); do check "the demo with $app passes, run $run" passes --app $app --seconds 4; done
done
check "it leaves neither files nor shared memory" nothing_left
check "PostgreSQL: a missing row, a changed one and a wrong balance fail the demo" postgresql_rows
check "PostgreSQL: a damaged index on the secondary fails the demo" postgresql_index
check "Redis: a missing and a changed key fail the demo" redis_keys
check "without Redis it names the package" without_redis
if unshare -m true 2> /dev/null; then
    check "without PostgreSQL it names the package" without_postgresql
else
    skip "without PostgreSQL it names the package" "needs root"
fi
finish_scenario
