# four sqlite3 processes write to one WAL database while a fifth checkpoints it: locks, sizes and -wal are shared
# varies: the pages depend on who came first
sqlite3 c.db "PRAGMA journal_mode=wal; CREATE TABLE t (who, n);" > /dev/null
for who in 1 2 3 4; do
    (for n in $(seq 25); do echo "INSERT INTO t VALUES ($who, $n);"; done | sqlite3 -cmd ".timeout 20000" -cmd "PRAGMA synchronous=FULL" c.db) &
done
(for n in $(seq 5); do echo "PRAGMA wal_checkpoint;"; done | sqlite3 -cmd ".timeout 20000" c.db > /dev/null) &
wait
sqlite3 c.db "SELECT who, count(*), max(n) FROM t GROUP BY who; PRAGMA integrity_check;"
