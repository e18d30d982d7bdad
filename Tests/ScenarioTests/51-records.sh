#!/bin/bash
# What the nodes' own records say counts, whatever sandbox.json says: a takeover that was ended half-way, by the death of
# the command or of the promoted daemon, can be tried again, and never costs what the secondary had acknowledged.
. "$(dirname "$0")/pair.sh"

# The command is killed where it would save sandbox.json: the daemon has been promoted, and nobody else knows.
takeover_ended_half_way() {
    expect 137 "" strace -qq -o "$work/strace" -e trace=rename -e inject=rename:error=EIO:signal=KILL "$product/lockstep" sandbox takeover "$pair"
    grep -q '"primary":"a"' "$pair/sandbox.json" && grep -qx 'role primary' "$pair/b/node/record"
}
# In the files and in the database; the file is made after the checkpoint that ends the first copy.
fill_pair() {
    captured sh -c "echo $1 > '$pair/$2/data/$1'" && captured sqlite3 "$pair/$2/data/db" \
        "CREATE TABLE IF NOT EXISTS t(x); PRAGMA synchronous=EXTRA; INSERT INTO t VALUES('$1');" && settled
}
has_all() { # has_all NODE WORD...
    local node=$1 word
    shift
    for word in "$@"; do
        [ "$(cat "$pair/$node/data/$word")" = "$word" ] || return 1
        [ "$(sqlite3 "file:$pair/$node/data/db?mode=ro" "SELECT count(*) FROM t WHERE x = '$word'")" = 1 ] || return 1
    done
}
is_primary() { # NODE EPOCH
    grep -q "\"primary\":\"$1\"" "$pair/sandbox.json" && [ "$(field "$1" role)" = primary ] && [ "$(field "$1" epoch)" = "$2" ]
}
new_pair() {
    [ ! -e "$pair" ] || { sandbox down "$pair" > /dev/null && rm -rf "$pair"; }
    sandbox up "$pair" > /dev/null && fill_pair one a
}
interrupted() { # ... by the death of the command, and with "daemon" of the promoted daemon after it
    new_pair && sandbox kill "$pair" a && takeover_ended_half_way || return 1
    [ "${1-}" != daemon ] || sandbox kill "$pair" b
}
serves() { # NODE: writes are possible, and the other comes back to equal trees
    captured sh -c "echo two > '$pair/$1/data/two'" && captured sqlite3 "$pair/$1/data/db" "INSERT INTO t VALUES('two')" &&
        sandbox rejoin "$pair" && settled && has_all a one two && has_all b one two && sandbox status "$pair"
}

takeover_again() { interrupted "${1-}" && sandbox takeover "$pair" && is_primary b 2 && has_all b one && serves b; }
check "takeover after its command was killed" takeover_again
check "takeover after command and promoted daemon were killed" takeover_again daemon

daemon_again() { interrupted && sandbox kill "$pair" b --what daemon && is_primary b 2 && has_all b one && serves b; }
check "the promoted daemon is started again as what it is" daemon_again

up_again() { # the promoted node is primary, the other gets a copy of it
    interrupted daemon && rm "$pair/b/data/one" && echo b > "$pair/b/data/of-b" && sandbox up "$pair" && is_primary b 2 &&
        [ "$(cat "$pair/a/data/of-b")" = b ] && [ ! -e "$pair/a/data/one" ] && settled
}
check "up starts the node that was promoted last as primary" up_again

up_after_down() {
    new_pair && sandbox kill "$pair" a && sandbox takeover "$pair" && sandbox rejoin "$pair" && sandbox down "$pair" || return 1
    sed -i 's/"primary":"b"/"primary":"a"/' "$pair/sandbox.json"
    sandbox up "$pair" && is_primary b 2 && has_all a one && has_all b one
}
check "up after down follows the records" up_after_down

old_primary_returns() {
    interrupted daemon && sandbox kill "$pair" a --what daemon && field_is a role secondary &&
        expect 77 outdated sandbox takeover "$pair" && sandbox kill "$pair" b --what daemon && is_primary b 2 &&
        until_true 60 sandbox status "$pair" && has_all a one && has_all b one && settled
}
check "the old primary returns as the secondary of the promoted node" old_primary_returns

exit_codes() {
    new_pair && expect 0 "" sandbox status "$pair" && expect 0 "" lockstep status --node-directory "$pair/a/node" || return 1
    sandbox kill "$pair" b && expect 1 "" sandbox status "$pair" && until_true 20 field_is a state alone &&
        expect 1 "" lockstep status --node-directory "$pair/a/node" && expect 69 "not running" lockstep status --node-directory "$pair/b/node"
}
check "status exits with 1 for a node that is alone, or stopped" exit_codes

finish_scenario
