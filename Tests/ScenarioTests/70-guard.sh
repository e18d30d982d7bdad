#!/bin/bash
# What does not come through the preload library is captured by the guard, exactly once, or refused; and counted. Each
# route is also taken with the guard forced off: then the other node misses it, which shows that the test would see it.
# ROUNDS: how often a daemon, and an agent of the guard, is killed under load (CI: 5). Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

rounds=${ROUNDS:-50}
[ "${CI:-}" != true ] || rounds=5
data=$pair/a/data
evasions=$(program evasions) appends=$(program raw_appends)
program no_listener > /dev/null
static=$work/programs/evasions-static
cc -std=gnu11 -O2 -D_GNU_SOURCE -DSTATIC -Wall -Wextra -Werror -static -no-pie -o "$static" "$here/Programs/evasions.c" || exit 1
sandbox up "$pair" > /dev/null || exit 1
root() { [ "$(id -u)" = 0 ]; }

more_than() { [ "$(guarded "$1")" -gt "$2" ]; }

# ---------------------------------------------------------------- routes

# evades PROGRAM ROUTE OUTPUT COUNTER: what the program prints; the trees are equal without repair; the counter was raised
evades() {
    local before in=$data/$2-$(basename "$1")
    before=$(guarded "$4") || return 1
    mkdir -p "$in"
    sandbox settle "$pair" > /dev/null || return 1
    captured timeout 60 "$1" "$2" "$in" > "$work/evaded" 2> "$work/said" || { echo "exit code $?"; cat "$work/said"; return 1; }
    [ "$(cat "$work/evaded")" = "$3" ] || { cat "$work/evaded" "$work/said"; return 1; }
    settled || return 1
    [ "$repaired" = 0 ] || { echo "$repaired repairs: something was missed"; return 1; }
    grep -q '^lockstep: guard: .* did not come through the library' "$work/said" || { echo "no line"; cat "$work/said"; return 1; }
    until_true 10 more_than "$4" "$before"
}
# What the watch put down to others, or to nobody.
others() { echo $(($(field a counters.outside) + $(field a counters.outsideUnattributed))); }
more_others() { [ "$(others)" -gt "$1" ]; }
# The control: the library alone misses it, or refuses it where it says so. The watch may see what the library missed, and repair it.
missed() {
    local in=$data/unguarded-$1 code=0 seen
    seen=$(others)
    mkdir -p "$in"
    if [ "$(field a watch)" = watched ]; then until_true 5 more_others "$seen" || return 1; fi
    sandbox settle "$pair" > /dev/null || return 1
    seen=$(others)
    unguarded timeout 60 "$evasions" "$1" "$in" > "$work/evaded" 2> "$work/said" || { echo "exit code $?"; cat "$work/said"; return 1; }
    [ "$(cat "$work/evaded")" = wrote ] || { cat "$work/evaded"; return 1; }
    sandbox settle "$pair" > "$work/settle" || return 1
    if [ "$(sed -n 's/^repaired: //p' "$work/settle")" = 0 ] && ! more_others "$seen" && diff -r "$in" "$pair/b/data/unguarded-$1" > "$work/diff"; then
        echo "nothing is missed: this test can't fail"
        code=1
    fi
    return $code
}

while read -r route output counter; do
    check "$route: $output" evades "$evasions" "$route" "${output//_/ }" "$counter"
    case $route in inline | names | int80 | io_uring | mmap | mprotect | vfork | reuse)
        check "$route in a static program: $output" evades "$static" "$route" "${output//_/ }" "$counter" ;;
    esac
done << 'END'
inline wrote captured
names wrote captured
int80 refused_ENOSYS refused
io_uring refused_EPERM refused
mmap refused_EACCES refused
mprotect refused_EACCES refused
vfork wrote captured
reuse wrote captured
cleared wrote captured
dlmopen wrote captured
dlsym wrote captured
nocancel wrote captured
END
for route in inline names int80 io_uring mmap mprotect vfork reuse cleared dlmopen dlsym nocancel; do
    check "$route with the guard forced off: missed" missed $route
done
check "the pair is equal again" eval 'mend; settled'

# ---------------------------------------------------------------- who needs no guard

healthy() {
    local name=$1 before
    before=$(guarded captured)/$(guarded refused)
    shift
    captured "$@" > "$work/healthy" 2>&1 || { cat "$work/healthy"; return 1; }
    ! grep 'lockstep: guard' "$work/healthy" || return 1
    settled || return 1
    [ "$(guarded captured)/$(guarded refused)" = "$before" ] || { guarded captured "$name"; return 1; }
}
check "sqlite3 never needs it" healthy sqlite3 sqlite3 "$data/healthy.db" \
    "PRAGMA journal_mode=WAL; CREATE TABLE t(n); INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n FROM c; DELETE FROM t WHERE n % 2; VACUUM;"
