/*
 * refused.c: calls that change a replicated file or directory in a way that is not captured yet.
 *
 * On the tree they fail with EOPNOTSUPP (asynchronous I/O: so that engines fall back to plain calls) and one line that
 * names call and path. Outside the tree they are the kernel's and libc's own.
 */
#define _GNU_SOURCE
#include "library.h"
#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define NOT_REPLICATED "not replicated yet: refused"

long refuse_modification(int descriptor, enum line_call call, const char *name, int error) {
    struct target target;
    long verdict = identify(descriptor, &target);
    if (verdict != TRACKED)
        return verdict;
    line(call, name, descriptor, NULL, NOT_REPLICATED);
    return -error;
}

/* ------------------------------------------------------------------ link, mknod */

long refuse_link(int directory, const char *path, int target_directory, const char *target_path, int flags) {
    if (!attached())
        return 0;
    bool by_descriptor = (flags & AT_EMPTY_PATH) && path && path[0] == 0;
    long source = by_descriptor ? directory : path_open(directory, path, flags & AT_SYMLINK_FOLLOW ? 0 : O_NOFOLLOW);
    if (source < 0)
        return source;
    struct target target;
    struct place place;
    long verdict = identify((int)source, &target);
    long answer = place_resolve(target_directory, target_path, false, &place);
    if (answer == 0) {
        if (verdict == OUTSIDE)
            verdict = place.verdict;
        if (verdict < 0)
            answer = verdict;
        else if (verdict == TRACKED) {
            line(LINE_LINK, "link", -1, target_path, NOT_REPLICATED);
            answer = -EOPNOTSUPP;
        }
        place_release(&place);
    }
    if (!by_descriptor)
        kernel(SYS_close, source);
    return answer;
}

long refuse_mknod(int directory, const char *path, mode_t mode) {
    struct place place;
    (void)mode;
    if (!attached())
        return 0;
    long answer = place_resolve(directory, path, false, &place);
    if (answer < 0)
        return answer;
    long verdict = place.whole ? OUTSIDE : place_verdict(&place);
    place_release(&place);
    if (verdict == TRACKED)
        line(LINE_MKNOD, "mknod", -1, path, NOT_REPLICATED);
    return verdict == TRACKED ? -EOPNOTSUPP : verdict;
}

EXPORTED int linkat(int directory, const char *path, int target_directory, const char *target_path, int flags) {
    long answer = refuse_link(directory, path, target_directory, target_path, flags);
    return (int)returned(answer ? answer
                                : kernel(SYS_linkat, directory, path, target_directory, target_path, flags));
}
EXPORTED int link(const char *path, const char *target) { return linkat(AT_FDCWD, path, AT_FDCWD, target, 0); }

EXPORTED int mknodat(int directory, const char *path, mode_t mode, dev_t device) {
    long answer = refuse_mknod(directory, path, mode);
    return (int)returned(answer ? answer : kernel(SYS_mknodat, directory, path, mode, device));
}
EXPORTED int mknod(const char *path, mode_t mode, dev_t device) { return mknodat(AT_FDCWD, path, mode, device); }
EXPORTED int mkfifoat(int directory, const char *path, mode_t mode) {
    return mknodat(directory, path, mode | S_IFIFO, 0);
}
EXPORTED int mkfifo(const char *path, mode_t mode) { return mknodat(AT_FDCWD, path, mode | S_IFIFO, 0); }
/* What programs linked before glibc 2.33 call. */
int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
EXPORTED int __xmknod(int version, const char *path, mode_t mode, dev_t *device) {
    return version == 0 ? mknodat(AT_FDCWD, path, mode, *device) : (int)returned(-EINVAL);
}
int __xmknodat(int version, int directory, const char *path, mode_t mode, dev_t *device);
EXPORTED int __xmknodat(int version, int directory, const char *path, mode_t mode, dev_t *device) {
    return version == 0 ? mknodat(directory, path, mode, *device) : (int)returned(-EINVAL);
}

/* ------------------------------------------------------------------ extended attributes */

