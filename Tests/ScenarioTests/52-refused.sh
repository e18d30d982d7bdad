#!/bin/bash
# System calls that the primary's file system refuses and that reach the secondary before that is known: they end nothing,
# and leave nothing behind.
. "$(dirname "$0")/pair.sh"

case $(stat -f -c %T "$work") in
ext2/ext3) ;;
*) echo "skipped: $work is not on ext4, which refuses what this asks for"; finish_scenario ;;
esac
wild=$(program wild) || exit 1

daemon_of() { sed -n 's/.*"'"$1"'":{"daemon":{"pid":\([0-9]*\).*/\1/p' "$pair/sandbox.json"; }
wild_calls() {
    local before
    sandbox up "$pair" && captured true || return 1
    before=$(daemon_of b)
    captured "$wild" "$pair/a/data" "$1" && settled || return 1
    [ -n "$before" ] && [ "$(daemon_of b)" = "$before" ] && kill -0 "$before" && field_is b data "up to date"
}
check "300 rounds of wild calls beside a writer: trees equal, both daemons alive" wild_calls 300

takeover_after() { # by recovery of the journal that holds the refused records, too
    sandbox kill "$pair" b --what daemon && until_true 60 sandbox status "$pair" && settled &&
        sandbox kill "$pair" a && sandbox takeover "$pair" && cmp "$pair/a/data/wild" "$pair/b/data/wild"
}
check "a restart of the secondary and a takeover after them" takeover_after

finish_scenario
