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

/* By type and number: what the argument is as large as differs. */
static bool changes_unseen(unsigned long request) {
    unsigned number = _IOC_NR(request);
    switch (_IOC_TYPE(request)) {
    case 'X': /* ALLOCSP, FREESP; RESVSP, UNRESVSP, ZERO_RANGE: fallocate, on every file system; SWAPEXT, EXCHANGE_, COMMIT_RANGE */
        return number == 10 || number == 11 || number == 36 || number == 37 || (number >= 40 && number <= 43) || number == 57
            || number == 109 || number == 129 || number == 131;
    case 'f': /* EXT4_IOC_SETVERSION; MIGRATE; SWAP_BOOT; FS_IOC_ENABLE_VERITY */
        return number == 4 || number == 9 || number == 17 || number == 133;
    case 'v': /* FS_IOC_SETVERSION: it would be another file then */
        return number == 2;
    case 0x94: /* btrfs: subvolumes and snapshots made and removed */
        return number == 1 || number == 14 || number == 15 || number == 23 || number == 24 || number == 63;
    default: return false;
    }
}

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
        return changes_unseen(request) ? refuse_modification(descriptor, LINE_IOCTL, "ioctl", EOPNOTSUPP) : 0;
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