long refuse_xattr(int descriptor, const char *path, int flags, const char *name) {
    if (!attached())
        return 0;
    if (!path)
        return refuse_modification(descriptor, LINE_XATTR, name, EOPNOTSUPP);
    long opened = path_open(AT_FDCWD, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    if (opened < 0)
        return opened;
    long answer = refuse_modification((int)opened, LINE_XATTR, name, EOPNOTSUPP);
    kernel(SYS_close, opened);
    return answer;
}

EXPORTED int setxattr(const char *path, const char *name, const void *value, size_t bytes, int flags) {
    long answer = refuse_xattr(-1, path, 0, "setxattr");
    return (int)returned(answer ? answer : kernel(SYS_setxattr, path, name, value, bytes, flags));
}
EXPORTED int lsetxattr(const char *path, const char *name, const void *value, size_t bytes, int flags) {
    long answer = refuse_xattr(-1, path, AT_SYMLINK_NOFOLLOW, "lsetxattr");
    return (int)returned(answer ? answer : kernel(SYS_lsetxattr, path, name, value, bytes, flags));
}
EXPORTED int fsetxattr(int descriptor, const char *name, const void *value, size_t bytes, int flags) {
    long answer = refuse_xattr(descriptor, NULL, 0, "fsetxattr");
    return (int)returned(answer ? answer : kernel(SYS_fsetxattr, descriptor, name, value, bytes, flags));
}
EXPORTED int removexattr(const char *path, const char *name) {
    long answer = refuse_xattr(-1, path, 0, "removexattr");
    return (int)returned(answer ? answer : kernel(SYS_removexattr, path, name));
}
EXPORTED int lremovexattr(const char *path, const char *name) {
    long answer = refuse_xattr(-1, path, AT_SYMLINK_NOFOLLOW, "lremovexattr");
    return (int)returned(answer ? answer : kernel(SYS_lremovexattr, path, name));
}
EXPORTED int fremovexattr(int descriptor, const char *name) {
    long answer = refuse_xattr(descriptor, NULL, 0, "fremovexattr");
    return (int)returned(answer ? answer : kernel(SYS_fremovexattr, descriptor, name));
}

/* ------------------------------------------------------------------ ioctl */

#define EXT4_IOC_MOVE_EXT _IOC(_IOC_READ | _IOC_WRITE, 'f', 15, 40)

long refuse_ioctl(int descriptor, unsigned long request) {
    struct target target;
    switch (request) {
    case FICLONE:
    case FICLONERANGE:
    case FIDEDUPERANGE: /* quietly: the answer of a file system without clones, every caller then copies */
        return identify(descriptor, &target) == OUTSIDE ? 0 : -EOPNOTSUPP;
    case EXT4_IOC_MOVE_EXT:
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSSETXATTR:
        return refuse_modification(descriptor, LINE_IOCTL, "ioctl", EOPNOTSUPP);
    default:
        return 0;
    }
}

EXPORTED int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    long answer = attached() ? refuse_ioctl(descriptor, request) : 0;
    return (int)returned(answer ? answer : kernel(SYS_ioctl, descriptor, request, argument));
}

/* ------------------------------------------------------------------ POSIX AIO: its threads write inside libc */

static struct {
    int (*aio_write)(struct aiocb *);
    int (*aio_fsync)(int, struct aiocb *);
    int (*lio_listio)(int, struct aiocb *const[], int, struct sigevent *);
} libc;

void refused_attach(void) {
    libc.aio_write = (int (*)(struct aiocb *))dlsym(RTLD_NEXT, "aio_write");
    libc.aio_fsync = (int (*)(int, struct aiocb *))dlsym(RTLD_NEXT, "aio_fsync");
    libc.lio_listio =
        (int (*)(int, struct aiocb *const[], int, struct sigevent *))dlsym(RTLD_NEXT, "lio_listio");
}

static void inert_attach(void) {
    if (!libc.lio_listio)
        refused_attach();
}

EXPORTED int aio_write(struct aiocb *control_block) {
    inert_attach();
    long answer = refuse_modification(control_block->aio_fildes, LINE_AIO, "aio_write", EOPNOTSUPP);
    return answer ? (int)returned(answer) : libc.aio_write(control_block);
}
EXPORTED int aio_write64(struct aiocb64 *control_block) { return aio_write((struct aiocb *)control_block); }

EXPORTED int aio_fsync(int operation, struct aiocb *control_block) {
    inert_attach();
    long answer = refuse_modification(control_block->aio_fildes, LINE_AIO, "aio_fsync", EOPNOTSUPP);
    return answer ? (int)returned(answer) : libc.aio_fsync(operation, control_block);
}
EXPORTED int aio_fsync64(int operation, struct aiocb64 *control_block) {
    return aio_fsync(operation, (struct aiocb *)control_block);
}

EXPORTED int lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *event) {
    inert_attach();
    for (int i = 0; i < count; i++) {
        long answer = list[i] && list[i]->aio_lio_opcode == LIO_WRITE
            ? refuse_modification(list[i]->aio_fildes, LINE_AIO, "lio_listio", EOPNOTSUPP) : 0;
        if (answer)
            return (int)returned(answer);
    }
    return libc.lio_listio(mode, list, count, event);
}
EXPORTED int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event) {
    return lio_listio(mode, (struct aiocb *const *)list, count, event);
}
_Static_assert(sizeof(struct aiocb) == sizeof(struct aiocb64), "on x86-64 both are the same");
