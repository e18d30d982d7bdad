/*
 * generic.c: syscall(). A number that this library captures goes the same way as the named call; one that would change
 * a replicated file in a way it does not know is refused; all others go to the kernel.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/* `a` to `f` as the kernel takes them. 0 in *known: not ours. */
static long dispatch(long number, long a, long b, long c, long d, long e, long f, bool *known) {
    long answer;
    *known = true;
    switch (number) {
    case SYS_write: return captured_write((int)a, (void *)b, (size_t)c);
    case SYS_pwrite64: return captured_pwrite((int)a, (void *)b, (size_t)c, d);
    case SYS_writev: return captured_writev((int)a, (void *)b, (int)c);
    case SYS_pwritev: return captured_pwritev((int)a, (void *)b, (int)c, d, 0, SYS_pwritev);
    case SYS_pwritev2: return captured_pwritev((int)a, (void *)b, (int)c, d, (int)f, SYS_pwritev2);
    case SYS_open: return captured_open(AT_FDCWD, (char *)a, (int)b, (mode_t)c);
    case SYS_creat: return captured_open(AT_FDCWD, (char *)a, O_CREAT | O_WRONLY | O_TRUNC, (mode_t)b);
    case SYS_openat: return captured_open((int)a, (char *)b, (int)c, (mode_t)d);
    case SYS_openat2: return captured_openat2((int)a, (char *)b, (void *)c, (size_t)d);
    case SYS_open_by_handle_at: return captured_open_by_handle((int)a, (void *)b, (int)c);
    case SYS_dup: return passed_dup((int)a);
    case SYS_dup2: return passed_dup2((int)a, (int)b);
    case SYS_dup3: return passed_dup3((int)a, (int)b, (int)c);
    case SYS_unlink: return captured_unlink(AT_FDCWD, (char *)a, 0);
    case SYS_rmdir: return captured_unlink(AT_FDCWD, (char *)a, AT_REMOVEDIR);
    case SYS_unlinkat: return captured_unlink((int)a, (char *)b, (int)c);
    case SYS_rename: return captured_rename(AT_FDCWD, (char *)a, AT_FDCWD, (char *)b, 0);
    case SYS_renameat: return captured_rename((int)a, (char *)b, (int)c, (char *)d, 0);
    case SYS_renameat2: return captured_rename((int)a, (char *)b, (int)c, (char *)d, (unsigned)e);
    case SYS_mkdir: return captured_mkdir(AT_FDCWD, (char *)a, (mode_t)b);
    case SYS_mkdirat: return captured_mkdir((int)a, (char *)b, (mode_t)c);
    case SYS_symlink: return captured_symlink((char *)a, AT_FDCWD, (char *)b);
    case SYS_symlinkat: return captured_symlink((char *)a, (int)b, (char *)c);
    case SYS_truncate: return captured_truncate((char *)a, b);
    case SYS_ftruncate: return captured_ftruncate((int)a, b);
    case SYS_fallocate: return captured_fallocate((int)a, (int)b, c, d);
    case SYS_chmod: return captured_chmod(AT_FDCWD, (char *)a, (mode_t)b, 0);
    case SYS_fchmod: return captured_fchmod((int)a, (mode_t)b);
    case SYS_fchmodat: return captured_chmod((int)a, (char *)b, (mode_t)c, 0);
    case SYS_fchmodat2: return captured_chmod((int)a, (char *)b, (mode_t)c, (int)d);
    case SYS_chown: return captured_chown(AT_FDCWD, (char *)a, (uid_t)b, (gid_t)c, 0);
    case SYS_lchown: return captured_chown(AT_FDCWD, (char *)a, (uid_t)b, (gid_t)c, AT_SYMLINK_NOFOLLOW);
    case SYS_fchown: return captured_fchown((int)a, (uid_t)b, (gid_t)c);
    case SYS_fchownat: return captured_chown((int)a, (char *)b, (uid_t)c, (gid_t)d, (int)e);
    case SYS_utimensat: return captured_utimens((int)a, (char *)b, (void *)c, (int)d);
    /* The old calls of times, through the wrappers that convert; their errno is taken back. */
    case SYS_utime: return utime((char *)a, (void *)b) ? -errno : 0;
    case SYS_utimes: return utimes((char *)a, (void *)b) ? -errno : 0;
    case SYS_futimesat: return futimesat((int)a, (char *)b, (void *)c) ? -errno : 0;
    case SYS_fsync: return durable_sync((int)a, SYS_fsync);
    case SYS_fdatasync: return durable_sync((int)a, SYS_fdatasync);
    case SYS_sync: return captured_sync();
    case SYS_syncfs: return captured_syncfs((int)a);
    case SYS_copy_file_range:
        return captured_copy_range((int)a, (off_t *)b, (int)c, (off_t *)d, (size_t)e, (unsigned)f);
    case SYS_sendfile: return captured_sendfile((int)a, (int)b, (off_t *)c, (size_t)d);
    case SYS_link: return captured_link(AT_FDCWD, (char *)a, AT_FDCWD, (char *)b, 0);
    case SYS_linkat: return captured_link((int)a, (char *)b, (int)c, (char *)d, (int)e);
    case SYS_mknod: return captured_mknod(AT_FDCWD, (char *)a, (mode_t)b, (dev_t)c);
    case SYS_mknodat: return captured_mknod((int)a, (char *)b, (mode_t)c, (dev_t)d);
    case SYS_setxattr: return captured_setxattr((char *)a, (char *)b, (void *)c, (size_t)d, (int)e, 0);
    case SYS_lsetxattr: return captured_setxattr((char *)a, (char *)b, (void *)c, (size_t)d, (int)e, O_NOFOLLOW);
    case SYS_fsetxattr: return captured_fsetxattr((int)a, (char *)b, (void *)c, (size_t)d, (int)e);
    case SYS_removexattr: return captured_removexattr((char *)a, (char *)b, 0);
    case SYS_lremovexattr: return captured_removexattr((char *)a, (char *)b, O_NOFOLLOW);
    case SYS_fremovexattr: return captured_fremovexattr((int)a, (char *)b);
    case SYS_splice:
        return captured_splice((int)a, (off_t *)b, (int)c, (off_t *)d, (size_t)e, (unsigned)f);
    case SYS_mmap: return captured_mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
    case SYS_munmap: return passed_munmap((void *)a, (size_t)b);
    case SYS_mprotect: return passed_mprotect((void *)a, (size_t)b, (int)c);
    case SYS_pkey_mprotect: return passed_pkey_mprotect((void *)a, (size_t)b, (int)c, (int)d);
    case SYS_shmdt: return passed_shmdt((void *)a);
    case SYS_mremap: return passed_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
    case SYS_msync: return captured_msync((void *)a, (size_t)b, (int)c);
    case SYS_madvise: return captured_madvise((void *)a, (size_t)b, (int)c);
    case SYS_remap_file_pages: answer = refuse_remap_file_pages((void *)a, (size_t)b); break;
    case SYS_fork:
        fork_prepare();
        return forked(kernel(SYS_fork));
    case SYS_clone:
        /* A child with its own memory, that goes on here. */
        if (!(a & CLONE_VM) && b == 0) {
            fork_prepare();
            return forked(kernel(SYS_clone, a, b, c, d, e));
        }
        /* fall through */
    case SYS_clone3:
        share_prepare();
        *known = false;
        return 0;
    case SYS_exit_group: track_leave_all(); return kernel(SYS_exit_group, a);
    case SYS_execve: return captured_execve((char *)a, (void *)b, (void *)c);
    case SYS_execveat: return captured_execveat((int)a, (char *)b, (void *)c, (void *)d, (int)e);
    case SYS_umask:
        atomic_store(&process_umask, (uint32_t)a & 0777);
        return kernel(SYS_umask, a);
    /* Refused on the tree; elsewhere on to the kernel. */
    case SYS_ioctl: answer = refuse_ioctl((int)a, (unsigned long)b); break;
    case SYS_io_setup: return captured_io_setup((unsigned)a, (void *)b);
    case SYS_io_destroy: return captured_io_destroy((unsigned long)a);
    case SYS_io_submit: return captured_io_submit((unsigned long)a, b, (void *)c);
    case SYS_io_getevents: return captured_io_getevents((unsigned long)a, b, c, (void *)d, (void *)e, NULL, number);
    case SYS_io_pgetevents: return captured_io_getevents((unsigned long)a, b, c, (void *)d, (void *)e, (void *)f, number);
    /* Its entries would not pass any wrapper: engines fall back to Linux AIO or plain calls when it can't be set up. */
    case SYS_io_uring_setup:
    case SYS_io_uring_enter:
    case SYS_io_uring_register: return uring_refuse_raw();
    case 463: /* setxattrat */
    case 466: /* removexattrat */
    case 469: /* file_setattr */
        line(LINE_SYSCALL, "syscall", -1, NULL, "setxattrat, removexattrat and file_setattr are not captured: refused");
        return -ENOSYS;
    default:
        *known = false;
        return 0;
    }
    return answer ? answer : kernel(number, a, b, c, d, e, f);
}

EXPORTED long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long),
         e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    bool known = false;
    long answer = attached() ? dispatch(number, a, b, c, d, e, f, &known) : 0;
    return returned(known ? answer : kernel(number, a, b, c, d, e, f));
}
