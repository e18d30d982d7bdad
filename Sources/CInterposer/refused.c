/*
 * refused.c: calls that change a replicated file or directory in a way that is not captured yet.
 *
 * On the tree they fail with EOPNOTSUPP and one line that names call and path. Outside the tree they are the kernel's own.
 */
#define _GNU_SOURCE
#include "library.h"
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
