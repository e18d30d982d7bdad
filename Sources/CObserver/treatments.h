/*
 * treatments.h: what becomes of each call on a file of the tree, in one list: by the preload library, and by the guard when it
 * comes past the library. What `lockstep audit` says follows from here; a call that begins or ceases to be refused is one line.
 *
 *   TREATED(number, name, by the library, past it, what its caller does when it is refused)
 *
 *   name         calls that differ in form only have one name: "unlink" is unlinkat too
 *   0            captured (by the library, or by the guard)
 *   an errno     refused with it
 *   HARMLESS     most file systems refuse it themselves
 *   FALLS_BACK   programs are known to try something else; if CMD went on, no harm is done
 *   FAILS        they are not
 */
#ifndef OBSERVER_TREATMENTS_H
#define OBSERVER_TREATMENTS_H

#include "../CGuard/guarded_calls.h"

#include <errno.h>

enum { FAILS, FALLS_BACK, HARMLESS };

/* No system calls: what some calls are when their arguments say so. */
enum {
    TREATED_MKNOD_SPECIAL = -100, /* a FIFO, socket or device */
    TREATED_CLONE,                /* an ioctl that clones */
    TREATED_MAP_WRITABLE,         /* a shared mapping to write through */
    TREATED_MAP_UNTRACKED,        /* the same, or such a one made writable, on a kernel that can't tell what is written */
    TREATED_MAP_SYNCHRONOUS,      /* one of persistent memory (MAP_SYNC) */
    TREATED_MAP_READ,             /* one to read through, of a descriptor that is open for writing */
    TREATED_PROTECT,              /* such a one made writable */
    TREATED_FOREIGN,              /* a call of a 32-bit program */
    TREATED_START_FOREIGN,        /* a program for another machine is started */
    TREATED_START_PRIVILEGED,     /* one that would gain privileges, and can't */
    TREATED_ELSEWHERE,            /* a path of a process with another root or mounts */
};

