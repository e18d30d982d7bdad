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

#define NOT_REPLICATED "not replicated yet: refused"

long refuse_modification(int descriptor, enum line_call call, const char *name, int error) {
    struct target target;
    long verdict = identify(descriptor, &target);
    if (verdict != TRACKED)
        return verdict;
    line(call, name, descriptor, NULL, NOT_REPLICATED);
    return -error;
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
