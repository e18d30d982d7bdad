#!/bin/bash
# `lockstep audit` says what strace says. Each program runs twice on equal trees: plain, under strace, which tells whose
# instruction made each call; and audited. The counts by call and route agree, and the verdict is the one that follows from what
# strace saw, and the one that is known. Then ten programs picked at random from /usr/bin. Planted faults show that strace
# notices an audit that does not see everything. SEED: the pick. Last line: "N passed, N failed".
. "$(dirname "$0")/pair.sh"

seed=${SEED:-$RANDOM}
tree=$work/tree
observed=$product # whose observer
audit() { "$observed/lockstep" audit --root "$tree" --json --output "$work/report" -- "$@"; }
evasions=$(program evasions) mapped=$(program mapped) streams=$(program streams)
program no_listener > /dev/null
static=$work/programs/evasions-static
cc -std=gnu11 -O2 -D_GNU_SOURCE -DSTATIC -Wall -Wextra -Werror -static -no-pie -o "$static" "$here/Programs/evasions.c" || exit 1
root() { [ "$(id -u)" = 0 ]; }
user=() # whose programs they are
chmod 755 "$work/programs"

fresh_tree() {
    rm -rf "$tree"
    mkdir -p "$tree/d"
    printf 'one\ntwo\nthree\n' > "$tree/file"
    [ ${#user[@]} = 0 ] || chown -R 65534:65534 "$tree"
}

# ---------------------------------------------------------------- the oracle

modifying=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,sync,ftruncate,truncate,fallocate,sendfile,copy_file_range,splice
modifying+=,open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat
modifying+=,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utime,utimes,futimesat,utimensat,ioctl,mmap,io_submit,io_uring_setup,io_uring_enter
modifying+=,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr

stacks=-k # empty: for programs that make so many calls that stacks take minutes
inject=() # what would be refused, refused for strace's run too
# oracle COMMAND...: counts by call and route in $work/expected, the exit status in $status
oracle() {
    local log
    rm -rf "$work/strace" && mkdir -m 777 "$work/strace"
    status=0
    (cd "$tree" && exec timeout 60 "${user[@]}" strace -ff $stacks -y -v -s 300 --seccomp-bpf -e trace=$modifying "${inject[@]}" \
        -o "$work/strace/log" -- "$@") > "$work/out" 2>&1 < /dev/null || status=$?
    for log in "$work"/strace/log.*; do awk -f "$here/audit-oracle.awk" -v tree="$tree" -v unloaded="${unloaded:-0}" -v routeless=$([ -n "$stacks" ]; echo $?) "$log"; done |
        sort | uniq -c | awk '{n = $1; sub(/^ *[0-9]+ /, ""); print $0 "\t" n}' > "$work/expected"
}
# The verdict that follows from it. `forbidden`: the program would gain privileges, and may not.
implied() {
    local needs_other=0
    [ "${forbidden:-0}" = 0 ] || { echo refused; return; }
    grep -q '^mmap, shared.*past\|^mknod' "$work/expected" && { echo refused; return; }
    grep -q '^io_uring\|^ioctl, flags' "$work/expected" && needs_other=1
    grep -q '^\(copy_file_range\|sendfile\|splice\).past' "$work/expected" && needs_other=1
    [ $needs_other = 1 ] && [ "$status" != 0 ] && { echo refused; return; }
    if grep -v '^io_uring\|^ioctl\|^mmap' "$work/expected" | grep -q 'past'; then echo "covered with the guard"
    elif grep -v '^io_uring\|^ioctl\|^mmap' "$work/expected" | grep -q .; then echo covered
    else echo "nothing seen"; fi
}
report() { sqlite3 -separator $'\t' :memory: "WITH report AS (SELECT CAST(readfile('$work/report') AS TEXT) AS text) $1"; }
counted() {
    report "SELECT json_extract(value, '\$.call'), CASE CASE '$stacks' WHEN '' THEN 'none' ELSE json_extract(value, '\$.route') END WHEN 'none' THEN 'any' WHEN 'stdio' THEN 'stdio' WHEN 'wrapper' THEN 'library'
        WHEN 'aio' THEN 'library' ELSE 'past' END AS class, sum(json_extract(value, '\$.count')) FROM report, json_each(text, '\$.calls')
        WHERE json_extract(value, '\$.call') NOT LIKE 'exec %' GROUP BY 1, 2" | sort > "$work/counted"
    verdict=$(report "SELECT json_extract(text, '\$.verdict') FROM report")
}

# agrees VERDICT CODE COMMAND...: strace and audit agree, and both with what is known ("" and "": whatever it is)
agrees() {
    local known=$1 code=$2 got=0 tells
    shift 2
    fresh_tree
    oracle "$@"
    tells=$(implied)
    fresh_tree
    : > "$work/report" && chmod 666 "$work/report"
    (cd "$tree" && exec timeout 60 "${user[@]}" "$observed/lockstep" audit --root "$tree" --json --output "$work/report" -- "$@") > "$work/out" 2>&1 < /dev/null || got=$?
    counted || { tail "$work/out"; return 1; }
    diff "$work/expected" "$work/counted" || { echo "(< strace, > audit)"; tail -n 5 "$work/out"; cat "$work/report"; return 1; }
    echo "$verdict, $(awk -F'\t' '{n += $3} END {print n + 0}' "$work/counted") calls, exit code $got, command's $(report "SELECT json_extract(text, '\$.command') FROM report") ($status)"
    [ "$verdict" = "$tells" ] || { echo "strace implies: $tells"; return 1; }
    [ "$(report "SELECT json_extract(text, '\$.exitCode') FROM report")" = $got ] || { echo "exit code $got"; return 1; }
    [ -z "$known" ] || [ "$verdict $got" = "$known $code" ] || { echo "known: $known $code"; return 1; }
}

# ---------------------------------------------------------------- programs whose verdict is known

agrees_check() { check "$1: ${2:-as strace implies}" agrees "${@:2}"; }
# Programs that load much: each mapping costs strace's stacks 10 ms. In CI their counts are compared by call alone.
agrees_slowly() {
    local stacks=$stacks
    [ "${CI:-}" != true ] || stacks=
    agrees_check "$@"
}

agrees_check sqlite3 covered 0 sqlite3 "$tree/my.db" "PRAGMA journal_mode=WAL; CREATE TABLE t(n);
    INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) SELECT n FROM c; DELETE FROM t WHERE n % 2; VACUUM;"
agrees_check bash covered 0 bash -c 'mkdir sub; for i in 1 2 3; do echo $i > sub/$i; done; mv sub/1 sub/4; cat < sub/2 > copy; ln -s copy link; rm sub/3; chmod 600 copy; printf x | tee out; exec 7>> out; echo y >&7'
agrees_check cp covered 0 sh -c "cp -a file copied && cp --reflink=auto copied again && cp -r d e"
agrees_check "sed -i" covered 0 sed -i s/one/eins/ "$tree/file"
agrees_check tar covered 0 sh -c 'tar cf all.tar file && tar xf all.tar -C d && dd if=/dev/zero of=zero bs=4096 count=5 conv=fsync'
agrees_slowly python3 covered 0 python3 -I -S -c "import os
with open('a','w') as f: f.write('x' * 100000); f.flush(); os.fsync(f.fileno())
os.rename('a','b'); os.truncate('b', 7); os.utime('b', (1, 2)); os.link('b', 'c'); os.remove('c')"
agrees_check "streams opened anew, and a spawn's files" covered 0 "$streams"
agrees_check perl covered 0 perl -e 'open F, ">", "p"; print F "x" x 20000; close F; unlink "file"; symlink "p", "q"; mkdir "m"; rmdir "m"'
agrees_check "raw system calls" "covered with the guard" 3 "$evasions" inline "$tree/d"
agrees_check "names by raw system calls" "covered with the guard" 3 "$evasions" names "$tree/d"
agrees_check "a static program" "covered with the guard" 3 "$static" names "$tree/d"
agrees_slowly "fio with libaio" covered 0 fio --name=x --filename="$tree/f" --size=1m --bs=64k --rw=randwrite --ioengine=libaio --direct=1 --iodepth=8 --fdatasync=4 --thread
agrees_slowly "fio with posixaio" covered 0 fio --name=x --filename="$tree/f" --size=1m --bs=64k --rw=write --ioengine=posixaio --iodepth=1 --thread
inject=(-e inject=io_uring_setup:error=EPERM)
agrees_slowly "fio with io_uring" refused 1 fio --name=x --filename="$tree/f" --size=1m --bs=64k --rw=write --ioengine=io_uring --thread
inject=()
agrees_check "a shared mapping" covered 0 "$mapped" "$tree/map"
agrees_check redis-server covered 0 bash -c 'redis-server --port 0 --unixsocket sock --save "" --appendonly no --dbfilename dump.rdb > /dev/null &
    until redis-cli -s sock ping > /dev/null 2>&1; do read -r -t 0.02 _ <> <(:) || true; done
    redis-cli -s sock set a b; redis-cli -s sock save; redis-cli -s sock shutdown nosave; wait'
agrees_check "a program that only reads" "nothing seen" 4 cat "$tree/file"

setuid() { # it gains privileges, and the loader ignores the library
    cp /bin/touch "$work/touch" && chown 65534 "$work/touch" && chmod 4755 "$work/touch" || return 1
    chmod 777 "$work" # the new user's
    fresh_tree && chmod 777 "$tree"
    unloaded=1
    # The tree must be writable for the user that it becomes.
    eval "$(declare -f fresh_tree | sed '1s/fresh_tree/fresh_before/')"
    fresh_tree() { fresh_before; chmod 777 "$tree"; }
    agrees "covered with the guard" 3 "$work/touch" "$tree/touched" && report "SELECT text FROM report" | grep -q '"what":"is setuid"'
    local code=$?
    unloaded=0
    eval "$(declare -f fresh_before | sed '1s/fresh_before/fresh_tree/')"
    return $code
}
setuid_forbidden() { # by an unprivileged user: it may not gain any
    user=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
    cp /bin/touch "$work/touch" && chown 0 "$work/touch" && chmod 4755 "$work/touch" || return 1
    forbidden=1
    agrees refused 1 "$work/touch" "$tree/touched"
    local code=$?
    forbidden=0
    user=()
    return $code
}
postgres() {
    install -d -o postgres -m 700 "$work/pg-home"
    local user=(setpriv --reuid=postgres --regid=postgres --init-groups --) stacks=
    eval "$(declare -f fresh_tree | sed '1s/fresh_tree/fresh_before/')"
    fresh_tree() { rm -rf "$tree"; install -d -o postgres -m 700 "$tree"; }
    agrees covered 0 /usr/lib/postgresql/15/bin/initdb --no-sync --no-instructions -D "$tree/pg"
    local code=$?
    eval "$(declare -f fresh_before | sed '1s/fresh_before/fresh_tree/')"
    return $code
}
mariadb() { # it goes on without io_uring and without persistent memory: covered all the same
    fresh_tree
    cat > "$work/mariadb.sh" << 'END'
    mariadb-install-db --no-defaults --datadir="$1/my" --auth-root-authentication-method=normal --skip-test-db --user=root || exit
    mariadbd --no-defaults --user=root --datadir="$1/my" --socket="$1/s" --skip-networking --pid-file="$1/pid" &
    server=$!
    until mariadb-admin -S "$1/s" ping; do kill -0 $server || exit; read -r -t 0.05 _ <> <(:); done
    mariadb -S "$1/s" -e "CREATE DATABASE d; CREATE TABLE d.t(n INT PRIMARY KEY, x CHAR(100)); INSERT INTO d.t SELECT seq, seq FROM seq_1_to_5000"
    mariadb-admin -S "$1/s" shutdown
    wait $server
END
    (cd "$tree" && exec timeout 90 "$product/lockstep" audit --root "$tree" --json --output "$work/report" -- bash "$work/mariadb.sh" "$tree") > "$work/out" 2>&1 < /dev/null ||
        { tail "$work/out" "$work/report"; return 1; }
    grep -q '"call":"io_uring_setup",[^}]*"errno":"EPERM","fate":"refused"' "$work/report" && grep -q '"call":"io_submit"' "$work/report" &&
        grep -q 'the program went on without it' "$work/report" && grep -q '"verdict":"covered"' "$work/report"
}
other_machine() { # no shared library of that machine is needed: two calls in assembler
    printf '.globl _start\n_start: mov $39,%%eax; mov $name,%%ebx; mov $0755,%%ecx; int $0x80; hlt\nname: .asciz "made"\n' > "$work/small.s"
    as --32 -o "$work/small.o" "$work/small.s" && ld -m elf_i386 -o "$work/small" "$work/small.o" || return 1
    local got=0
    fresh_tree
    (cd "$tree" && audit "$work/small") > "$work/out" 2>&1 || got=$?
    [ $got = 1 ] && [ ! -e "$tree/made" ] && grep -q '"kind":"foreign"' "$work/report" && grep -q 'only x86-64 programs' "$work/report"
}
if root; then
    check "a set-user-id program: covered with the guard" setuid
    check "the same without privileges: refused" setuid_forbidden
    check "initdb: covered" postgres
    check "mariadbd, which would have io_uring: covered" mariadb
else
    skip "programs of other users" "needs root"
fi
check "a 32-bit program: refused" other_machine

# ---------------------------------------------------------------- ten of those that are installed

picked() { # PROGRAM ARGUMENT: harmless: as nobody, in a scratch tree that is its home
    local name=$1
    shift
    user=(setpriv --reuid=65534 --regid=65534 --clear-groups -- env -i PATH=/usr/bin:/bin HOME="$tree" TMPDIR="$tree" TERM=dumb LC_ALL=C timeout -k 1 10)
    root || user=(env HOME="$tree" TMPDIR="$tree" timeout -k 1 10)
    local file code
    file=$(realpath "/usr/bin/$name")
    forbidden=0
    if [ -u "$file" ] || [ -g "$file" ] || [ -n "$(getcap "$file" 2> /dev/null)" ]; then forbidden=1; fi
    # What it says goes into the tree: so there is something to count.
    local command=(sh -c '"$@" > said 2>&1' "$name" "/usr/bin/$name" "$@")
    [ $forbidden = 0 ] || command=("/usr/bin/$name" "$@")
    agrees "" "" "${command[@]}"
    code=$?
    if [ $code != 0 ]; then # does it do the same twice, and end by itself?
        cp "$work/expected" "$work/once"
        fresh_tree
        oracle "${command[@]}"
        [ "$status" -lt 124 ] && cmp -s "$work/once" "$work/expected" || code=75
    fi
    forbidden=0
    user=()
    return $code
}
echo "seed $seed"
picks=0
while [ $picks -lt 10 ] && read -r name; do
    dpkg -S "/usr/bin/$name" > /dev/null 2>&1 || continue
    argument=$(case $((picks % 3)) in 0) echo --version ;; 1) echo --help ;; 2) echo "$tree/file" ;; esac)
    picked "$name" "$argument" > "$work/pick" 2>&1
    agreed=$?
    [ $agreed != 75 ] || { echo "passed over, it does not do the same twice: $name ${argument##*/}"; continue; }
    picks=$((picks + 1))
    check "picked: $name ${argument##*/}" eval "cat '$work/pick'; [ $agreed = 0 ]"
    cat "$work/output"
