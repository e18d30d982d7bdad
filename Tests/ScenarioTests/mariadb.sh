# Sourced by scenarios after pair.sh: a MariaDB server on the current primary, what it is made to do, and the death of its node.
server_program=$(command -v mariadbd || command -v /usr/sbin/mariadbd) ||
    { echo "MariaDB is not installed: apt-get install mariadb-server"; echo "0 passed, 1 failed"; exit 1; }
primary=a
# Not as root: it would go on as another user, past its files.
owner=()
[ "$(id -u)" != 0 ] || owner=(setpriv --reuid=mysql --regid=mysql --init-groups --)
cd "$work" || exit 1
mkdir "$work/sockets" "$work/temporary"
[ ${#owner[@]} = 0 ] || chown mysql "$work/sockets" "$work/temporary"
data() { echo "$pair/$primary/data/mysql"; }
clients=4

# ---------------------------------------------------------------- the server

sql() { mariadb --no-defaults --user=root --socket="$work/sockets/socket" -N -B -e "$1" "${2:-mysql}"; }
answers() { [ "$(sql "SELECT 'here'" 2> /dev/null)" = here ]; }
answers_or_ended() { answers || ! kill -0 "$server" 2> /dev/null; }

installs() {
    captured install -d -m 700 "$(data)" && { [ ${#owner[@]} = 0 ] || captured chown mysql:mysql "$(data)"; } &&
        captured "${owner[@]}" mariadb-install-db --no-defaults --datadir="$(data)" --tmpdir="$work/temporary" --skip-test-db \
            --auth-root-authentication-method=normal > "$work/install" 2>&1 && at_rest || { tail -n 20 "$work/install"; return 1; }
}
start_server() { # start_server OPTION...
    rm -f "$work/sockets/socket"
    captured "${owner[@]}" "$server_program" --no-defaults --datadir="$(data)" --tmpdir="$work/temporary" --socket="$work/sockets/socket" \
        --pid-file="$work/sockets/pid" --skip-networking --log-bin=binlog --sync-binlog=1 --max-binlog-size=1M --log-error="$(data)/error.log" \
        --innodb-buffer-pool-size=16M --innodb-log-file-size=10M --innodb-max-dirty-pages-pct=5 --secure-file-priv= "$@" \
        < /dev/null > "$work/server" 2>&1 &
    server=$!
    until_true 120 answers_or_ended && answers || { tail -n 20 "$work/server" "$(data)/error.log"; return 1; }
}
stop_server() { sql SHUTDOWN && wait $server || { tail -n 20 "$work/server" "$(data)/error.log"; return 1; }; }
at_rest() { until_true 60 settled > "$work/at-rest" 2>&1 || { tail -n 12 "$work/at-rest"; not_cached; return 1; }; }
# A page cache that is older than what was written with O_DIRECT would be no difference between the nodes.
not_cached() {
    local file
    sed -n 's/^\(.*\): [0-9]* ranges of .*/\1/p' "$work/compare" | while read -r file; do
        dd if="$pair/a/data/$file" iflag=direct bs=1M status=none | cmp - "$pair/b/data/$file" && echo "$file: equal on the disk"
    done
}
logged() { grep -q "$1" "$(data)/error.log" || { echo "no '$1' in the log:"; grep -i -E 'aio|uring' "$(data)/error.log"; return 1; }; }

# ---------------------------------------------------------------- what it does

engines() { # engines DATABASE
    sql "CREATE DATABASE $1" && sql "
        CREATE TABLE i (id int PRIMARY KEY, a varchar(64), b mediumtext, KEY (a)) ENGINE=InnoDB;
        CREATE TABLE c (id int PRIMARY KEY, b mediumtext) ENGINE=InnoDB PAGE_COMPRESSED=1;
        CREATE TABLE aria (id int PRIMARY KEY, a varchar(64), KEY (a)) ENGINE=Aria TRANSACTIONAL=1;
        CREATE TABLE myisam (id int PRIMARY KEY, a varchar(64), KEY (a)) ENGINE=MyISAM;
        CREATE TABLE csv (id int NOT NULL, a varchar(64) NOT NULL) ENGINE=CSV;
        INSERT INTO i SELECT seq, md5(seq), repeat(md5(seq), 20) FROM seq_1_to_20000;
        INSERT INTO c SELECT seq, repeat('compressible ', 100) FROM seq_1_to_5000;
        INSERT INTO aria SELECT seq, md5(seq) FROM seq_1_to_5000;
        INSERT INTO myisam SELECT seq, md5(seq) FROM seq_1_to_5000;
        INSERT INTO csv SELECT seq, md5(seq) FROM seq_1_to_500;
        UPDATE i SET b = repeat('changed', 100) WHERE id % 3 = 0;
        DELETE FROM i WHERE id % 5 = 0; DELETE FROM c WHERE id % 2 = 0; DELETE FROM myisam WHERE id % 2 = 0; DELETE FROM aria WHERE id % 2 = 0;" "$1"
}
changes() { # changes DATABASE
    sql "ALTER TABLE i ADD COLUMN d int DEFAULT 7, ALGORITHM=COPY; ALTER TABLE i ADD INDEX (d), ALGORITHM=INPLACE;
        OPTIMIZE TABLE i, c, aria, myisam; CREATE TABLE gone LIKE i; INSERT INTO gone SELECT * FROM i; TRUNCATE gone; DROP TABLE gone;
        SELECT * FROM i INTO OUTFILE '$(data)/$1/i.txt'; SELECT b FROM i LIMIT 1 INTO DUMPFILE '$(data)/$1/b.bin';
        LOAD DATA INFILE '$(data)/$1/i.txt' REPLACE INTO TABLE i; ANALYZE TABLE i; RENAME TABLE myisam TO renamed;
        FLUSH TABLES; FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW();" "$1" > "$work/changes"
}
slap() {
    mariadb-slap --no-defaults --user=root --socket="$work/sockets/socket" --concurrency=8 --iterations=1 --number-of-queries=1500 \
        --auto-generate-sql --auto-generate-sql-load-type=mixed --engine="$1" > "$work/slap" 2>&1 || { tail -n 5 "$work/slap"; return 1; }
}
sound() { # sound DATABASE: every table, on the primary
    sql "CHECK TABLE i, c, aria, renamed, csv EXTENDED" "$1" > "$work/sound" && ! grep -v -w OK "$work/sound"
}
# One way of writing, from start to end, equal while it runs and when it has ended.
works() { # works NAME LOGGED OPTION...
    local name=$1 logged=$2 before counts
    shift 2
    before="$(guarded captured) $(guarded refused mariadbd)"
    start_server "$@" && { [ -z "$logged" ] || logged "$logged"; } && engines "$name" && changes "$name" && slap innodb && slap aria &&
        at_rest && sound "$name" && stop_server && at_rest || return 1
    counts="$(guarded captured) $(guarded refused mariadbd)"
    [ "${counts% *}" = "${before% *}" ] || { echo "at the guard: $counts, before $before"; return 1; }
}

# ---------------------------------------------------------------- the death of the node

inserts() { # inserts CLIENT: each number is printed when its row is committed
    local n=0
    while printf 'INSERT INTO acked VALUES (%d, %d, repeat(md5(%d), 30)); SELECT %d;\n' "$1" $((n += 1)) $n $n 2> /dev/null; do :; done |
        mariadb --no-defaults --user=root --socket="$work/sockets/socket" -N -B --unbuffered acks > "$work/acked.$1" 2> "$work/client.$1"
}
acknowledged() { [ "$(cat "$work"/acked.* | wc -l)" -ge "$1" ]; }
node_dies() { # node_dies OPTION...: of the server, before and after
    local client
    start_server "$@" && sql "CREATE DATABASE acks" &&
        sql "CREATE TABLE acked (client int, n int, text text, PRIMARY KEY (client, n)) ENGINE=InnoDB" acks || return 1
    for ((client = 0; client < clients; client++)); do : > "$work/acked.$client"; inserts $client & done
    until_true 120 acknowledged 1000 || { cat "$work"/client.*; return 1; }
    sandbox kill "$pair" a > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    wait
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    primary=b
    start_server "$@"
}
# What a client printed last may be half a line.
finds() {
    local client lost
    for ((client = 0; client < clients; client++)); do sed '$d' "$work/acked.$client" | sed "s/^/$client /"; done | sort > "$work/acknowledged"
    sql "SELECT client, n FROM acked WHERE text = repeat(md5(n), 30)" acks | tr '\t' ' ' | sort > "$work/found"
    lost=$(comm -23 "$work/acknowledged" "$work/found" | wc -l)
    echo "$(wc -l < "$work/acknowledged") acknowledged, $lost lost"
    [ "$lost" = 0 ] && [ "$(wc -l < "$work/acknowledged")" -ge 900 ]
}
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 && at_rest && stop_server && at_rest || { cat "$work/rejoin"; return 1; }; }
