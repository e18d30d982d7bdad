#!/bin/bash
# PostgreSQL, captured: after each thing that it does to files the trees are equal, and what it says of itself on the
# other node is sound. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
. "$here/postgresql.sh"

is() { [ "$1" = "$2" ] || { echo "$1, expected $2"; return 1; }; }

# ---------------------------------------------------------------- the default server

initdb_is_equal() { make_cluster && settled; }
starts() { start_server -c log_destination=stderr -c logging_collector=on -c log_directory=log -c log_statement=ddl \
    -c max_prepared_transactions=10 -c work_mem=64kB -c temp_file_limit=-1 -c log_temp_files=0 -c wal_level=logical; }

loads() { bench -i -s 2 -q && at_rest; }
transactions() { bench -c "$1" -j 2 -t "$2" && grep -q "^number of failed transactions: 0 " "$work/pgbench" && at_rest; }

ddl() {
    sql "CREATE SCHEMA s; CREATE TABLE s.t (id serial PRIMARY KEY, a text, b jsonb) WITH (fillfactor = 70)" &&
        sql "INSERT INTO s.t (a, b) SELECT md5(i::text), json_build_object('i', i, 'x', repeat(md5(i::text), 200)) FROM generate_series(1, 3000) i" &&
        sql "CREATE INDEX CONCURRENTLY t_a ON s.t (a)" && sql "CREATE INDEX t_b ON s.t USING gin (b jsonb_path_ops)" &&
        sql "ALTER TABLE s.t ALTER COLUMN a TYPE varchar(64), ADD COLUMN c int DEFAULT 7" && sql "ALTER TABLE s.t SET UNLOGGED" &&
        sql "ALTER TABLE s.t SET LOGGED" && sql "CREATE MATERIALIZED VIEW s.v AS SELECT a, count(*) FROM s.t GROUP BY a" &&
        sql "REFRESH MATERIALIZED VIEW s.v" && sql "CLUSTER s.t USING t_a" && sql "REINDEX TABLE s.t" &&
        sql "CREATE TABLE s.part (k int, v text) PARTITION BY RANGE (k)" &&
        sql "CREATE TABLE s.part1 PARTITION OF s.part FOR VALUES FROM (0) TO (1000)" &&
        sql "INSERT INTO s.part SELECT i % 1000, 'x' FROM generate_series(1, 5000) i" && sql "TRUNCATE s.part" &&
        sql "DROP TABLE s.part" && at_rest
}
vacuum_full() { sql "DELETE FROM pgbench_accounts WHERE aid % 3 = 0" && sql "VACUUM FULL" && sql "VACUUM (FREEZE, ANALYZE)" && at_rest; }