check "bash never needs it" healthy bash bash -c "cd '$data' && mkdir bash && cd bash && for i in 1 2 3; do echo \$i > \$i; echo more >> \$i; done; cat < 1 > 4; mv 4 5; rm 2; printf x | tee 6; exec 7> 7; echo y >&7"
check "cp, mv, sed -i, tar and dd never need it" healthy cp sh -c "cd '$data' && cp -a bash copied && cp healthy.db copied && mv copied/1 copied/one && sed -i s/1/2/ copied/one && tar cf bash.tar bash && dd if=/dev/zero of=zero bs=8192 count=20 conv=fsync"

# ---------------------------------------------------------------- exactly once

storm() {
    captured "$appends" "$data/storm" 3000 storm > "$work/storm" 2>&1 || { cat "$work/storm"; return 1; }
    grep 'succeeded 3000 failed 0' "$work/storm" && settled
}
check "3,000 raw appends under a storm of signals: each exactly once" storm

together() {
    local pid pids=() code=0
    for pid in 1 2 3 4 5 6 7 8; do
        captured "$appends" "$data/together-$pid" 500 > "$work/together-$pid" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || code=1; done
    grep -h succeeded "$work"/together-? | sort | uniq -c
    [ $code = 0 ] && [ "$(grep -hc 'succeeded 500 failed 0' "$work"/together-? | sort -u)" = 1 ] && settled
}
check "eight programs at once" together

# under_load WHAT [PRODUCT]: kills while raw appends are in flight
under_load() {
    local load pid killed=0 grown=0
    "${2:-$product}/lockstep" sandbox run -q "$pair" -- "$appends" "$data/$1" 5000000 > "$work/load" 2>&1 &
    load=$!
    until_true 20 [ -s "$data/$1" ] || return 1
    while [ $killed -lt "$rounds" ] && kill -0 $load 2> /dev/null; do
        case $1 in
        daemon) sandbox kill "$pair" a --what daemon > /dev/null 2>&1 || return 1 ;;
        agent) for pid in $(agents); do kill -KILL "$pid"; done ;;
        esac
        killed=$((killed + 1))
        until_true 20 grows "$data/$1" || return 1
    done
    kill -TERM $load
    wait $load || { cat "$work/load"; return 1; }
    echo "killed $killed times: $(grep succeeded "$work/load")"
    [ $killed = "$rounds" ] && settled
}
grows() { # a hundred calls more than when it was looked at last
    local now
    now=$(stat -c %s "$1")
    [ $((now - grown)) -gt 1600 ] && grown=$now
}
agents() {
    local process
    for process in $(processes_of "$pair"); do
        [ "$(cat "/proc/$process/comm" 2>/dev/null)" = lockstep-guard ] && echo "$process"
    done
    return 0
}
daemon_killed() { under_load daemon && grep -q "failed 0" "$work/load"; }
check "a daemon that is killed again and again: each append exactly once" daemon_killed
# Seventeen deaths within ten seconds are the end of it, as for any program that can't live.
rounds=$((rounds < 12 ? rounds : 12))
check "an agent that is killed again and again: an answer or an error for each, the next calls work" under_load agent
restarted() { grep -q 'the agent was killed by signal 9; another one goes on' "$work/load"; }
check "and it says so" restarted

# ---------------------------------------------------------------- what these two would see

