# sqlite3 in its journal modes, with transactions, rollbacks, VACUUM, several databases and several processes at once
sql() { sqlite3 -batch "$@"; }
for mode in delete truncate persist wal memory off; do
    sql $mode.db "PRAGMA journal_mode=$mode; PRAGMA synchronous=FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT);" | tail -1
    for i in 1 2 3; do sql $mode.db "PRAGMA journal_mode=$mode; INSERT INTO t (s) VALUES (hex(zeroblob(500 * $i))); UPDATE t SET s = s || '$i';" > /dev/null; done
    sql $mode.db "BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000) INSERT INTO t (s) SELECT 'row ' || x FROM c; COMMIT;"
    [ $mode = off ] || sql $mode.db "BEGIN; DELETE FROM t; ROLLBACK;"
    sql $mode.db "DELETE FROM t WHERE n % 3 = 0; VACUUM; CREATE INDEX i ON t (s); PRAGMA integrity_check; SELECT count(*), sum(length(s)) FROM t;"
done
sql wal.db "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=delete;"
sql big.db "PRAGMA page_size=65536; PRAGMA cache_spill=ON; PRAGMA cache_size=5; BEGIN; CREATE TABLE b (x); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200) INSERT INTO b SELECT zeroblob(20000) FROM c; COMMIT; PRAGMA integrity_check;"
sql a.db "ATTACH 'b.db' AS b; CREATE TABLE x (n); CREATE TABLE b.x (n); BEGIN; INSERT INTO x VALUES (1); INSERT INTO b.x VALUES (1); COMMIT;"
sql a.db ".backup copy.db" ".output dump.sql" ".dump" ".output stdout" "VACUUM INTO 'into.db'"; sql restored.db ".read dump.sql"; sql restored.db "SELECT * FROM x; PRAGMA integrity_check"