copies_to_file() {
    sql "COPY (SELECT i, repeat('x', i % 300) FROM generate_series(1, 20000) i) TO '$(data)/copied.txt'" &&
        sql "COPY (SELECT i FROM generate_series(1, 1000) i) TO PROGRAM 'cat > $(data)/program.txt'" && at_rest &&
        is "$(wc -l < "$pair/b/data/pg/copied.txt") $(wc -l < "$pair/b/data/pg/program.txt")" "20000 1000"
}
creates_database() { # creates_database STRATEGY
    sql "CREATE DATABASE d_$1 TEMPLATE postgres STRATEGY $1" && at_rest && sql "DROP DATABASE d_$1" && at_rest
}
# Its link leads to the same place in the other node's tree.
tablespace() {
    captured "${owner[@]}" mkdir "$(data)/space" && sql "CREATE TABLESPACE inside LOCATION '$(data)/space'" &&
        sql "CREATE TABLE in_space (i int) TABLESPACE inside" && sql "INSERT INTO in_space SELECT generate_series(1, 10000)" && at_rest &&
        is "$(readlink "$pair"/b/data/pg/pg_tblspc/*)" "$pair/b/data/pg/space"
}
large_objects() {
    head -c 3000000 /dev/urandom > "$work/large" && chmod 644 "$work/large" &&
        sql "SELECT lo_import('$work/large', 4711)" > /dev/null && sql "SELECT lo_put(4711, 1000000, 'abc')" > /dev/null &&
        sql "SELECT lo_export(4711, '$(data)/exported')" > /dev/null && at_rest &&
        is "$(stat -c %s "$pair/b/data/pg/exported")" 3000000 && sql "SELECT lo_unlink(4711)" > /dev/null && at_rest
}
two_phases() {
    sql "CREATE TABLE phases (i int)" || return 1
    sql "BEGIN; INSERT INTO phases VALUES (1); PREPARE TRANSACTION 'one'" && sql "BEGIN; INSERT INTO phases VALUES (2); PREPARE TRANSACTION 'two'" &&
        sql "CHECKPOINT" && [ -n "$(ls "$(data)/pg_twophase")" ] && at_rest && sql "COMMIT PREPARED 'one'" && sql "ROLLBACK PREPARED 'two'" &&
        sql "CHECKPOINT" && at_rest && is "$(sql "SELECT count(*) FROM phases")" 1
}
temporary_files() { # sorts and hash joins that don't fit into 64 kB
    sql "SELECT count(*) FROM (SELECT a.aid FROM pgbench_accounts a JOIN pgbench_accounts b USING (aid) ORDER BY a.filler, a.aid OFFSET 1) x" > /dev/null &&
        grep -q 'temporary file: path' "$(data)"/log/* && at_rest
}
collects_log() {
    sql "SELECT pg_rotate_logfile()" > /dev/null && sql "CREATE TABLE noted_in_the_log (i int)" && at_rest &&
        grep -q noted_in_the_log "$pair"/b/data/pg/log/*
}
logical_slot() {
    sql "SELECT pg_create_logical_replication_slot('slot', 'test_decoding')" > /dev/null && sql "INSERT INTO phases VALUES (3)" &&
        sql "SELECT count(*) > 0 FROM pg_logical_slot_get_changes('slot', NULL, NULL)" | grep -qx t &&
        sql "SELECT pg_drop_replication_slot('slot')" > /dev/null && at_rest
}
stops() { stop_server INT && settled; }

sandbox up "$pair" > /dev/null || exit 1
check "initdb" initdb_is_equal
check "the server starts" starts
check "pgbench -i" loads
for clients in 1 4 16; do check "pgbench with $clients clients" transactions $clients $((800 / clients)); done
check "DDL" ddl
check "VACUUM FULL and FREEZE" vacuum_full
check "COPY TO a file and a program" copies_to_file
for strategy in wal_log file_copy; do check "CREATE and DROP DATABASE, $strategy" creates_database $strategy; done
check "a tablespace" tablespace
check "large objects" large_objects
check "two-phase commit" two_phases
check "temporary files" temporary_files
check "the log collector" collects_log
check "a logical slot" logical_slot
check "a fast shutdown" stops

# ---------------------------------------------------------------- ways to flush

with_wal_sync() { # with_wal_sync METHOD
    start_server -c wal_sync_method="$1" && is "$(sql 'SHOW wal_sync_method')" "$1" && bench -c 4 -t 50 && at_rest && stop_server && settled
}
for method in fdatasync fsync open_datasync open_sync; do check "wal_sync_method=$method" with_wal_sync $method; done

# A crash of the server alone: it comes back on the same files.
recovers() { # recovers METHOD
    start_server && bench -c 4 -t 50 && stop_server QUIT
    start_server -c recovery_init_sync_method="$1" && grep -q 'automatic recovery in progress' "$work/server.log" && amcheck && at_rest && stop_server
}
for method in fsync syncfs; do
    : > "$work/server.log"
    check "an immediate shutdown, and recovery_init_sync_method=$method" recovers $method
done

# ---------------------------------------------------------------- the other node

taken_over() {
    local before
    start_server && before=$(sql "SELECT sum(abalance), count(*) FROM pgbench_accounts") && bench -c 8 -t 30 &&
        before=$(sql "SELECT sum(abalance), count(*) FROM pgbench_accounts") || return 1
    kill_node a && sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    primary=b
    start_server && is "$(sql "SELECT sum(abalance), count(*) FROM pgbench_accounts")" "$before" &&
        is "$(sql "SELECT count(*) FROM in_space")" 10000 && amcheck
}
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 && bench -c 4 -t 30 && at_rest && stop_server && settled || { cat "$work/rejoin"; return 1; }; }
check "no call was left to the guard" needs_no_guard
check "the other node takes over" taken_over
check "the first one comes back" comes_back

# ---------------------------------------------------------------- control

uncaptured() {
    "${owner[@]}" sh -c "echo '# not captured' >> '$(data)/postgresql.conf'"
    ! equal_trees
}
check "what is written outside of the capture is seen by the comparison" unrepaired "$primary" uncaptured
finish_scenario