# broken NAME FILE SED ...: the product, with one line changed in each of these files
broken() {
    local sources=$work/$1-sources name=$1
    mkdir -p "$sources/tools" "$work/$1" && cp -r "$top/Sources" "$sources/" && cp "$top/tools/build-keeper" "$sources/tools/" && cp "$product"/* "$work/$1/" || return 1
    shift
    while [ $# -gt 0 ]; do
        sed -i "$2" "$sources/Sources/$1"
        ! cmp -s "$sources/Sources/$1" "$top/Sources/$1" || { echo "$1 is not changed"; return 1; }
        shift 2
    done
    "$sources/tools/build-keeper" "$work/$name"
}
# Interrupted after it was received, a call is made again.
doubled_by_signals() {
    broken restarting CKeeper/filter.c 's/NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;/NEW_LISTENER;/' || return 1
    "$work/restarting/lockstep" sandbox run -q "$pair" -- "$appends" "$data/storm" 3000 storm > "$work/storm" 2>&1
    grep '^record .* where .* should be' "$work/storm" || { cat "$work/storm"; return 1; }
}
# What a dead agent was executing is executed again; most die between the call and its end.
doubled_by_deaths() {
    broken repeating CGuard/main.c 's/state == GUARD_RECEIVED) {/state != GUARD_EXECUTED) {/' \
        CGuard/data.c 's/    request_value(request, done);/    usleep(2000);&/' || return 1
    under_load agent "$work/repeating" > "$work/repeated" 2>&1
    grep '^record .* where .* should be' "$work/load" || { cat "$work/repeated" "$work/load"; return 1; }
}
check "control: without killable waits the storm doubles appends" doubled_by_signals
check "control: a successor that repeats doubles appends" doubled_by_deaths
check "the pair is equal after that" settled

# ---------------------------------------------------------------- who the caller is

modes() { # the caller's user, group, further groups and umask, of a static program
    local in=$data/nobody
    mkdir "$in" && chown 0:4242 "$in" && chmod 2770 "$in" && sandbox settle "$pair" > /dev/null || return 1
    captured setpriv --reuid=65534 --regid=65534 --groups 4242 sh -c "umask 027 && exec '$static' names '$in'" > "$work/evaded" 2>&1 || { cat "$work/evaded"; return 1; }
    [ "$(stat -c '%u:%g %a' "$in/made" "$in/from")" = "65534:4242 2750
65534:4242 640" ] || { stat -c '%n %u:%g %a' "$in/made" "$in/from"; return 1; }
    settled
}
forbidden() { # what the caller may not do, no agent does for it
    captured setpriv --reuid=65534 --regid=65534 --clear-groups "$static" names "$data/nobody" > "$work/evaded" 2>&1
    grep -x 'refused EACCES' "$work/evaded" || { cat "$work/evaded"; return 1; }
}
elsewhere() { # another root: its names mean other files
    mkdir -p "$work/root/tree" && cp "$static" "$work/root/static"
    captured chroot "$work/root" /static names /tree > "$work/evaded" 2>&1
    grep -x 'refused EOPNOTSUPP' "$work/evaded" && [ ! -e "$work/root/tree/made" ] || { cat "$work/evaded"; return 1; }
}
privileged() { # set-user-id: the loader ignores the library, the guard does not
    cp /bin/touch "$work/touch" && chown 65534 "$work/touch" && chmod 4755 "$work/touch"
    captured chmod 777 "$data/nobody"
    captured "$work/touch" "$data/nobody/touched" && [ "$(stat -c %u "$data/nobody/touched")" = 65534 ] && settled && [ "$repaired" = 0 ]
}
unprivileged() { # a pair of a user without privileges
    local mine=$work/mine before=$pair code=0
    mkdir "$mine" && chown 65534:65534 "$mine"
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    as_nobody "$product/lockstep" sandbox up "$mine/pair" > "$work/evaded" 2>&1 || { cat "$work/evaded"; return 1; }
    pairs+=("$mine/pair")
    as_nobody "$product/lockstep" sandbox run -q "$mine/pair" -- "$static" inline "$mine/pair/a/data" > "$work/evaded" 2>&1 || code=1
    cat "$work/evaded"
    grep -q 'no_new_privs' "$work/evaded" && grep -qx wrote "$work/evaded" || code=1
    [ -s "$mine/pair/a/data/inline" ] || code=1
    as_nobody "$product/lockstep" sandbox settle "$mine/pair" | grep -x 'repaired: 0' || code=1
    as_nobody "$product/lockstep" sandbox compare "$mine/pair" || code=1
    expect 126 setuid as_nobody "$product/lockstep" sandbox run -q "$mine/pair" -- "$work/touch" "$mine/pair/a/data/x" || code=1
    end_pair "$mine/pair"
    return $code
}
if root; then
    check "owner, groups and mode are the caller's" modes
    check "what the caller may not do is refused" forbidden
    check "a caller in another root is refused" elsewhere
    check "a set-user-id program is covered by the guard" privileged
    check "without privileges: captured, and it says what it takes away" unprivileged
else
    skip "callers of other users" "needs root"
fi

# ---------------------------------------------------------------- on and off

says() { # says PATTERN COMMAND...: what status says while the command's program runs
    local pattern=$1 run
    shift
    mkfifo "$work/hold"
    "$@" sh -c "read -r line < '$work/hold'" > "$work/said" 2>&1 &
    run=$!
    exec 9<> "$work/hold"
    until_true 20 guard_is "$pattern" || { sandbox status "$pair"; cat "$work/said"; code=1; }
    echo go >&9
    exec 9>&-
    rm "$work/hold"
    wait $run && [ "${code:-0}" = 0 ]
}
guard_is() { [[ $(field a guard) == $1 ]]; }
check "status says that it is off, and why: another listener" says 'off (*runtime*)' unguarded
no_listener_errno=22
check "status says that it is off, and why: the kernel" says 'off (*kernel*)' unguarded
check "status says that it is on" says on captured
finish_scenario
