/*
 * copy.c: copies made inside the kernel: copy_file_range, sendfile, splice.
 *
 * Into the tree they become a read and a captured write of at most one operation; all of them may return less than was
 * asked for, and every caller has to go on by itself.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* Reads from `from` (at *from_offset, or where it stands), writes to `to`; the source advances by what was written. */
static long copy_through(int from, off_t *from_offset, int to, off_t *to_offset, size_t count) {
    if (count > LOCKSTEP_OPERATION_BYTES_MAX)
        count = LOCKSTEP_OPERATION_BYTES_MAX;
    if (count == 0)
        return 0;
    long buffer = kernel(SYS_mmap, 0, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer < 0 && buffer > -4096)
        return buffer;
    off_t start = from_offset ? *from_offset : kernel(SYS_lseek, from, 0, SEEK_CUR);
    /* Read at an offset, so that a short write leaves nothing taken from the source. */
    long got = start < 0 ? start : kernel(SYS_pread64, from, buffer, count, start);
    if (got > 0)
        got = to_offset ? captured_pwrite(to, (void *)buffer, (size_t)got, *to_offset)
                        : captured_write(to, (void *)buffer, (size_t)got);
    if (got > 0) {
        if (from_offset)
            *from_offset += got;
        else
            kernel(SYS_lseek, from, start + got, SEEK_SET);
        if (to_offset)
            *to_offset += got;
    }
    kernel(SYS_munmap, buffer, count);
    return got;
}

long captured_copy_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t count, unsigned flags) {
    struct target target;
    long verdict = identify_regular(to, &target);
    if (verdict == OUTSIDE)
        return kernel(SYS_copy_file_range, from, from_offset, to, to_offset, count, flags);
    if (verdict < 0 || flags)
        return verdict < 0 ? verdict : -EINVAL;
    return copy_through(from, from_offset, to, to_offset, count);
}

long captured_sendfile(int to, int from, off_t *offset, size_t count) {
    struct target target;
    long verdict = identify_regular(to, &target);
    if (verdict == OUTSIDE)
        return kernel(SYS_sendfile, to, from, offset, count);
    return verdict < 0 ? verdict : copy_through(from, offset, to, NULL, count);
}

/* From a pipe nothing can be read without taking it: refused; cat and its like fall back to read and write. */
long captured_splice(long number, int from, int to, long a, long b, long c, long d) {
    long answer = refuse_modification(to, LINE_COPY, "splice", EOPNOTSUPP);
    return answer ? answer : kernel(number, from, a, to, b, c, d);
}

EXPORTED ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t count,
                                 unsigned flags) {
    return returned(captured_copy_range(from, from_offset, to, to_offset, count, flags));
}

EXPORTED ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    pthread_testcancel();
    return returned(captured_sendfile(to, from, offset, count));
}
ALIAS(sendfile64, sendfile);

EXPORTED ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t count, unsigned flags) {
    pthread_testcancel();
    return returned(captured_splice(SYS_splice, from, to, (long)from_offset, (long)to_offset, (long)count, flags));
}
