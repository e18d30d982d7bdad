/*
 * guarded_calls.h: the calls that can change a file, as the filter sees them; those that a program makes most come first.
 *
 * GUARDED(number, name, what must hold for it to concern us):
 *   ALWAYS      by its number alone
 *   OPENS(n)    argument n has O_CREAT, O_TRUNC or O_TMPFILE: opening for writing alone changes nothing
 *   MAPS        a shared mapping of a descriptor
 *   PROTECTS    memory made writable by a program's own text below 4 GiB (data.c says why only there)
 *   CONTROLS    an ioctl that clones, moves or reserves extents, or sets attributes
 *
 * NOT in the list, and why:
 *   msync, madvise             no writable shared mapping of a replicated file exists: mmap is here
 *   close, dup*, fcntl         change no file
 *   vmsplice, tee              write to pipes only
 *   sync_file_range            no durability point
 *   io_cancel                  nothing that changes a file can be cancelled
 *   ptrace, process_vm_writev  write memory
 */
#ifndef GUARD_CALLS_H
#define GUARD_CALLS_H

#include <sys/syscall.h>

/* Newer than the kernel headers of Debian 12. */
#define GUARD_FCHMODAT2 452
#define GUARD_SETXATTRAT 463
#define GUARD_REMOVEXATTRAT 466
#define GUARD_FILE_SETATTR 469

#define GUARDED_CALLS(GUARDED)                          \
    GUARDED(SYS_write, "write", ALWAYS)                 \
    GUARDED(SYS_pwrite64, "pwrite64", ALWAYS)           \
    GUARDED(SYS_openat, "openat", OPENS(2))             \
    GUARDED(SYS_mmap, "mmap", MAPS)                     \
    GUARDED(SYS_fdatasync, "fdatasync", ALWAYS)         \
    GUARDED(SYS_fsync, "fsync", ALWAYS)                 \
    GUARDED(SYS_writev, "writev", ALWAYS)               \
    GUARDED(SYS_pwritev, "pwritev", ALWAYS)             \
    GUARDED(SYS_pwritev2, "pwritev2", ALWAYS)           \
    GUARDED(SYS_ioctl, "ioctl", CONTROLS)               \
    GUARDED(SYS_mprotect, "mprotect", PROTECTS)         \
    GUARDED(SYS_pkey_mprotect, "pkey_mprotect", PROTECTS) \
    GUARDED(SYS_open, "open", OPENS(1))                 \
    GUARDED(SYS_openat2, "openat2", ALWAYS)             \
    GUARDED(SYS_creat, "creat", ALWAYS)                 \
    GUARDED(SYS_open_by_handle_at, "open_by_handle_at", OPENS(2)) \
    GUARDED(SYS_sync, "sync", ALWAYS)                   \
    GUARDED(SYS_syncfs, "syncfs", ALWAYS)               \
    GUARDED(SYS_truncate, "truncate", ALWAYS)           \
    GUARDED(SYS_ftruncate, "ftruncate", ALWAYS)         \
    GUARDED(SYS_fallocate, "fallocate", ALWAYS)         \
    GUARDED(SYS_copy_file_range, "copy_file_range", ALWAYS) \
    GUARDED(SYS_sendfile, "sendfile", ALWAYS)           \
    GUARDED(SYS_splice, "splice", ALWAYS)               \
    GUARDED(SYS_rename, "rename", ALWAYS)               \
    GUARDED(SYS_renameat, "renameat", ALWAYS)           \
    GUARDED(SYS_renameat2, "renameat2", ALWAYS)         \
    GUARDED(SYS_link, "link", ALWAYS)                   \
    GUARDED(SYS_linkat, "linkat", ALWAYS)               \
    GUARDED(SYS_symlink, "symlink", ALWAYS)             \
    GUARDED(SYS_symlinkat, "symlinkat", ALWAYS)         \
    GUARDED(SYS_unlink, "unlink", ALWAYS)               \
    GUARDED(SYS_unlinkat, "unlinkat", ALWAYS)           \
    GUARDED(SYS_rmdir, "rmdir", ALWAYS)                 \
    GUARDED(SYS_mkdir, "mkdir", ALWAYS)                 \
    GUARDED(SYS_mkdirat, "mkdirat", ALWAYS)             \
    GUARDED(SYS_mknod, "mknod", ALWAYS)                 \
    GUARDED(SYS_mknodat, "mknodat", ALWAYS)             \
    GUARDED(SYS_chmod, "chmod", ALWAYS)                 \
    GUARDED(SYS_fchmod, "fchmod", ALWAYS)               \
    GUARDED(SYS_fchmodat, "fchmodat", ALWAYS)           \
    GUARDED(GUARD_FCHMODAT2, "fchmodat2", ALWAYS)       \
    GUARDED(SYS_chown, "chown", ALWAYS)                 \
    GUARDED(SYS_fchown, "fchown", ALWAYS)               \
    GUARDED(SYS_lchown, "lchown", ALWAYS)               \
    GUARDED(SYS_fchownat, "fchownat", ALWAYS)           \
    GUARDED(SYS_utime, "utime", ALWAYS)                 \
    GUARDED(SYS_utimes, "utimes", ALWAYS)               \
    GUARDED(SYS_futimesat, "futimesat", ALWAYS)         \
    GUARDED(SYS_utimensat, "utimensat", ALWAYS)         \
    GUARDED(SYS_setxattr, "setxattr", ALWAYS)           \
    GUARDED(SYS_lsetxattr, "lsetxattr", ALWAYS)         \
    GUARDED(SYS_fsetxattr, "fsetxattr", ALWAYS)         \
    GUARDED(SYS_removexattr, "removexattr", ALWAYS)     \
    GUARDED(SYS_lremovexattr, "lremovexattr", ALWAYS)   \
    GUARDED(SYS_fremovexattr, "fremovexattr", ALWAYS)   \
    GUARDED(GUARD_SETXATTRAT, "setxattrat", ALWAYS)     \
    GUARDED(GUARD_REMOVEXATTRAT, "removexattrat", ALWAYS) \
    GUARDED(GUARD_FILE_SETATTR, "file_setattr", ALWAYS) \
    GUARDED(SYS_io_setup, "io_setup", ALWAYS)           \
    GUARDED(SYS_io_submit, "io_submit", ALWAYS)         \
    GUARDED(SYS_io_getevents, "io_getevents", ALWAYS)   \
    GUARDED(SYS_io_pgetevents, "io_pgetevents", ALWAYS) \
    GUARDED(SYS_io_destroy, "io_destroy", ALWAYS)       \
    GUARDED(SYS_io_uring_setup, "io_uring_setup", ALWAYS) \
    GUARDED(SYS_io_uring_enter, "io_uring_enter", ALWAYS) \
    GUARDED(SYS_io_uring_register, "io_uring_register", ALWAYS)

#endif
