# What `strace -ff -k -y -v` saw of one process, as an audit should have counted it: "CALL<tab>stdio|library|past" for each
# operation on a file of the tree, a line each. Knows nothing of the audit's own code.
#
#   -v tree=DIR      the tree, which is also the working directory
#   -v unloaded=1    the program gains privileges: nothing of it comes through the library
#   -v routeless=1   strace was not asked for stacks: every route is "any"
#
# Whose instruction made a call is told by the first frame of its stack: libc's functions are wrapped, its streams are known
# by _IO_file_write.

function finish(    class) {
    if (call == "") return
    if (routeless) class = "any"
    else if (unloaded || is_static || first_frame !~ /^libc[.-]/) class = "past"
    else class = streams ? "stdio" : "library"
    for (; operations > 0; operations--) print call "\t" class
    call = ""
}
function in_tree(path) { return (path == tree || index(path, tree "/") == 1) && path !~ /(-shm|\/lock\.mdb)$/ }

# The n-th descriptor's path, of those that strace shows: 4</path>
function descriptor(n,    rest) {
    rest = text
    while (match(rest, /[0-9]<[^>]*>|AT_FDCWD<[^>]*>/)) {
        if (--n == 0) {
            rest = substr(rest, RSTART, RLENGTH)
            sub(/^[^<]*</, "", rest); sub(/>$/, "", rest)
            return rest
        }
        rest = substr(rest, RSTART + RLENGTH)
    }
    return ""
}
# Whether one of the names in quotes lies in the tree, the directory in front of it seen to. `from`: the first that counts.
function named(from,    rest, before, name, directory, at, number) {
    rest = text
    number = 0
    while (match(rest, /"([^"\\]|\\.)*"/)) {
        before = substr(rest, 1, RSTART - 1)
        name = substr(rest, RSTART + 1, RLENGTH - 2)
        rest = substr(rest, RSTART + RLENGTH)
        if (++number < from) continue
        directory = tree
        if (match(before, /<[^>]*>, $/)) directory = substr(before, RSTART + 1, RLENGTH - 4)
        if (name !~ /^\//) name = name == "" ? directory : directory "/" name
        if (in_tree(name)) return 1
    }
    return 0
}
function changes(name, n) { call = name; operations = in_tree(descriptor(n)) }
function names(name, from) { call = name; operations = named(from) }

/^ > / {
    if (call == "") next
    frame = $2
    sub(/\(.*/, "", frame); sub(/.*\//, "", frame)
    if (first_frame == "") first_frame = frame
    if ($0 ~ /\(_IO_file_write\+|\(_IO_new_file_write\+/) streams = 1
    next
}
{
    finish()
    first_frame = ""; streams = operations = 0
    if (!match($0, /^[a-z_0-9]+\(/)) next
    number = substr($0, 1, RLENGTH - 1)
    text = substr($0, RLENGTH + 1)
    if (number ~ /^(write|writev|pwrite64|pwritev|pwritev2|fsync|fdatasync|syncfs|ftruncate|fallocate|sendfile)$/) changes(number, 1)
    else if (number == "fchmod") changes("chmod", 1)
    else if (number == "fchown") changes("chown", 1)
    else if (number ~ /^f(set|remove)xattr$/) changes(substr(number, 2), 1)
    else if (number == "copy_file_range" || number == "splice") changes(number, 2)
    else if (number ~ /^(open|openat|openat2)$/ && text ~ /O_CREAT|O_TRUNC|O_TMPFILE/) names("open", 1)
    else if (number == "creat") names("open", 1)
    else if (number ~ /^(truncate|rmdir|unlink|mknod|setxattr|removexattr|link|rename)$/) names(number, 1)
    else if (number ~ /^(unlinkat|mkdirat|mknodat|linkat|renameat|renameat2)$/) {
        sub(/at2?$/, "", number)
        if (text ~ /AT_REMOVEDIR/) number = "rmdir"
        names(number, 1)
    }
    else if (number ~ /^l(set|remove)xattr$/) names(substr(number, 2), 1)
    else if (number == "mkdir") names("mkdir", 1)
    else if (number ~ /^(chmod|fchmodat|fchmodat2)$/) names("chmod", 1)
    else if (number ~ /^(chown|lchown|fchownat)$/) names("chown", 1)
    else if (number ~ /^symlink(at)?$/) names("symlink", 2)
    else if (number ~ /^(utime|utimes|futimesat|utimensat)$/) { if (text ~ /^[0-9]+<[^>]*>, NULL/) changes("utimens", 1); else names("utimens", 1) }
    else if (number == "ioctl" && text ~ /FICLONE|FIDEDUPERANGE/) changes("ioctl, a clone", 1)
    else if (number == "ioctl" && text ~ /SETFLAGS|FSSETXATTR|MOVE_EXT/) changes("ioctl, flags or extents", 1)
    else if (number == "mmap" && text ~ /MAP_SYNC/) changes("mmap, synchronous", 1)
    else if (number == "mmap" && text ~ /PROT_WRITE/ && text ~ /MAP_SHARED/ && text !~ /MAP_ANON/) changes("mmap, shared and writable", 1)
    else if (number ~ /^io_uring_/ || number == "sync") { call = number; operations = 1 }
    else if (number == "io_submit") {
        call = number
        for (blocks = split(text, block, /aio_lio_opcode=/); blocks > 1; blocks--) {
            if (block[blocks] !~ /^IOCB_CMD_(PWRITEV?|FSYNC|FDSYNC)/) continue
            if (match(block[blocks], /aio_fildes=[0-9]+<[^>]*>/) && in_tree(substr(block[blocks], RSTART + index(substr(block[blocks], RSTART), "<"), RLENGTH - index(substr(block[blocks], RSTART), "<") - 1))) operations++
        }
    }
    else if (number ~ /^execve(at)?$/ && text ~ /= 0$/) { call = ""; is_static = 0 }
    if (operations == 0) call = ""
}
END { finish() }