done < <(cd /usr/bin && printf '%s\n' * | awk -v seed="$seed" 'BEGIN {srand(seed)} {print rand() "\t" $0}' | sort -n | cut -f 2 | head -n 60)
check "ten were picked" [ $picks = 10 ]

# ---------------------------------------------------------------- what is counted, and what is said

opens() { report "SELECT sum(json_extract(value, '\$.count')) FROM report, json_each(text, '\$.calls') WHERE json_extract(value, '\$.call') = 'open'"; }
outside() { # a file outside of --root is none of its business, without --root it is; SQLite's index never is
    local writes="echo x > '$work/elsewhere'; echo y > inside; echo y > /dev/null; echo z > index-shm"
    fresh_tree
    (cd "$tree" && audit sh -c "$writes") && [ "$(opens)" = 1 ] && grep -q '/inside"' "$work/report" || return 1
    (cd "$tree" && "$product/lockstep" audit --json --output "$work/report" -- sh -c "$writes") && [ "$(opens)" = 2 ] && grep -q '/elsewhere"' "$work/report"
}
ends() { # signals reach the command, its status is told, and the report comes all the same
    fresh_tree
    mkfifo "$work/ready"
    (cd "$tree" && exec "$product/lockstep" audit --root "$tree" -- bash -c "trap 'kill \$!; echo got > got; exit 5' TERM; sleep 20 & echo > '$work/ready'; wait") > "$work/out" 2>&1 &
    local pid=$! code=0
    read -r _ < "$work/ready"
    kill -TERM $pid
    wait $pid || code=$?
    rm "$work/ready"
    [ $code = 0 ] && [ -s "$tree/got" ] && grep '^covered: .* The command ended with 5\.' "$work/out"
}
starts() {
    expect 127 'no such command in PATH' audit no-such-command && expect 126 'is not executable|Permission denied|cannot be started' audit /etc/passwd &&
        expect 77 'inside a lockstep run' env LOCKSTEP_SOCKET=x "$product/lockstep" audit -- true &&
        expect 71 'no seccomp listener' "$(program no_listener)" 16 "$product/lockstep" audit -- true
}
full() { # more programs than the observer's tables hold: it does not say that all is well
    local number got=0
    fresh_tree
    cp /bin/true "$tree/d/0"
    for number in {1..520}; do ln "$tree/d/0" "$tree/d/$number"; done
    (cd "$tree" && audit bash -c 'for i in {1..520}; do d/$i; done; echo x > x') > "$work/out" 2>&1 || got=$?
    [ $got = 75 ] && grep -q '"verdict":"incomplete"' "$work/report"
}
threads() { # eight processes of two threads at once: none is missed, none is counted twice
    fresh_tree
    (cd "$tree" && audit bash -c 'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=$i bs=64 count=500 status=none & done; wait') > "$work/out" || return 1
    report "SELECT sum(json_extract(value, '\$.count')) FROM report, json_each(text, '\$.calls') WHERE json_extract(value, '\$.call') = 'write'" | grep -x 4000
}
check "--root, and what is no disk" outside
check "signals, exit status, report" ends
check "what can't be started or audited" starts
check "eight programs at once" threads
check "full tables: incomplete" full

