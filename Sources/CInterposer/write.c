/*
 * write.c: write, pwrite and their vector forms.
 *
 *   positioned                       identity -> copy -> publish -> pwrite(copy) -> done
 *   append, implicit offset          the same under the file's offset lock; the offset is predicted, the true one added
 *   longer than OPERATION_BYTES_MAX  in chunks, one system call each; the first short one ends the call
 *   durable (O_DSYNC, RWF_DSYNC)     the barrier is published before the call, which is the local flush
 *
 * The system call takes the captured copy: both servers get the same bytes even if another thread changes the buffer.
 */
#define _GNU_SOURCE
#include "library.h"
#include "offset_lock.h"
#include "writing.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20 /* Linux 6.9 */
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80 /* Linux 6.14 */
#endif
/* Not RWF_ATOMIC: a call that is larger than one operation would be taken apart. */
#define RWF_CARRIED (RWF_HIPRI | RWF_NOWAIT | RWF_DSYNC | RWF_SYNC | RWF_APPEND | RWF_NOAPPEND | RWF_DONTCACHE)

#define OFFSET_IMPLICIT (-1)
#define CALL_BYTES_MAX 0x7ffff000u /* the kernel's own limit */

size_t source_copy(struct source *source, uint8_t *to, size_t bytes) {
    size_t copied = 0;
    while (copied < bytes) {
        size_t piece = source->vector->iov_len - source->at;
        if (piece > bytes - copied)
            piece = bytes - copied;
        size_t got = payload_copy(to + copied, (const char *)source->vector->iov_base + source->at, piece);
        copied += got;
        source->at += got;
        if (got < piece)
            break;
        if (source->at == source->vector->iov_len) {
            source->vector++;
            source->at = 0;
        }
    }
    source->left -= copied;
    return copied;
}

static long size_of(int descriptor) {
    struct statx status;
    long answer = kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_SIZE, &status, 0);
    return answer < 0 ? answer : (long)status.stx_size;
}

static long predicted_offset(const struct writing *w) {
    if (w->append)
        return size_of(w->descriptor);
    return w->implicit ? kernel(SYS_lseek, w->descriptor, 0, SEEK_CUR, 0, 0, 0) : w->offset;
}

static long call(const struct writing *w, const uint8_t *bytes, size_t count) {
    if (w->rwf) {
        struct iovec vector = {(void *)bytes, count};
        long offset = w->implicit ? -1 : w->offset;
        return kernel(SYS_pwritev2, w->descriptor, &vector, 1, offset, 0, w->rwf);
    }
    if (w->implicit)
        return kernel(SYS_write, w->descriptor, bytes, count);
    return kernel(SYS_pwrite64, w->descriptor, bytes, count, w->offset);
}

static uint64_t actual_offset(const struct writing *w, long result, uint64_t predicted) {
    long end = -1;
    if (result <= 0)
        return predicted;
    if (w->implicit)
        end = kernel(SYS_lseek, w->descriptor, 0, SEEK_CUR, 0, 0, 0);
    else if (w->append)
        end = size_of(w->descriptor);
    else
        return (uint64_t)w->offset;
    return end >= result ? (uint64_t)(end - result) : predicted;
}

/* Somebody without the lock moved the offset, or the end of the file, since the prediction: he may have moved it once more before
   it was asked for, and where the bytes are is not known. Only an append's own offset tells where it went. */
static bool is_adrift(const struct writing *w, const struct lockstep_intent *intent) {
    return (w->append != w->implicit) && intent->actual_offset != intent->offset;
}

void writing_describe(const struct writing *w, struct lockstep_intent *intent, uint64_t offset, size_t bytes) {
    bool predicted = w->append || w->implicit;
    intent->object = w->target.object;
    intent->descriptor = w->descriptor;
    intent->offset = offset;
    intent->length = bytes;
    intent->flags = (uint16_t)((predicted ? LOCKSTEP_FLAG_PREDICTED : 0) | (w->append ? LOCKSTEP_FLAG_APPEND : 0)
                               | (w->durable ? LOCKSTEP_FLAG_DURABLE : 0) | (w->first ? LOCKSTEP_FLAG_CONTINUED : 0));
    intent->continues = w->first;
}

