# The second half of tools/audit-libc: names, exported names, wrapped names, list, pointers in data, disassembly.

function padded(digits) { return substr("0000000000000000", 1, 16 - length(digits)) digits }

function decimal(digits,    i, value) {
    for (i = 1; i <= length(digits); i++) value = value * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
    return value + 0
}

function edge(callee, caller) {
    if (!((callee, caller) in edges)) { edges[callee, caller] = 1; callees[++edge_count] = callee; callers[edge_count] = caller }
}

BEGIN {
    # System calls that change a file, a name or what a file's bytes are, or that start what could.
    text = "1 write 18 pwrite64 20 writev 296 pwritev 328 pwritev2 2 open 257 openat 85 creat 437 openat2 304 open_by_handle_at " \
        "76 truncate 77 ftruncate 285 fallocate 82 rename 264 renameat 316 renameat2 86 link 265 linkat 88 symlink 266 symlinkat " \
        "87 unlink 263 unlinkat 84 rmdir 83 mkdir 258 mkdirat 133 mknod 259 mknodat 90 chmod 91 fchmod 268 fchmodat 452 fchmodat2 " \
        "92 chown 93 fchown 94 lchown 260 fchownat 132 utime 235 utimes 261 futimesat 280 utimensat 188 setxattr 189 lsetxattr " \
        "190 fsetxattr 197 removexattr 198 lremovexattr 199 fremovexattr 463 setxattrat 466 removexattrat 469 file_setattr " \
        "326 copy_file_range 40 sendfile 275 splice 278 vmsplice 276 tee 74 fsync 75 fdatasync 162 sync 306 syncfs " \
        "206 io_setup 209 io_submit 425 io_uring_setup 426 io_uring_enter 59 execve 322 execveat 95 umask"
    for (count = split(text, words, " "); count > 0; count -= 2) calls[words[count - 1]] = words[count]
}

file == 1 { start[++functions] = $1; name[functions] = $2; named[$1] = $2; next }
file == 2 { if ($1 in named) { exports[named[$1]] = exports[named[$1]] " " $2 }; next }
file == 3 { wrapped[$1] = 1; next }
file == 4 { if (NF >= 3) { kind[$1, $2] = $3; if ($1 == "pointer") pointers_listed[$2] = $3; if (NF == 4) users[$2] = $4 } else if (NF) { print "not understood in the list: " $0; bad++ } next }
file == 5 { if (padded($1) in named) pointers[named[padded($1)]]++; next }

/^ *[0-9a-f]+:/ {
    address = padded(substr($1, 1, length($1) - 1))
    while (at < functions && start[at + 1] <= address) { at++; number = "?" }
    # The number: the constant last moved into eax. What comes from elsewhere is not known, and listed as such.
    if (match($0, /\$0x[0-9a-f]+,%[er]ax/)) number = decimal(substr($0, RSTART + 3, RLENGTH - 8))
    else if ($2 == "xor" && $3 == "%eax,%eax") number = 0
    else if ($2 ~ /^(mov|lea|pop|c?mov|call)/ && ($2 ~ /^call/ || $0 ~ /,%[er]ax$/)) number = "?"
    if ($2 == "syscall" && (number == "?" || number in calls)) {
        call = number == "?" ? "?" : calls[number]
        edge("syscall:" call, name[at])
        if (number != "?") changing[name[at]] = 1
    }
    if ($2 ~ /^(call|j)/ && match($0, / [0-9a-f]+ </)) target = padded(substr($0, RSTART + 1, RLENGTH - 3))
    else if ($2 ~ /^lea/ && match($0, /# [0-9a-f]+/)) target = padded(substr($0, RSTART + 2, RLENGTH - 2))
    else next
    if (target in named && named[target] != name[at]) edge(named[target], name[at])
}

END {
    for (caller in changing) reached[caller] = 1
    for (f in users) if (f in pointers) reached[users[f]] = 1
    do {
        more = 0
        for (i = 1; i <= edge_count; i++) {
            if (done[i] || !(callees[i] in reached || callees[i] ~ /^syscall:/)) continue
            done[i] = more = 1
            callee = callees[i]; caller = callers[i]
            if (all) print callee, caller, ((callee, caller) in kind) ? kind[callee, caller] : "?"
            if (!((callee, caller) in kind)) { print "not in the list: " caller " calls " callee; bad++; continue }
            seen[callee, caller] = 1
            how = kind[callee, caller]
            if (how == "follow" || how == "patched") reached[caller] = 1
            else if (how == "wrapped") {
                reached[caller] = 1
                if (!(caller in exports)) { print "listed as wrapped, but not exported: " caller; bad++ }
                for (n = split(exports[caller], names, " "); n > 0; n--)
                    if (!(names[n] in wrapped) && !(("name", names[n]) in kind)) { print "not wrapped: " names[n] " (" caller ")"; bad++; kind["name", names[n]] = "said" }
                for (n = split(exports[caller], names, " "); n > 0; n--) seen["name", names[n]] = 1
            } else if (how !~ /^(reads|elsewhere|harmless|guard)$/) { print "no such kind: " how; bad++ }
        }
    } while (more)
    for (f in pointers)
        if (f in reached || pointers_listed[f]) {
            if (all) print "pointer", f, pointers[f]
            seen["pointer", f] = 1
            if (pointers[f] != pointers_listed[f]) { print "pointers in data to " f ": " pointers[f] ", in the list " pointers_listed[f] + 0; bad++ }
        }
    for (key in kind)
        if (!(key in seen)) { split(key, words, SUBSEP); print "note: listed, and not there: " words[1] " " words[2] }
    if (functions < 1000 || !changing["write"]) { print "the disassembly is not understood"; bad++ }
    print bad ? bad " not as listed" : "as listed: " edge_count " calls looked at"
    exit bad > 0
}
