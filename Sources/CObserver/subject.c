#include "subject.h"

#include "../CGuard/place.h"
#include "tree.h"
#include "treatments.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

#define NONE (-1)

enum { BLOCKS_MAX = 1024 }; /* of one io_submit; a context rarely takes more */

/* ------------------------------------------------------------------ descriptors */

static bool path_of(int descriptor, char *path, size_t bytes) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, bytes - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* A file or directory of the tree: 1, and what is known of it; else 0. */
static uint64_t look_at(struct subject *subject, struct caller *caller, int descriptor, int *mode) {
    struct stat status;
    int file = caller_descriptor(caller, descriptor);
    if (file < 0) return 0; /* EBADF, for the call itself to find */
    bool is_ours = fstat(file, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
        && path_of(file, subject->path, sizeof subject->path) && tree_holds(subject->path);
    *mode = is_ours ? fcntl(file, F_GETFL) : 0;
    close(file);
    subject->direct = (*mode & O_DIRECT) != 0;
    subject->durable = (*mode & O_DSYNC) != 0;
    return is_ours;
}

static int changed_argument(int number) {
    switch (number) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2: case SYS_fsync: case SYS_fdatasync:
    case SYS_syncfs: case SYS_ftruncate: case SYS_fallocate: case SYS_fchmod: case SYS_fchown: case SYS_fsetxattr:
    case SYS_fremovexattr: case SYS_ioctl: case SYS_sendfile: case GUARD_FILE_SETATTR:
        return 0;
    case SYS_copy_file_range:
    case SYS_splice: return 2;
    case SYS_mmap: return 4;
    default: return NONE;
    }
}

/* ------------------------------------------------------------------ mappings */

static bool seen_readable_maps; /* that mprotect could make writable */

/* Whether this kernel says which pages were written (Linux 6.7, and userfaultfd allowed): the library asks for the same. */
static bool stores_are_seen(void) {
    static int seen = -1;
    if (seen < 0) {
        int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);
        struct uffdio_api api = {.api = UFFD_API, .features = 1ull << 15 /* UFFD_FEATURE_WP_ASYNC */};
        seen = descriptor >= 0 && ioctl(descriptor, UFFDIO_API, &api) == 0;
        if (descriptor >= 0) close(descriptor);
    }
    return seen;
}

static void map(struct subject *subject, const struct seccomp_data *data, int mode, bool past_library) {
    bool is_synchronous = (data->args[3] & MAP_TYPE) == MAP_SHARED_VALIDATE && (data->args[3] & MAP_SYNC);
    subject->treated = is_synchronous ? TREATED_MAP_SYNCHRONOUS : stores_are_seen() ? TREATED_MAP_WRITABLE : TREATED_MAP_UNTRACKED;
    if (is_synchronous || (data->args[2] & PROT_WRITE)) return;
    subject->count = 0;
    if ((mode & O_ACCMODE) == O_RDONLY) return;
    /* The library maps a descriptor of its own that can't write; the guard lets a program's text below 4 GiB go on. */
    subject->count = past_library && data->instruction_pointer >> 32 != 0;
    subject->treated = TREATED_MAP_READ;
    seen_readable_maps |= subject->count == 0;
}

/* "START-END rw-s OFFSET MAJOR:MINOR INODE   PATH" */
static void protect(struct subject *subject, struct caller *caller, const struct seccomp_data *data) {
    char name[64], line[PATH_MAX + 128];
    subject->treated = stores_are_seen() ? TREATED_PROTECT : TREATED_MAP_UNTRACKED;
    if (!seen_readable_maps) return;
    snprintf(name, sizeof name, "/proc/%d/maps", caller->tid);
    FILE *maps = fopen(name, "re");
    while (maps != NULL && subject->count == 0 && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char permissions[5];
        int at = 0;
        if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %*u %n", &from, &to, permissions, &at) < 3) continue;
        line[strcspn(line, "\n")] = 0;
        if (to <= data->args[0] || from >= data->args[0] + data->args[1] || permissions[3] != 's' || !tree_holds(line + at)) continue;
        subject->count = 1;
        snprintf(subject->path, sizeof subject->path, "%s", line + at);
    }
    if (maps != NULL) fclose(maps);
}