/* One chunk: one intent, one system call. */
static long write_chunk(struct writing *w, struct source *source, size_t bytes, bool last) {
    struct capture capture, barrier;
    struct offset_lock lock;
    bool locked = w->append || w->implicit, barred = false;
    /* Space is waited for, and the bytes are copied, before the lock is taken. */
    long answer = capture_begin(&capture, LOCKSTEP_KIND_WRITE, bytes, (w->flags & O_DIRECT) != 0);
    if (answer)
        return answer;
    size_t copied = source_copy(source, capture.payload, bytes);
    if (copied < bytes) {
        if (copied == 0 || (w->flags & O_DIRECT)) {
            capture_drop(&capture);
            return -EFAULT;
        }
        capture_shorten(&capture, bytes = copied);
    }
    if (locked)
        offset_lock(&lock, &w->target.object, &capture);
    long offset = predicted_offset(w);
    if (offset > OFFSET_MAX) {
        if (locked)
            offset_unlock(&lock);
        capture_drop(&capture);
        return -EFBIG;
    }
    writing_describe(w, capture.intent, offset < 0 ? 0 : (uint64_t)offset, bytes);
    answer = capture_publish_held(&capture);
    if (answer == 0) {
        if (w->first == 0)
            w->first = capture.sequence;
        if (w->durable && last) {
            /* Threads that hold an operation and wait for space would wait for each other: then after the call. */
            answer = barrier_publish_now(&barrier, &w->target.object, w->descriptor);
            barred = answer == 0;
            if (barred)
                capture_outlived(&capture, &barrier);
        }
        /* Without its barrier the write can't be made durable on both sides: it is not made at all. */
        long result = answer && answer != -EAGAIN ? answer : call(w, capture.payload, bytes);
        capture_actual_offset(&capture, actual_offset(w, result, capture.intent->offset));
        bool lost = locked && offset_unlock(&lock);
        if (lost || (result > 0 && is_adrift(w, capture.intent)))
            capture.intent->result_flags |= LOCKSTEP_RESULT_CONTENDED;
        capture_end(&capture, result);
        answer = result;
    } else {
        if (locked)
            offset_unlock(&lock);
        capture_signals_restore(&capture);
    }
    if (w->durable && last && !barred && answer >= 0) {
        long late = barrier_publish(&barrier, &w->target.object, w->descriptor);
        barred = late == 0;
        answer = late ? late : answer;
    }
    if (barred) {
        long durable = barrier_wait(&barrier, answer < 0 ? answer : 0);
        if (durable < 0)
            answer = durable;
    }
    return answer;
}

static long write_tracked(struct writing *w, struct source source) {
    long total = 0;
    while (source.left) {
        size_t bytes = source.left < LOCKSTEP_OPERATION_BYTES_MAX ? source.left : LOCKSTEP_OPERATION_BYTES_MAX;
        long result = write_chunk(w, &source, bytes, source.left == bytes);
        if (result < 0)
            return total && result != -EIO ? total : result;
        total += result;
        w->offset += result;
        if ((size_t)result < bytes)
            break;
    }
    /* A durable call that ended early is durable as far as it came. */
    if (w->durable && source.left && total > 0) {
        struct capture barrier;
        long answer = barrier_publish(&barrier, &w->target.object, w->descriptor);
        if (answer == 0)
            answer = barrier_wait(&barrier, 0);
        if (answer)
            return answer;
    }
    return total;
}

long writing_prepare(struct writing *w, const struct iovec *vector, int count, struct source *source) {
    return writing_prepare_flags(w, kernel(SYS_fcntl, w->descriptor, F_GETFL, 0, 0, 0, 0), vector, count, source);
}

long writing_prepare_flags(struct writing *w, long flags, const struct iovec *vector, int count, struct source *source) {
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
        return 0;
    w->flags = (int)flags;
    w->append = (w->rwf & RWF_APPEND) || ((flags & O_APPEND) && !(w->rwf & RWF_NOAPPEND));
    w->durable = (flags & O_DSYNC) || (w->rwf & (RWF_DSYNC | RWF_SYNC)) || control->wait_mode == LOCKSTEP_WAIT_WRITE;
    w->first = 0;
    if (!payload_readable(vector, (size_t)count * sizeof *vector))
        return -EFAULT;
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        if (vector[i].iov_len > SSIZE_MAX || total + vector[i].iov_len > SSIZE_MAX)
            return -EINVAL;
        if (!payload_plausible(vector[i].iov_base, vector[i].iov_len))
            return -EFAULT;
        total += vector[i].iov_len;
    }
    if (!w->implicit && total > (size_t)(SSIZE_MAX - w->offset))
        return 0; /* EINVAL or EFBIG */
    if (w->offset > OFFSET_MAX)
        return -EFBIG;
    *source = (struct source){vector, 0, total < CALL_BYTES_MAX ? total : CALL_BYTES_MAX};
    return total > 0;
}

