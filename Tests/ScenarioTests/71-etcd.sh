#!/bin/bash
# etcd, a Go program: every call that it makes on its files comes past the library, and the guard captures it. It is slower; the
# trees are equal, and after the node's death every key that was acknowledged is on the other one. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"
command -v etcd > /dev/null || { echo "etcd is not installed: apt-get install etcd-server"; echo "0 passed, 1 failed"; exit 1; }
primary=a
keys=${KEYS:-200}

# The load: one connection to the gateway; each acknowledged key is noted, "KEY VALUE" a line; rate on standard error.
cat > "$work/load.py" << 'END'
import base64, http.client, json, sys, time
port, prefix, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def encoded(text): return base64.b64encode(text.encode()).decode()
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
begin = time.monotonic()
for number in range(count):
    key, value = f"{prefix}{number}", f"value {number} " + "x" * (number % 300)
    try:
        connection.request("POST", "/v3/kv/put", json.dumps({"key": encoded(key), "value": encoded(value)}))
        answer = connection.getresponse()
        good = answer.status == 200 and b"revision" in answer.read()
    except (OSError, http.client.HTTPException):
        break
    if not good: sys.exit(f"{key}: {answer.status}")
    print(key, value, flush=True)
print(f"{count / (time.monotonic() - begin):.0f}", file=sys.stderr)
END
cat > "$work/find.py" << 'END'
import base64, http.client, json, sys
connection, missing, seen = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30), 0, 0
for line in open(sys.argv[2]):
    if not line.endswith("\n"): break
    key, value = line.rstrip("\n").split(" ", 1)
    connection.request("POST", "/v3/kv/range", json.dumps({"key": base64.b64encode(key.encode()).decode()}))
    found = json.loads(connection.getresponse().read()).get("kvs", [])
    seen += 1
    if not found or base64.b64decode(found[0]["value"]).decode() != value: missing, _ = missing + 1, print("not there:", key)
print(f"{seen} acknowledged, {missing} lost")
sys.exit(missing != 0 or seen == 0)
END
# Two ports below those of connections, as free as a look can tell.
ports() { python3 -c "import random, socket
found = []
while len(found) < 2:
    port = random.randrange(10240, 16384)
    try: s = socket.socket(); s.bind(('127.0.0.1', port)); found.append((port, s))
    except OSError: pass
print(*[port for port, _ in found])"; }
answers() { python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$client/health', timeout=2)" 2> /dev/null; }
start_etcd() { # start_etcd DIRECTORY [COMMAND...]: by COMMAND
    local directory=$1
    shift
    read -r client peers <<< "$(ports)"
    "$@" etcd --name one --data-dir "$directory" --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
        --listen-peer-urls "http://127.0.0.1:$peers" --initial-advertise-peer-urls "http://127.0.0.1:$peers" \
        --initial-cluster "one=http://127.0.0.1:$peers" --force-new-cluster > "$work/server" 2>&1 < /dev/null &
    server=$!
    until_true 60 answers || { tail -n 20 "$work/server"; return 1; }
}
stop_etcd() { # stop_etcd DIRECTORY: the process that has it as its data
    local pid
    pid=$(pgrep -f "^etcd --name one --data-dir $1 ") && kill -TERM "$pid" || return 1
    wait "$server"
    return 0
}
put() { python3 "$work/load.py" "$client" "$@"; }

sandbox up "$pair" > /dev/null || exit 1
plain() {
    start_etcd "$work/plain" && put plain "$keys" > /dev/null 2> "$work/rate.plain" || return 1
    stop_etcd "$work/plain"
}
guarded_load() { # the guard does its work, and refuses nothing
    start_etcd "$pair/a/data/etcd" captured && put guarded "$keys" > "$work/acknowledged" 2> "$work/rate.guarded" || { cat "$work/rate.guarded"; return 1; }
    stop_etcd "$pair/a/data/etcd" && settled || return 1
    echo "captured by the guard: $(guarded captured etcd), refused: $(guarded refused etcd)"
    [ "$(guarded captured etcd)" -ge "$keys" ]
}
check "etcd alone" plain
check "etcd under the guard: $keys puts, equal trees" guarded_load
cat "$work/output"
echo "puts a second: $(cat "$work/rate.plain") alone, $(cat "$work/rate.guarded") replicated by the guard"

node_dies() {
    local load
    start_etcd "$pair/a/data/etcd" captured || return 1
    put dying 1000000 >> "$work/acknowledged" 2> /dev/null &
    load=$!
    local before
    before=$(wc -l < "$work/acknowledged")
    until_true 60 acknowledged_more $((before + 50)) || return 1
    sandbox kill "$pair" a > /dev/null || return 1
    wait $load 2> /dev/null
    sandbox takeover "$pair" > "$work/command" 2>&1 || { cat "$work/command"; return 1; }
    start_etcd "$pair/b/data/etcd" captured && python3 "$work/find.py" "$client" "$work/acknowledged" || return 1
    stop_etcd "$pair/b/data/etcd"
}
acknowledged_more() { [ "$(wc -l < "$work/acknowledged")" -ge "$1" ]; }
check "the node dies under load: every acknowledged key is on the other one" node_dies
cat "$work/output"
finish_scenario