/* ------------------------------------------------------------------ asynchronous I/O */

static void submission(struct subject *subject, struct caller *caller, const struct seccomp_data *data) {
    uint64_t addresses[BLOCKS_MAX], count = data->args[1] < BLOCKS_MAX ? data->args[1] : BLOCKS_MAX;
    ssize_t bytes = caller_read_bytes(caller, addresses, data->args[2], count * sizeof *addresses);
    for (ssize_t index = 0; index < bytes / (ssize_t)sizeof *addresses; index++) {
        struct iocb block;
        int mode;
        if (caller_read_bytes(caller, &block, addresses[index], sizeof block) != sizeof block) return;
        if (block.aio_lio_opcode == IOCB_CMD_PREAD || block.aio_lio_opcode == IOCB_CMD_PREADV || block.aio_lio_opcode == IOCB_CMD_POLL) continue;
        subject->count += look_at(subject, caller, (int)block.aio_fildes, &mode);
    }
}

/* ------------------------------------------------------------------ paths */

struct named {
    int first_base, first, second_base, second; /* arguments; a base that is NONE: the working directory */
    bool follows;
};

static bool opens_follow(uint64_t flags) { return !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL); }

static bool name(const struct seccomp_data *data, struct named *named) {
    const __u64 *a = data->args;
#define ONE(base, path, followed) (*named = (struct named){base, path, NONE, NONE, followed}, true)
#define TWO(base1, path1, base2, path2, followed) (*named = (struct named){base1, path1, base2, path2, followed}, true)
    switch (data->nr) {
    case SYS_open: return ONE(NONE, 0, opens_follow(a[1]));
    case SYS_creat: return ONE(NONE, 0, true);
    case SYS_openat: return ONE(0, 1, opens_follow(a[2]));
    case SYS_openat2: return ONE(0, 1, true);
    case SYS_mkdir: case SYS_mknod: case SYS_unlink: case SYS_rmdir: case SYS_lchown: case SYS_lsetxattr: case SYS_lremovexattr:
        return ONE(NONE, 0, false);
    case SYS_truncate: case SYS_chmod: case SYS_chown: case SYS_utime: case SYS_utimes: case SYS_setxattr: case SYS_removexattr:
        return ONE(NONE, 0, true);
    case SYS_mkdirat: case SYS_mknodat: case SYS_unlinkat: return ONE(0, 1, false);
    case SYS_fchmodat: case SYS_futimesat: return ONE(0, 1, true);
    case GUARD_FCHMODAT2: case SYS_utimensat: return ONE(0, 1, !(a[3] & AT_SYMLINK_NOFOLLOW));
    case SYS_fchownat: return ONE(0, 1, !(a[4] & AT_SYMLINK_NOFOLLOW));
    case GUARD_SETXATTRAT: case GUARD_REMOVEXATTRAT: case GUARD_FILE_SETATTR: return ONE(0, 1, !(a[2] & AT_SYMLINK_NOFOLLOW));
    case SYS_symlink: return ONE(NONE, 1, false);
    case SYS_symlinkat: return ONE(1, 2, false);
    case SYS_link: return TWO(NONE, 0, NONE, 1, false);
    case SYS_linkat: return TWO(0, 1, 2, 3, (a[4] & AT_SYMLINK_FOLLOW) != 0);
    case SYS_rename: return TWO(NONE, 0, NONE, 1, false);
    case SYS_renameat: case SYS_renameat2: return TWO(0, 1, 2, 3, false);
    default: return false;
    }
#undef ONE
#undef TWO
}

