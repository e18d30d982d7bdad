#!/bin/bash
# Redis, captured: after each thing that it does to files the trees are equal, and after a takeover every key that was
# acknowledged under `appendfsync always` is there. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
primary=a
socket=$work/redis.socket

data() { echo "$pair/$primary/data/redis"; }
redis() { redis-cli -s "$socket" "$@"; }
answers() { [ "$(redis PING 2> /dev/null)" = PONG ]; }
start_server() { # start_server FSYNC [OPTION...]; configured by a file in the tree, which CONFIG REWRITE replaces
    captured mkdir -p "$(data)" || return 1
    [ -e "$(data)/redis.conf" ] || captured sh -c "printf 'dir ./\nappendonly yes\nsave 3600 1\n' > '$(data)/redis.conf'" || return 1
    (cd "$(data)" && exec "$product/lockstep" sandbox run -q "$pair" -- redis-server redis.conf --port 0 --unixsocket "$socket" \
        --logfile redis.log --appendfsync "$@" --auto-aof-rewrite-percentage 0) < /dev/null > "$work/server" 2>&1 &
    server=$!
    until_true 60 answers || { cat "$work/server" "$(data)/redis.log"; return 1; }
}
stop_server() { redis SHUTDOWN > /dev/null 2>&1; wait $server || { cat "$work/server"; return 1; }; }

idle() { # nothing is written any more: no child works, and the second of `everysec` is over
    redis INFO persistence | tr -d '\r' > "$work/info"
    grep -qx rdb_bgsave_in_progress:0 "$work/info" && grep -qx aof_rewrite_in_progress:0 "$work/info" &&
        grep -qx aof_rewrite_scheduled:0 "$work/info" && grep -qx aof_pending_bio_fsync:0 "$work/info"
}
at_rest() {
    local deadline=$((SECONDS + 60))
    until idle && settled > "$work/at-rest" 2>&1; do
        [ $SECONDS -lt $deadline ] || { cat "$work/at-rest"; return 1; }
    done
}
bench() { redis-benchmark -s "$socket" -q -c 8 -r 5000 -d 200 "$@" > "$work/bench" 2>&1 || { cat "$work/bench"; return 1; }; }

works() { # works FSYNC
    start_server "$1" && [ "$(redis CONFIG GET appendfsync | tail -n 1)" = "$1" ] && bench -n 2000 -t set,incr,lpush,sadd,hset,zadd && at_rest
}
rewrites() {
    local before
    before=$(ls "$(data)/appendonlydir")
    redis BGREWRITEAOF > /dev/null && bench -n 1000 -t set,lpush && at_rest && [ "$(ls "$(data)/appendonlydir")" != "$before" ]
}
saves() {
    local before
    before=$(redis LASTSAVE)
    until_true 3 another_second || return 1
    redis BGSAVE > /dev/null && bench -n 1000 -t set && at_rest && [ "$(redis LASTSAVE)" -gt "$before" ] && [ -s "$pair/b/data/redis/dump.rdb" ] &&
        redis SAVE > /dev/null && at_rest
}
another_second() { [ "$(date +%s)" -gt "$(redis LASTSAVE)" ]; }
# The child that saves is ended by SIGUSR1, and its file goes.
gives_up() {
    redis CONFIG SET rdb-key-save-delay 10000 > /dev/null && redis BGSAVE > /dev/null && until_true 20 saving &&
        redis CONFIG SET save '' > /dev/null && redis FLUSHALL > /dev/null && redis CONFIG SET rdb-key-save-delay 0 > /dev/null && at_rest &&
        ! ls "$(data)" | grep -q '^temp-' && redis CONFIG SET save '3600 1' > /dev/null
}
saving() { ls "$(data)" | grep -q '^temp-[0-9]*[.]rdb$'; }
rewrites_configuration() {
    redis CONFIG SET maxmemory-policy allkeys-lru > /dev/null && [ "$(redis CONFIG REWRITE)" = OK ] && at_rest &&
        grep -q '^maxmemory-policy allkeys-lru$' "$pair/b/data/redis/redis.conf"
}
starts_again() { # starts_again FSYNC
    local before
    before=$(redis DBSIZE) && stop_server && settled && start_server "$1" && [ "$(redis DBSIZE)" = "$before" ] && at_rest
}

# One key after the other by 8 clients; a number is noted when its answer was OK.
load() { # load CLIENT
    local number=0
    while number=$((number + 1)) && [ "$(redis SET "commit:$1:$number" "value-$1-$number" 2> /dev/null)" = OK ]; do
        echo "$1 $number" >> "$work/acknowledged.$1"
    done
}
acknowledged() { [ "$(cat "$work"/acknowledged.* 2> /dev/null | wc -l)" -ge "$1" ]; }
taken_over() {
    local client clients=()
    for client in 1 2 3 4 5 6 7 8; do load $client & clients+=($!); done
    until_true 60 acknowledged 400 && redis BGREWRITEAOF > /dev/null && until_true 60 acknowledged 800 || return 1
    sandbox kill "$pair" a > "$work/kill" 2>&1 || { cat "$work/kill"; return 1; }
    wait "${clients[@]}" $server 2> /dev/null
    sandbox takeover "$pair" > "$work/takeover" 2>&1 || { cat "$work/takeover"; return 1; }
    primary=b
    start_server always && looked_up
}
looked_up() {
    cat "$work"/acknowledged.* | sed 's/\(.*\) \(.*\)/GET commit:\1:\2/' | redis > "$work/found"
    cat "$work"/acknowledged.* | sed 's/\(.*\) \(.*\)/value-\1-\2/' | diff - "$work/found" > "$work/lost" || { echo "lost:"; head "$work/lost"; return 1; }
    echo "$(wc -l < "$work/found") acknowledged, none lost"
}
sound() { redis-check-aof "$(data)/appendonlydir/appendonly.aof.manifest" > "$work/aof" 2>&1 && redis-check-rdb "$(data)/dump.rdb" > "$work/rdb" 2>&1 || { tail -n 5 "$work/aof" "$work/rdb"; return 1; }; }
comes_back() { sandbox rejoin "$pair" > "$work/rejoin" 2>&1 && bench -n 1000 -t set && at_rest && stop_server && settled || { cat "$work/rejoin"; return 1; }; }
not_looked_up() { redis DEL commit:3:1 > /dev/null && ! looked_up && redis SET commit:3:1 value-3-1 > /dev/null; }

mend() { :; }
sandbox up "$pair" > /dev/null || exit 1
check "appendfsync everysec" works everysec
check "BGREWRITEAOF" rewrites
check "BGSAVE and SAVE" saves
check "a BGSAVE that is given up" gives_up
check "CONFIG REWRITE" rewrites_configuration
check "it starts again" starts_again everysec
stop_server
check "appendfsync always" works always
check "BGREWRITEAOF, always" rewrites
check "no call was left to the guard" needs_no_guard
check "the other node takes over" taken_over
grep 'none lost' "$work/output"
check "a key that is missing is noticed" not_looked_up
check "its files are sound" sound
check "the first one comes back" comes_back
finish_scenario