# ---------------------------------------------------------------- the manual

# The names that a section of the page shows in its displays.
shown() { awk -v section="$1" '/^\.Sh/ {here = index($0, section) > 0} /^\.Bd/ {inside = here; next} /^\.Ed/ {inside = 0} inside' "$manual" | tr ' ' '\n' | grep . | sort -u; }
# What the library wraps and the guard answers for, from the lists of the code.
wrapped() { sed -n 's/^CALL(\([A-Za-z0-9_]*\)).*/\1/p' "$top/Sources/CInterposer/calls.h" | sed -e 's/^_*\(IO_\)\{0,1\}//' -e 's/64v2$/2/' -e 's/64//' -e 's/_2$//' | sort -u; }
guarded_calls() { sed -n 's/.*GUARDED([A-Za-z0-9_]*, "\([a-z0-9_]*\)".*/\1/p' "$top/Sources/CGuard/guarded_calls.h" | sort -u; }
treated_calls() { # the audit's own list is of the same calls
    sed -n 's/ *TREATED(\(SYS_[a-z0-9_]*\|GUARD_[A-Z0-9_]*\|TREATED_[A-Z_]*\), .*/\1/p' "$top/Sources/CObserver/treatments.h" |
        sed -e 's/^SYS_//' -e 's/^GUARD_FILE_SETATTR/file_setattr/' -e 's/^GUARD_\(.*\)/\L\1/' -e 's/TREATED_MAP.*/mmap/' -e 's/TREATED_PROTECT/mprotect/' -e '/^TREATED/d' | sort -u
}
names_all() { # MANUAL
    manual=$1
    [ "$(wrapped | wc -l)" -gt 80 ] && [ "$(guarded_calls | wc -l)" -gt 50 ] || return 1
    diff <(wrapped) <(shown FUNCTIONS) && diff <(guarded_calls) <(shown "SYSTEM CALLS") && diff <(guarded_calls | grep -v pkey_mprotect) <(treated_calls)
}
forgotten() { # a name taken out, and one that nobody wraps put in
    sed 's/ fallocate / /' "$top/man/lockstep-interposer.7" > "$work/page" && ! names_all "$work/page" || return 1
    sed 's/^aio_write /aio_write aio_read /' "$top/man/lockstep-interposer.7" > "$work/page" && ! names_all "$work/page"
}
rendered() {
    local page said
    for page in "$top"/man/*; do
        said=$(groff -mandoc -ww -z -Tutf8 "$page" 2>&1)
        [ -z "$said" ] || { echo "$page: $said"; return 1; }
    done
}
check "lockstep-interposer(7) names every call that is wrapped or guarded, and no other" names_all "$top/man/lockstep-interposer.7"
check "control: a name too few, a name too many" forgotten
check "the manual pages are rendered without a warning" rendered

# ---------------------------------------------------------------- what strace would notice

# broken NAME SED: the product with an observer that has one line changed
broken() {
    local sources=$work/$1-sources
    mkdir -p "$sources/tools" "$work/$1" && cp -r "$top/Sources" "$sources/" && cp "$top/tools/build-keeper" "$sources/tools/" && cp "$product"/* "$work/$1/" || return 1
    sed -i "$2" "$sources/Sources/CObserver/observe.c"
    ! cmp -s "$sources/Sources/CObserver/observe.c" "$top/Sources/CObserver/observe.c" || { echo "nothing is changed"; return 1; }
    "$sources/tools/build-keeper" "$work/$1" lockstep-observer
}
noticed() { # noticed NAME SED COMMAND...: with that line changed strace and audit differ
    local name=$1
    broken "$1" "$2" || return 1
    shift 2
    observed=$work/$name
    if agrees "" "" "$@" > "$work/noticed" 2>&1; then observed=$product; echo "not noticed"; cat "$work/noticed"; return 1; fi
    observed=$product
    grep '^[<>]\|^strace implies' "$work/noticed"
}
check "control: an audit that does not follow descendants" noticed children \
    's/    subject_find(/    static pid_t first; if (first == 0) first = caller->tid; if (first != caller->tid) return 0;\n&/' bash -c 'echo x > x; cp x y; :'
check "control: an audit that does not see what streams write" noticed streams 's/    subject_find(/    if (route == ROUTE_STDIO) return 0;\n&/' bash -c 'echo x > x'
check "control: an audit that takes raw calls for the library's" noticed raw 's/    subject_find(/    if (route == ROUTE_PROGRAM) route = ROUTE_WRAPPER;\n&/' "$evasions" inline "$tree/d"
finish_scenario