long writing_check_flags(const struct writing *w) {
    if (!(w->rwf & ~RWF_CARRIED))
        return 0;
    line(LINE_WRITE, "pwritev2", w->descriptor, NULL, "these flags are not replicated: refused");
    return -EOPNOTSUPP;
}

/* A blocking call on a pipe, socket or terminal stays a cancellation point, as in libc. */
static long call_plain(const struct target *target, long number, long a, long b, long c) {
    if (!attached() || S_ISREG(target->mode) || target->mode == 0)
        return kernel(number, a, b, c, 0, 0, 0);
    int before;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    long answer = kernel(number, a, b, c, 0, 0, 0);
    pthread_setcanceltype(before, NULL);
    return answer;
}

long captured_write(int descriptor, const void *bytes, size_t count) {
    struct writing w = {.descriptor = descriptor, .implicit = true};
    struct iovec vector = {(void *)bytes, count};
    struct source source;
    long answer = count ? identify_regular(descriptor, &w.target) : OUTSIDE;
    if (answer == TRACKED && (answer = writing_prepare(&w, &vector, 1, &source)) > 0)
        return write_tracked(&w, source);
    return answer < 0 ? answer : call_plain(&w.target, SYS_write, descriptor, (long)bytes, (long)count);
}

long captured_pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    struct writing w = {.descriptor = descriptor, .offset = offset};
    struct iovec vector = {(void *)bytes, count};
    struct source source;
    long answer = count && offset >= 0 ? identify_regular(descriptor, &w.target) : OUTSIDE;
    if (answer == TRACKED && (answer = writing_prepare(&w, &vector, 1, &source)) > 0)
        return write_tracked(&w, source);
    return answer < 0 ? answer : kernel(SYS_pwrite64, descriptor, bytes, count, offset);
}

/* Other counts are EINVAL, or nothing to write: the kernel's to say. */
static bool count_valid(int count) { return count > 0 && count <= IOV_MAX; }

long captured_writev(int descriptor, const struct iovec *vector, int count) {
    struct writing w = {.descriptor = descriptor, .implicit = true};
    struct source source;
    long answer = identify_regular(descriptor, &w.target);
    if (answer == TRACKED && count_valid(count) && (answer = writing_prepare(&w, vector, count, &source)) > 0)
        return write_tracked(&w, source);
    return answer < 0 ? answer : call_plain(&w.target, SYS_writev, descriptor, (long)vector, count);
}

long captured_pwritev(int descriptor, const struct iovec *vector, int count, off_t offset, int flags, long number) {
    struct writing w = {.descriptor = descriptor, .offset = offset, .rwf = flags};
    w.implicit = number == SYS_pwritev2 && offset == OFFSET_IMPLICIT;
    struct source source;
    long answer = identify_regular(descriptor, &w.target);
    if (answer == TRACKED && writing_check_flags(&w) != 0)
        return -EOPNOTSUPP;
    if (answer == TRACKED && count_valid(count) && (offset >= 0 || w.implicit)
        && (answer = writing_prepare(&w, vector, count, &source)) > 0)
        return write_tracked(&w, source);
    return answer < 0 ? answer : kernel(number, descriptor, vector, count, offset, 0, flags);
}

/* ------------------------------------------------------------------ wrappers */

EXPORTED ssize_t write(int descriptor, const void *bytes, size_t count) {
    pthread_testcancel();
    return returned(captured_write(descriptor, bytes, count));
}
ALIAS(__write, write);

EXPORTED ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    pthread_testcancel();
    return returned(captured_pwrite(descriptor, bytes, count, offset));
}
ALIAS(pwrite64, pwrite);
ALIAS(__pwrite64, pwrite);

EXPORTED ssize_t writev(int descriptor, const struct iovec *vector, int count) {
    pthread_testcancel();
    return returned(captured_writev(descriptor, vector, count));
}

EXPORTED ssize_t pwritev(int descriptor, const struct iovec *vector, int count, off_t offset) {
    pthread_testcancel();
    return returned(captured_pwritev(descriptor, vector, count, offset, 0, SYS_pwritev));
}
ALIAS(pwritev64, pwritev);

EXPORTED ssize_t pwritev2(int descriptor, const struct iovec *vector, int count, off_t offset, int flags) {
    pthread_testcancel();
    return returned(captured_pwritev(descriptor, vector, count, offset, flags, SYS_pwritev2));
}
ALIAS(pwritev64v2, pwritev2);
