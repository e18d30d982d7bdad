/*
 * space.c: fallocate in all its modes.
 *
 *   0, KEEP_SIZE, UNSHARE             reserve space; mode 0 may make the file longer
 *   PUNCH_HOLE, ZERO_RANGE            the range reads as zeros
 *   COLLAPSE_RANGE, INSERT_RANGE      everything behind `offset` moves: the daemon reads it when the call has returned
 *
 * A mode that is not known here is refused: what it does to the bytes is not known either.
 */
#define _GNU_SOURCE
#include "library.h"
#include <dlfcn.h>
#include <linux/falloc.h>
#include <pthread.h>

#define MODES_KNOWN (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE \
                     | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE)

static int (*libc_posix_fallocate)(int, off_t, off_t);

void space_attach(void) { libc_posix_fallocate = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate"); }

long captured_fallocate(int descriptor, int mode, off_t offset, off_t length) {
    struct target target;
    struct capture capture;
    long answer = identify_regular(descriptor, &target);
    if (answer == OUTSIDE || offset < 0 || length <= 0)
        return answer < 0 ? answer : kernel(SYS_fallocate, descriptor, mode, offset, length);
    if (answer < 0)
        return answer;
    if (offset > OFFSET_MAX || length > OFFSET_MAX - offset)
        return -EFBIG;
    if (mode & ~MODES_KNOWN) {
        line(LINE_ALLOCATE, "fallocate", descriptor, NULL, "this mode is not replicated: refused");
        return -EOPNOTSUPP;
    }
    answer = capture_begin(&capture, LOCKSTEP_KIND_ALLOCATE, 0, false);
    if (answer)
        return answer;
    capture.intent->object = target.object;
    capture.intent->descriptor = descriptor;
    capture.intent->offset = (uint64_t)offset;
    capture.intent->length = (uint64_t)length;
    capture.intent->argument = (uint64_t)mode;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_fallocate, descriptor, mode, offset, length);
    capture_end(&capture, answer);
    return answer;
}

EXPORTED int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    pthread_testcancel();
    return (int)returned(captured_fallocate(descriptor, mode, offset, length));
}
ALIAS(fallocate64, fallocate);

/* Where the file system has no fallocate, libc writes zeros instead, unseen: in the tree the caller gets the error. */
EXPORTED int posix_fallocate(int descriptor, off_t offset, off_t length) {
    if (offset < 0 || length < 0)
        return EINVAL;
    struct target target;
    long answer = captured_fallocate(descriptor, 0, offset, length);
    if (answer != -EOPNOTSUPP || identify_regular(descriptor, &target) != OUTSIDE)
        return (int)-answer;
    if (!libc_posix_fallocate)
        space_attach(); /* the library is inert */
    return libc_posix_fallocate ? libc_posix_fallocate(descriptor, offset, length) : EOPNOTSUPP;
}
ALIAS(posix_fallocate64, posix_fallocate);
