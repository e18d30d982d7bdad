/*
 * names.c: calls on paths, executed here on the copied path, with the caller's credentials, umask and directory. A caller
 * that sees other files under these names (chroot, mount namespace) is refused.
 */
#include "place.h"
#include "request.h"

#include "guarded_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
    VALUE_BYTES_MAX = 65536,
    ATTRIBUTE_BYTES_MAX = 256,
    FIFO_MILLISECONDS = 20,
};

/* A call in the form in which all are executed: places and numbers. */
struct named {
    int number;              /* the call that is made */
    int first, second;       /* arguments that are the paths, -1: none */
    int first_base, second_base; /* arguments that are their directories, -1: the working directory */
    bool follows;            /* the first path's last name, if it is a link */
    uint64_t flags, mode;
};

static __thread struct place places[2];

static int64_t answered(long answer) { return answer < 0 ? -errno : answer; }

/* ------------------------------------------------------------------ which call is it? */

#define NONE (-1)
#define CHANGING (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

static bool opens_follow(uint64_t flags) {
    return !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

/* The older calls, as the ones with a directory that they are. */
static bool name(const struct request *request, struct named *call) {
    const __u64 *a = request->data->args;
#define ONE(made, base, path, followed, given_flags, given_mode) \
    (*call = (struct named){made, path, NONE, base, NONE, followed, given_flags, given_mode}, true)
#define TWO(made, base1, path1, base2, path2, followed, given_flags) \
    (*call = (struct named){made, path1, path2, base1, base2, followed, given_flags, 0}, true)
    switch (request->data->nr) {
    case SYS_open: return ONE(SYS_openat, NONE, 0, opens_follow(a[1]), a[1], a[2]);
    case SYS_creat: return ONE(SYS_openat, NONE, 0, true, O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_openat: return ONE(SYS_openat, 0, 1, opens_follow(a[2]), a[2], a[3]);
    case SYS_truncate: return ONE(SYS_truncate, NONE, 0, true, a[1], 0);
    case SYS_mkdir: return ONE(SYS_mkdirat, NONE, 0, false, 0, a[1]);
    case SYS_mkdirat: return ONE(SYS_mkdirat, 0, 1, false, 0, a[2]);
    case SYS_mknod: return ONE(SYS_mknodat, NONE, 0, false, a[2], a[1]);
    case SYS_mknodat: return ONE(SYS_mknodat, 0, 1, false, a[3], a[2]);
    case SYS_unlink: return ONE(SYS_unlinkat, NONE, 0, false, 0, 0);
    case SYS_rmdir: return ONE(SYS_unlinkat, NONE, 0, false, AT_REMOVEDIR, 0);
    case SYS_unlinkat: return ONE(SYS_unlinkat, 0, 1, false, a[2], 0);
    case SYS_chmod: return ONE(SYS_fchmodat, NONE, 0, true, 0, a[1]);
    case SYS_fchmodat: return ONE(SYS_fchmodat, 0, 1, true, 0, a[2]);
    case GUARD_FCHMODAT2: return ONE(GUARD_FCHMODAT2, 0, 1, !(a[3] & AT_SYMLINK_NOFOLLOW), a[3], a[2]);
    case SYS_chown: return ONE(SYS_fchownat, NONE, 0, true, 0, 0);
    case SYS_lchown: return ONE(SYS_fchownat, NONE, 0, false, AT_SYMLINK_NOFOLLOW, 0);
    case SYS_fchownat: return ONE(SYS_fchownat, 0, 1, !(a[4] & AT_SYMLINK_NOFOLLOW), a[4], 0);
    case SYS_utime: return ONE(SYS_utimensat, NONE, 0, true, 0, 0);
    case SYS_utimes: return ONE(SYS_utimensat, NONE, 0, true, 0, 0);
    case SYS_futimesat: return ONE(SYS_utimensat, 0, 1, true, 0, 0);
    case SYS_utimensat: return ONE(SYS_utimensat, 0, 1, !(a[3] & AT_SYMLINK_NOFOLLOW), a[3], 0);
    case SYS_setxattr: return ONE(SYS_setxattr, NONE, 0, true, 0, 0);
    case SYS_lsetxattr: return ONE(SYS_lsetxattr, NONE, 0, false, 0, 0);
    case SYS_removexattr: return ONE(SYS_removexattr, NONE, 0, true, 0, 0);
    case SYS_lremovexattr: return ONE(SYS_lremovexattr, NONE, 0, false, 0, 0);
    case SYS_symlink: return ONE(SYS_symlinkat, NONE, 1, false, 0, 0);
    case SYS_symlinkat: return ONE(SYS_symlinkat, 1, 2, false, 0, 0);
    case SYS_link: return TWO(SYS_linkat, NONE, 0, NONE, 1, false, 0);
    case SYS_linkat: return TWO(SYS_linkat, 0, 1, 2, 3, (a[4] & AT_SYMLINK_FOLLOW) != 0, a[4]);
    case SYS_rename: return TWO(SYS_renameat2, NONE, 0, NONE, 1, false, 0);
    case SYS_renameat: return TWO(SYS_renameat2, 0, 1, 2, 3, false, 0);
    case SYS_renameat2: return TWO(SYS_renameat2, 0, 1, 2, 3, false, a[4]);
    default: return false;
    }
#undef ONE
#undef TWO
}

/* ------------------------------------------------------------------ what is read before */

struct read {
    int bases[2];                    /* of this process, -1 */
    char paths[2][PATH_MAX];
    char target[PATH_MAX];           /* of a symbolic link; name of an attribute */
    uint8_t value[VALUE_BYTES_MAX];
    size_t value_bytes;
    struct timespec times[2];
    bool has_times;
};

/* A path and the directory that it starts from. */
static long read_path(struct request *request, int argument, int base_argument, struct read *read, int which) {
    uint64_t address = request_argument(request, argument);
    ssize_t bytes = caller_read_text(&request->caller, read->paths[which], address, PATH_MAX);
    if (bytes < 0) return bytes;
    int base = base_argument == NONE || read->paths[which][0] == '/' ? AT_FDCWD : request_descriptor(request, base_argument);
    read->bases[which] = base == AT_FDCWD ? caller_directory(&request->caller) : caller_descriptor(&request->caller, base);
    return read->bases[which] < 0 ? read->bases[which] : 0;
}

/* The four ways to give two times, as one. */
static long read_times(struct request *request, struct read *read) {
    int number = request->data->nr;
    uint64_t address = request_argument(request, number == SYS_utime || number == SYS_utimes ? 1 : 2);
    int64_t given[4];
    read->has_times = address != 0;
    if (address == 0) return 0;
    size_t bytes = number == SYS_utime ? 2 * sizeof *given : sizeof given;
    ssize_t copied = caller_read_bytes(&request->caller, given, address, bytes);
    if (copied != (ssize_t)bytes) return copied < 0 && copied != -EFAULT ? copied : -EFAULT;
    for (int index = 0; index < 2; index++) {
        if (number == SYS_utime) {
            read->times[index] = (struct timespec){given[index], 0};
        } else {
            bool is_micro = number != SYS_utimensat;
            if (is_micro && (given[2 * index + 1] < 0 || given[2 * index + 1] >= 1000000)) return -EINVAL;
            read->times[index] = (struct timespec){given[2 * index], given[2 * index + 1] * (is_micro ? 1000 : 1)};
        }
    }
    return 0;
}

static long read_rest(struct request *request, const struct named *call, struct read *read) {
    ssize_t bytes = 0;
    switch (call->number) {
    case SYS_utimensat: return read_times(request, read);
    case SYS_symlinkat: bytes = caller_read_text(&request->caller, read->target, request_argument(request, 0), PATH_MAX); break;
    case SYS_setxattr:
    case SYS_lsetxattr:
    case SYS_removexattr:
    case SYS_lremovexattr:
        bytes = caller_read_text(&request->caller, read->target, request_argument(request, 1), ATTRIBUTE_BYTES_MAX);
        if (bytes == -ENAMETOOLONG) bytes = -ERANGE;
        read->value_bytes = request_argument(request, 3);
        if (bytes < 0 || call->number == SYS_removexattr || call->number == SYS_lremovexattr) break;
        if (read->value_bytes > sizeof read->value) return -E2BIG;
        if (read->value_bytes > 0
            && caller_read_bytes(&request->caller, read->value, request_argument(request, 2), read->value_bytes)
                != (ssize_t)read->value_bytes)
            return -EFAULT;
        break;
    default: break;
    }
    return bytes < 0 ? bytes : 0;
}

/* ------------------------------------------------------------------ opening */

/* A FIFO whose other end nobody has opened: asked again and again, so that a caller that is gone is noticed. */
static int64_t open_fifo(struct request *request, const struct place *place, uint64_t flags) {
    for (;;) {
        int opened = openat(place->directory, place->name, (int)flags | O_NONBLOCK | O_CLOEXEC);
        if (opened >= 0) {
            fcntl(opened, F_SETFL, (int)flags & ~(O_NONBLOCK | O_ACCMODE | CHANGING | O_EXCL | O_NOCTTY | O_CLOEXEC));
            return opened;
        }
        if (errno != ENXIO) return -errno;
        poll(NULL, 0, FIFO_MILLISECONDS);
        if (!caller_is_waiting(&request->caller)) return -EINTR;
    }
}

static void execute_open(struct request *request, const struct place *place, uint64_t flags, uint64_t mode) {
    struct stat status;
    bool is_there = fstatat(place->directory, place->name, &status, place->is_process ? 0 : AT_SYMLINK_NOFOLLOW) == 0;
    if (is_there && S_ISCHR(status.st_mode) && status.st_rdev == makedev(5, 0) && getsid(request->caller.process) != getsid(0)) {
        request_value(request, -ENXIO); /* /dev/tty: a terminal of ours is not the caller's */
        return;
    }
    bool is_fifo = is_there && S_ISFIFO(status.st_mode) && !(flags & O_NONBLOCK) && (flags & O_ACCMODE) != O_RDWR;
    if (is_fifo && (flags & O_ACCMODE) == O_RDONLY) {
        request_refuse(request, EOPNOTSUPP, "a FIFO opened for reading with O_CREAT");
        return;
    }
    /* What is there and is not truncated stays what it is: libc's freopen opens once more what the library has opened. */
    bool changes = !is_there || (flags & CHANGING & ~(uint64_t)O_CREAT) != 0;
    request->is_tracked &= changes;
    if (!request_begin(request)) return;
    /* Never in the library's way: the caller's flag is given to the caller's descriptor. */
    int64_t opened = is_fifo ? open_fifo(request, place, flags)
        : answered(openat(place->directory, place->name, (int)flags | O_CLOEXEC | O_NOCTTY, (mode_t)mode));
    request_value(request, opened);
    if (opened < 0) return;
    request->answer = ANSWER_DESCRIPTOR;
    request->closes_on_exec = (flags & O_CLOEXEC) != 0;
    request->is_tracked |= changes && library_verdict((int)opened) != 0;
}

/* openat2: without RESOLVE flags like the others; with them the kernel must see the path as it is. */
static void execute_openat2(struct request *request) {
    struct open_how how = {0};
    static __thread struct read read;
    struct caller *caller = &request->caller;
    uint64_t bytes = request_argument(request, 3);
    read.bases[0] = -1;
    if (bytes != sizeof how) {
        request_refuse(request, bytes < sizeof how ? EINVAL : E2BIG, "an unknown form of openat2");
        return;
    }
    ssize_t copied = caller_read_bytes(caller, &how, request_argument(request, 2), sizeof how);
    long error = copied == sizeof how ? read_path(request, 1, 0, &read, 0) : -EFAULT;
    if (error == 0 && how.flags > INT32_MAX) error = -EINVAL;
    if (error == 0 && (caller_shares_names(caller) != 0 || caller_become(caller) != 0))
        request_refuse(request, EOPNOTSUPP, "it sees other files under these names, or has other credentials");
    else if (error == 0) {
        struct place *place = &places[0];
        if (how.resolve == 0) {
            error = place_resolve(caller, read.bases[0], read.paths[0], opens_follow(how.flags), place);
            if (error == 0) {
                request->is_tracked = library_verdict(place->directory) == 1;
                execute_open(request, place, how.flags, how.mode);
                place_release(place);
            }
        } else if (request_begin(request)) {
            request->closes_on_exec = (how.flags & O_CLOEXEC) != 0;
            how.flags |= O_CLOEXEC;
            int64_t opened = answered(syscall(SYS_openat2, read.bases[0], read.paths[0], &how, sizeof how));
            request_value(request, opened);
            if (opened >= 0) {
                request->answer = ANSWER_DESCRIPTOR;
                request->is_tracked = (how.flags & CHANGING) != 0 && library_verdict((int)opened) != 0;
            }
        }
        caller_become_self();
    }
    if (error != 0) request_value(request, error);
    if (read.bases[0] >= 0) close(read.bases[0]);
}

/* ------------------------------------------------------------------ executing */

static long execute(const struct request *request, const struct named *call, struct read *read) {
    const __u64 *a = request->data->args;
    const struct place *first = &places[0], *second = &places[1];
    static __thread char path[PATH_MAX + 64];
    int number = request->data->nr;
    switch (call->number) {
    case SYS_truncate:
        place_path(first, path);
        return truncate(path, (off_t)call->flags);
    case SYS_mkdirat: return mkdirat(first->directory, first->name, (mode_t)call->mode);
    case SYS_mknodat: return syscall(SYS_mknodat, first->directory, first->name, call->mode, (unsigned)call->flags);
    case SYS_unlinkat: return unlinkat(first->directory, first->name, (int)call->flags);
    case SYS_fchmodat: return syscall(SYS_fchmodat, first->directory, first->name, call->mode);
    case GUARD_FCHMODAT2: return syscall(GUARD_FCHMODAT2, first->directory, first->name, call->mode, call->flags);
    case SYS_fchownat: {
        int owner = number == SYS_fchownat ? 2 : 1;
        return fchownat(first->directory, first->name, (uid_t)a[owner], (gid_t)a[owner + 1], (int)call->flags);
    }
    case SYS_utimensat:
        return syscall(SYS_utimensat, first->directory, first->name, read->has_times ? read->times : NULL, call->flags);
    case SYS_symlinkat: return symlinkat(read->target, first->directory, first->name);
    case SYS_linkat: /* a link is followed already, unless procfs has to */
        return linkat(first->directory, first->name, second->directory, second->name,
                      (int)call->flags & (first->is_process ? ~0 : ~AT_SYMLINK_FOLLOW));
    case SYS_renameat2:
        return syscall(SYS_renameat2, first->directory, first->name, second->directory, second->name, call->flags);
    default: break;
    }
    place_path(first, path);
    switch (call->number) {
    case SYS_setxattr: return setxattr(path, read->target, read->value, read->value_bytes, (int)a[4]);
    case SYS_lsetxattr: return lsetxattr(path, read->target, read->value, read->value_bytes, (int)a[4]);
    case SYS_removexattr: return removexattr(path, read->target);
    default: return lremovexattr(path, read->target);
    }
}

static void execute_places(struct request *request, const struct named *call, struct read *read) {
    struct caller *caller = &request->caller;
    if (caller_shares_names(caller) != 0) {
        request->is_tracked = true; /* perhaps */
        request_refuse(request, EOPNOTSUPP, "it sees other files under these names");
        return;
    }
    if (caller_become(caller) != 0) {
        request->is_tracked = true;
        request_refuse(request, EOPNOTSUPP, "its credentials can't be taken on");
        return;
    }
    long error = place_resolve(caller, read->bases[0], read->paths[0], call->follows, &places[0]);
    if (error == 0 && call->second != NONE) {
        error = place_resolve(caller, read->bases[1], read->paths[1], false, &places[1]);
        if (error != 0) place_release(&places[0]);
    }
    if (error != 0) {
        if (error == -EOPNOTSUPP) request_refuse(request, EOPNOTSUPP, "its path leads through a link of procfs");
        else request_value(request, error);
    } else {
        request->is_tracked = library_verdict(places[0].directory) == 1
            || (call->second != NONE && library_verdict(places[1].directory) == 1);
        if (call->number == SYS_openat) execute_open(request, &places[0], call->flags, call->mode);
        else if (request_begin(request)) request_value(request, answered(execute(request, call, read)));
        place_release(&places[0]);
        if (call->second != NONE) place_release(&places[1]);
    }
    caller_become_self();
}

/* utimensat and futimesat without a path mean the descriptor. */
static bool means_descriptor(const struct request *request, const struct named *call) {
    return call->number == SYS_utimensat && call->first_base != NONE && request_argument(request, call->first) == 0;
}

static void execute_times(struct request *request, struct read *read) {
    int file = caller_descriptor(&request->caller, request_descriptor(request, 0));
    long error = file < 0 ? file : read_times(request, read);
    if (error == 0) {
        request->is_tracked = library_verdict(file) != 0;
        if (caller_become(&request->caller) != 0) request_refuse(request, EOPNOTSUPP, "its credentials can't be taken on");
        else if (request_begin(request))
            request_value(request, answered(syscall(SYS_utimensat, file, NULL, read->has_times ? read->times : NULL, 0)));
        caller_become_self();
    } else {
        request_value(request, error);
    }
    if (file >= 0) close(file);
}

bool names_execute(struct request *request) {
    static __thread struct read read;
    struct named call;
    if (request->data->nr == SYS_openat2) return execute_openat2(request), true;
    if (!name(request, &call)) return false;
    read.bases[0] = read.bases[1] = -1;
    if (means_descriptor(request, &call)) return execute_times(request, &read), true;
    long error = read_path(request, call.first, call.first_base, &read, 0);
    if (error == 0 && call.second != NONE) error = read_path(request, call.second, call.second_base, &read, 1);
    if (error == 0) error = read_rest(request, &call, &read);
    if (error == -EPERM || error == -EACCES || error == -ESRCH) {
        request->is_tracked = true; /* perhaps */
        request_refuse(request, EOPNOTSUPP, "its memory or its directory can't be looked at");
    } else if (error != 0) {
        request_value(request, error);
    } else {
        execute_places(request, &call, &read);
    }
    for (int index = 0; index < 2; index++)
        if (read.bases[index] >= 0) close(read.bases[index]);
    return true;
}
