/*
 * copy.c: copies made inside the kernel: copy_file_range, sendfile, splice.
 *
 *   file -> file of the tree   read and captured write, piece by piece, until the source ends
 *   pipe -> file of the tree   tee into a pipe of our own, captured write, then that much is taken from the pipe:
 *                              what can't be written stays in it, as with the kernel's own
 *
 * Arguments are judged by the kernel: the call is made with a count of 0 first.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define COPY_BYTES_MAX 0x7ffff000u /* the kernel's own limit */
#define PIPE_BYTES     65536u      /* of a fresh pipe */

static long buffer_map(size_t bytes) {
    return kernel(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Reads from `from` (at *from_offset, or where it stands), writes to `to`; the source advances by what was written. */
static long copy_through(int from, off_t *from_offset, int to, off_t *to_offset, size_t count) {
    if (count > COPY_BYTES_MAX)
        count = COPY_BYTES_MAX;
    size_t piece = count < LOCKSTEP_OPERATION_BYTES_MAX ? count : LOCKSTEP_OPERATION_BYTES_MAX;
    long buffer = buffer_map(piece), total = 0, answer = 0;
    if (buffer < 0 && buffer > -4096)
        return buffer;
    off_t start = from_offset ? *from_offset : kernel(SYS_lseek, from, 0, SEEK_CUR);
    if (start < 0)
        answer = start;
    while (answer >= 0 && (size_t)total < count) {
        size_t wanted = count - (size_t)total < piece ? count - (size_t)total : piece;
        /* Read at an offset, so that a short write leaves nothing taken from the source. */
        long got = kernel(SYS_pread64, from, buffer, wanted, start + total);
        answer = got;
        if (got <= 0)
            break;
        answer = to_offset ? captured_pwrite(to, (void *)buffer, (size_t)got, *to_offset)
                           : captured_write(to, (void *)buffer, (size_t)got);
        if (answer <= 0)
            break;
        total += answer;
        if (from_offset)
            *from_offset += answer;
        else
            kernel(SYS_lseek, from, start + total, SEEK_SET);
        if (to_offset)
            *to_offset += answer;
        if (answer < got)
            break;
    }
    passed_munmap((void *)buffer, piece);
    return total > 0 && answer != -EIO ? total : answer;
}

/* What the kernel judges by the count: the ends, and that within one file the ranges do not overlap. 0 or -errno. */
static long ranges_refused(int from, const off_t *from_offset, int to, const off_t *to_offset, size_t count) {
    struct statx a, b;
    off_t start = from_offset ? *from_offset : kernel(SYS_lseek, from, 0, SEEK_CUR);
    off_t end = to_offset ? *to_offset : kernel(SYS_lseek, to, 0, SEEK_CUR);
    if ((uint64_t)start + count < count || (uint64_t)end + count < count)
        return -EOVERFLOW;
    if (kernel(SYS_statx, from, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE, &a) != 0
        || kernel(SYS_statx, to, "", AT_EMPTY_PATH, STATX_INO, &b) != 0 || a.stx_ino != b.stx_ino
        || a.stx_dev_major != b.stx_dev_major || a.stx_dev_minor != b.stx_dev_minor)
        return 0;
    off_t rest = start < (off_t)a.stx_size ? (off_t)a.stx_size - start : 0;
    off_t bytes = count < (size_t)rest ? (off_t)count : rest;
    return end + bytes > start && end < start + bytes ? -EINVAL : 0;
}

long captured_copy_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t count, unsigned flags) {
    struct target target;
    long verdict = identify_regular(to, &target);
    if (verdict == OUTSIDE)
        return kernel(SYS_copy_file_range, from, from_offset, to, to_offset, count, flags);
    long answer = verdict < 0 ? verdict : kernel(SYS_copy_file_range, from, from_offset, to, to_offset, 0, flags);
    if (answer == -EINVAL && ((from_offset && *from_offset < 0) || (to_offset && *to_offset < 0)))
        return kernel(SYS_copy_file_range, from, from_offset, to, to_offset, count, flags); /* it fails with any count */
    if (answer < 0 || count == 0 || (answer = ranges_refused(from, from_offset, to, to_offset, count)) != 0)
        return answer;
    return copy_through(from, from_offset, to, to_offset, count);
}

long captured_sendfile(int to, int from, off_t *offset, size_t count) {
    struct target target;
    long verdict = identify_regular(to, &target);
    if (verdict == OUTSIDE)
        return kernel(SYS_sendfile, to, from, offset, count);
    long answer = verdict < 0 ? verdict : kernel(SYS_sendfile, to, from, offset, 0);
    return answer < 0 || count == 0 ? answer : copy_through(from, offset, to, NULL, count);
}

/* ------------------------------------------------------------------ splice */

/* `bytes` lie in `copy`, and at the front of `pipe` too, from which as much goes as could be written. */
static long splice_write(int pipe, int copy, int to, off_t *to_offset, size_t bytes) {
    long buffer = buffer_map(PIPE_BYTES), got = buffer, taken = 0;
    if (buffer < 0 && buffer > -4096)
        return buffer;
    got = kernel(SYS_read, copy, buffer, bytes);
    if (got > 0)
        got = to_offset ? captured_pwrite(to, (void *)buffer, (size_t)got, *to_offset)
                        : captured_write(to, (void *)buffer, (size_t)got);
    if (got > 0 && to_offset)
        *to_offset += got;
    while (taken < got) {
        long more = kernel(SYS_read, pipe, buffer, got - taken);
        if (more <= 0 && more != -EINTR)
            break; /* another reader was faster */
        taken += more > 0 ? more : 0;
    }
    passed_munmap((void *)buffer, PIPE_BYTES);
    return got;
}

static long splice_into(int pipe, off_t *pipe_offset, int to, off_t *to_offset, size_t count, unsigned flags) {
    long mode = kernel(SYS_fcntl, to, F_GETFL);
    struct statx status;
    if (count == 0)
        return 0;
    if (flags & ~(unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))
        return -EINVAL;
    if (mode < 0 || (mode & O_PATH) || kernel(SYS_statx, pipe, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0)
        return -EBADF;
    if ((mode & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if ((status.stx_mode & S_IFMT) != S_IFIFO)
        return -EINVAL;
    if (pipe_offset)
        return -ESPIPE;
    if (to_offset && !payload_readable(to_offset, sizeof *to_offset))
        return -EFAULT;
    if (mode & O_APPEND || (to_offset && *to_offset < 0))
        return -EINVAL;
    int own[2];
    long answer = kernel(SYS_pipe2, own, O_CLOEXEC);
    if (answer < 0)
        return answer;
    answer = kernel(SYS_tee, pipe, own[1], count < PIPE_BYTES ? count : PIPE_BYTES, flags & SPLICE_F_NONBLOCK);
    kernel(SYS_close, own[1]);
    if (answer > 0)
        answer = splice_write(pipe, own[0], to, to_offset, (size_t)answer);
    kernel(SYS_close, own[0]);
    return answer;
}

long captured_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t count, unsigned flags) {
    struct target target;
    long verdict = identify_regular(to, &target);
    if (verdict == TRACKED)
        return splice_into(from, from_offset, to, to_offset, count, flags);
    return verdict < 0 ? verdict : kernel(SYS_splice, from, from_offset, to, to_offset, count, flags);
}

/* ------------------------------------------------------------------ wrappers */

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
    return returned(captured_splice(from, from_offset, to, to_offset, count, flags));
}