#define TREATED_CALLS(TREATED)                                                    \
    TREATED(SYS_write, "write", 0, 0, FAILS)                                      \
    TREATED(SYS_writev, "writev", 0, 0, FAILS)                                    \
    TREATED(SYS_pwrite64, "pwrite64", 0, 0, FAILS)                                \
    TREATED(SYS_pwritev, "pwritev", 0, 0, FAILS)                                  \
    TREATED(SYS_pwritev2, "pwritev2", 0, 0, FAILS)                                \
    TREATED(SYS_open, "open", 0, 0, FAILS)                                        \
    TREATED(SYS_openat, "open", 0, 0, FAILS)                                      \
    TREATED(SYS_openat2, "open", 0, 0, FAILS)                                     \
    TREATED(SYS_creat, "open", 0, 0, FAILS)                                       \
    TREATED(SYS_open_by_handle_at, "open_by_handle_at", 0, EOPNOTSUPP, FAILS)     \
    TREATED(SYS_truncate, "truncate", 0, 0, FAILS)                                \
    TREATED(SYS_ftruncate, "ftruncate", 0, 0, FAILS)                              \
    TREATED(SYS_fallocate, "fallocate", 0, 0, FAILS)                              \
    TREATED(SYS_fsync, "fsync", 0, 0, FAILS)                                      \
    TREATED(SYS_fdatasync, "fdatasync", 0, 0, FAILS)                              \
    TREATED(SYS_syncfs, "syncfs", 0, 0, FAILS)                                    \
    TREATED(SYS_sync, "sync", 0, 0, FAILS)                                        \
    TREATED(SYS_rename, "rename", 0, 0, FAILS)                                    \
    TREATED(SYS_renameat, "rename", 0, 0, FAILS)                                  \
    TREATED(SYS_renameat2, "rename", 0, 0, FAILS)                                 \
    TREATED(SYS_link, "link", 0, 0, FAILS)                                        \
    TREATED(SYS_linkat, "link", 0, 0, FAILS)                                      \
    TREATED(SYS_symlink, "symlink", 0, 0, FAILS)                                  \
    TREATED(SYS_symlinkat, "symlink", 0, 0, FAILS)                                \
    TREATED(SYS_unlink, "unlink", 0, 0, FAILS)                                    \
    TREATED(SYS_unlinkat, "unlink", 0, 0, FAILS)                                  \
    TREATED(SYS_rmdir, "rmdir", 0, 0, FAILS)                                      \
    TREATED(SYS_mkdir, "mkdir", 0, 0, FAILS)                                      \
    TREATED(SYS_mkdirat, "mkdir", 0, 0, FAILS)                                    \
    TREATED(SYS_mknod, "mknod", 0, 0, FAILS)                                      \
    TREATED(SYS_mknodat, "mknod", 0, 0, FAILS)                                    \
    TREATED(TREATED_MKNOD_SPECIAL, "mknod of a FIFO, socket or device", EOPNOTSUPP, EOPNOTSUPP, FAILS) \
    TREATED(SYS_chmod, "chmod", 0, 0, FAILS)                                      \
    TREATED(SYS_fchmod, "chmod", 0, 0, FAILS)                                     \
    TREATED(SYS_fchmodat, "chmod", 0, 0, FAILS)                                   \
    TREATED(GUARD_FCHMODAT2, "chmod", 0, 0, FAILS)                                \
    TREATED(SYS_chown, "chown", 0, 0, FAILS)                                      \
    TREATED(SYS_fchown, "chown", 0, 0, FAILS)                                     \
    TREATED(SYS_lchown, "chown", 0, 0, FAILS)                                     \
    TREATED(SYS_fchownat, "chown", 0, 0, FAILS)                                   \
    TREATED(SYS_utime, "utimens", 0, 0, FAILS)                                    \
    TREATED(SYS_utimes, "utimens", 0, 0, FAILS)                                   \
    TREATED(SYS_futimesat, "utimens", 0, 0, FAILS)                                \
    TREATED(SYS_utimensat, "utimens", 0, 0, FAILS)                                \
    TREATED(SYS_setxattr, "setxattr", 0, 0, FAILS)                                \
    TREATED(SYS_lsetxattr, "setxattr", 0, 0, FAILS)                               \
    TREATED(SYS_fsetxattr, "setxattr", 0, 0, FAILS)                               \
    TREATED(SYS_removexattr, "removexattr", 0, 0, FAILS)                          \
    TREATED(SYS_lremovexattr, "removexattr", 0, 0, FAILS)                         \
    TREATED(SYS_fremovexattr, "removexattr", 0, 0, FAILS)                         \
    TREATED(GUARD_SETXATTRAT, "setxattrat", ENOSYS, ENOSYS, FALLS_BACK)           \
    TREATED(GUARD_REMOVEXATTRAT, "removexattrat", ENOSYS, ENOSYS, FALLS_BACK)     \
    TREATED(GUARD_FILE_SETATTR, "file_setattr", ENOSYS, ENOSYS, FALLS_BACK)       \
    TREATED(SYS_copy_file_range, "copy_file_range", 0, EOPNOTSUPP, FALLS_BACK)    \
    TREATED(SYS_sendfile, "sendfile", 0, EINVAL, FALLS_BACK)                      \
    TREATED(SYS_splice, "splice", 0, EINVAL, FALLS_BACK)                          \
    TREATED(TREATED_CLONE, "ioctl, a clone", EOPNOTSUPP, EOPNOTSUPP, HARMLESS)    \
    TREATED(SYS_ioctl, "ioctl, flags or extents", EOPNOTSUPP, EOPNOTSUPP, FALLS_BACK) \
    TREATED(TREATED_MAP_WRITABLE, "mmap, shared and writable", 0, EACCES, FAILS) \
    TREATED(TREATED_MAP_UNTRACKED, "mmap, shared and writable, untracked", EACCES, EACCES, FAILS) \
    TREATED(TREATED_MAP_SYNCHRONOUS, "mmap, synchronous", EOPNOTSUPP, EOPNOTSUPP, HARMLESS) \
    TREATED(TREATED_MAP_READ, "mmap, shared, of a writable descriptor", 0, EACCES, FAILS) \
    TREATED(TREATED_PROTECT, "mprotect, a shared mapping made writable", 0, EACCES, FAILS) \
    TREATED(SYS_io_submit, "io_submit", 0, ENOSYS, FALLS_BACK)                    \
    TREATED(SYS_io_setup, "io_setup", 0, ENOSYS, FALLS_BACK)                      \
    TREATED(SYS_io_getevents, "io_getevents", 0, ENOSYS, FALLS_BACK)              \
    TREATED(SYS_io_pgetevents, "io_getevents", 0, ENOSYS, FALLS_BACK)             \
    TREATED(SYS_io_destroy, "io_destroy", 0, ENOSYS, FALLS_BACK)                  \
    TREATED(SYS_io_uring_setup, "io_uring_setup", EPERM, EPERM, FALLS_BACK)       \
    TREATED(SYS_io_uring_enter, "io_uring_enter", EPERM, EPERM, FALLS_BACK)       \
    TREATED(SYS_io_uring_register, "io_uring_register", EPERM, EPERM, FALLS_BACK) \
    TREATED(TREATED_FOREIGN, "a 32-bit system call", ENOSYS, ENOSYS, FAILS)       \
    TREATED(TREATED_START_FOREIGN, "exec of a program for another machine", EPERM, EPERM, FAILS) \
    TREATED(TREATED_START_PRIVILEGED, "exec of a program that gains privileges", EPERM, EPERM, FAILS) \
    TREATED(TREATED_ELSEWHERE, "a path under another root or mounts", 0, EOPNOTSUPP, FAILS)

#endif