/* Whether the name that these arguments mean lies in the tree; its path then. */
static bool is_named(struct subject *subject, struct caller *caller, const struct seccomp_data *data, int base_argument, int argument, bool follows) {
    static struct place place;
    char path[PATH_MAX];
    int mode;
    if (data->args[argument] == 0) /* the descriptor itself */
        return base_argument != NONE && look_at(subject, caller, (int)data->args[base_argument], &mode) != 0;
    ssize_t bytes = caller_read_text(caller, path, data->args[argument], sizeof path);
    if (bytes < 0) return false; /* EFAULT or ENAMETOOLONG */
    int number = base_argument == NONE || path[0] == '/' ? AT_FDCWD : (int)data->args[base_argument];
    if (bytes == 0) return number != AT_FDCWD && look_at(subject, caller, number, &mode) != 0;
    int base = number == AT_FDCWD ? caller_directory(caller) : caller_descriptor(caller, number);
    if (base < 0) return false;
    caller_identify(caller); /* for "/proc/self" */
    bool is_ours = false;
    if (place_resolve(caller, base, path, follows, &place) == 0) {
        size_t end = strlen(place.name);
        while (end > 0 && place.name[end - 1] == '/') place.name[--end] = 0;
        if (path_of(place.directory, subject->path, PATH_MAX)) {
            size_t at = strlen(subject->path);
            if (end > 0) snprintf(subject->path + at, sizeof subject->path - at, "%s%s", at == 1 ? "" : "/", place.name);
            is_ours = tree_holds(subject->path);
        }
        place_release(&place);
    }
    close(base);
    return is_ours;
}

/* What is there and is not truncated stays what it is: so libc's freopen opens once more what the library has opened. */
static bool opens_what_is_there(const struct subject *subject, const struct seccomp_data *data) {
    struct stat status;
    uint64_t flags = data->nr == SYS_open ? data->args[1] : data->nr == SYS_openat ? data->args[2] : O_TRUNC;
    return !(flags & (O_TRUNC | O_EXCL)) && (flags & O_TMPFILE) != O_TMPFILE && lstat(subject->path, &status) == 0;
}

static void named(struct subject *subject, struct caller *caller, const struct seccomp_data *data, const struct named *named) {
    subject->count = is_named(subject, caller, data, named->first_base, named->first, named->follows);
    if (subject->count == 0 && named->second != NONE)
        subject->count = is_named(subject, caller, data, named->second_base, named->second, false);
    uint64_t type = data->nr == SYS_mknod ? data->args[1] & S_IFMT : data->nr == SYS_mknodat ? data->args[2] & S_IFMT : 0;
    if (type != 0 && type != S_IFREG) subject->treated = TREATED_MKNOD_SPECIAL;
    if (data->nr == SYS_unlinkat && (data->args[2] & AT_REMOVEDIR)) subject->treated = SYS_rmdir;
}

/* ------------------------------------------------------------------ by number */

void subject_find(struct subject *subject, struct caller *caller, const struct seccomp_data *data, bool past_library) {
    struct named names;
    int mode = 0, changed = changed_argument(data->nr);
    *subject = (struct subject){.treated = data->nr};
    switch (data->nr) {
    case SYS_io_uring_setup: case SYS_io_uring_enter: case SYS_io_uring_register:
    case SYS_sync: /* of everything */
        subject->count = 1;
        return;
    case SYS_io_setup: case SYS_io_getevents: case SYS_io_pgetevents: case SYS_io_destroy:
        subject->count = past_library; /* what is written is told by io_submit */
        return;
    case SYS_io_submit: submission(subject, caller, data); return;
    case SYS_mprotect: case SYS_pkey_mprotect: protect(subject, caller, data); return;
    case SYS_open_by_handle_at: subject->count = 1; return; /* wherever that is */
    default: break;
    }
    if (name(data, &names)) {
        if (past_library && caller_shares_names(caller) != 0) {
            subject->treated = TREATED_ELSEWHERE;
            subject->count = 1;
        } else {
            named(subject, caller, data, &names);
            if (past_library && opens_what_is_there(subject, data)) subject->count = 0;
        }
    } else if (changed != NONE) {
        subject->count = look_at(subject, caller, (int)data->args[changed], &mode);
        if (subject->count != 0 && data->nr == SYS_mmap) map(subject, data, mode, past_library);
        if (data->nr == SYS_ioctl && (data->args[1] == FICLONE || data->args[1] == FICLONERANGE || data->args[1] == FIDEDUPERANGE))
            subject->treated = TREATED_CLONE;
    }
}
