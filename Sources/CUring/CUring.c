#define _GNU_SOURCE
#include "CUring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Kernel 6.7; the headers of 6.1 do not know it. */
#define OPERATION_FUTEX_WAIT 51
#define FUTEX2_SIZE_U32      2

struct lockstep_uring {
    struct io_uring ring;
    unsigned in_flight;
    bool enabled;
    bool has_futex_wait;
};

static bool probe(struct io_uring *ring, int operation)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool supported = probe && io_uring_opcode_supported(probe, operation);
    io_uring_free_probe(probe);
    return supported;
}

struct lockstep_uring *lockstep_uring_create(unsigned entries, int *error)
{
    struct lockstep_uring *ring = calloc(1, sizeof *ring);
    if (!ring) {
        *error = -ENOMEM;
        return NULL;
    }
    /* One issuer, and completions are worked on only when it asks: no interruption of the data-plane thread. Disabled
       until the first submission, so that the ring may be made on another thread than the one that uses it. */
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
            | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = entries * 4};
    int result = io_uring_queue_init_params(entries, &ring->ring, &params);
    if (result == -EINVAL) { /* older than 6.1 */
        params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = entries * 4};
        result = io_uring_queue_init_params(entries, &ring->ring, &params);
        ring->enabled = true;
    }
    if (result < 0) {
        *error = result;
        free(ring);
        return NULL;
    }
    io_uring_ring_dontfork(&ring->ring);
    ring->has_futex_wait = probe(&ring->ring, OPERATION_FUTEX_WAIT);
    return ring;
}

static int enable(struct lockstep_uring *ring)
{
    if (ring->enabled)
        return 0;
    /* io_uring_enable_rings is declared by liburing 2.3, and missing from the library. */
    if (syscall(SYS_io_uring_register, ring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return -errno;
    ring->enabled = true;
    return 0;
}

void lockstep_uring_destroy(struct lockstep_uring *ring)
{
    struct lockstep_completion completion;
    struct timespec start, now;
    unsigned unsubmitted = io_uring_sq_ready(&ring->ring);
    ring->in_flight -= unsubmitted <= ring->in_flight ? unsubmitted : ring->in_flight;
    if (ring->enabled && ring->in_flight > 0) {
        struct io_uring_sync_cancel_reg all = {.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
            .timeout = {.tv_sec = 5}};
        io_uring_register_sync_cancel(&ring->ring, &all);
        clock_gettime(CLOCK_MONOTONIC, &start);
        do {
            struct io_uring_cqe *cqe;
            struct __kernel_timespec wait = {.tv_nsec = 100000000};
            /* Without submitting: what was prepared and not submitted never begins. */
            int result = io_uring_wait_cqes(&ring->ring, &cqe, 1, &wait, NULL);
            if (result < 0 && result != -ETIME && result != -EINTR)
                break; /* not our thread: the kernel ends the rest when the ring is closed */
            while (lockstep_uring_next(ring, &completion)) { }
            clock_gettime(CLOCK_MONOTONIC, &now);
        } while (ring->in_flight > 0 && now.tv_sec - start.tv_sec < 5);
    }
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

bool lockstep_uring_has_futex_wait(const struct lockstep_uring *ring) { return ring->has_futex_wait; }

unsigned lockstep_uring_in_flight(const struct lockstep_uring *ring) { return ring->in_flight; }

static struct io_uring_sqe *entry(struct lockstep_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);
    if (sqe)
        ring->in_flight++;
    return sqe;
}

/* The preparers of liburing clear the whole entry, so the token comes last. */
#define PREPARE(ring, token, prepare) \
    struct io_uring_sqe *sqe = entry(ring); \
    if (!sqe) \
        return -EBUSY; \
    prepare; \
    io_uring_sqe_set_data64(sqe, token); \
    return 0

int lockstep_uring_write(struct lockstep_uring *ring, int descriptor, const void *bytes, uint32_t count, uint64_t offset, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_write(sqe, descriptor, bytes, count, offset));
}

int lockstep_uring_read(struct lockstep_uring *ring, int descriptor, void *bytes, uint32_t count, uint64_t offset, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_read(sqe, descriptor, bytes, count, offset));
}

int lockstep_uring_send(struct lockstep_uring *ring, int socket, const void *bytes, uint32_t count, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_send(sqe, socket, bytes, count, MSG_NOSIGNAL));
}

int lockstep_uring_receive(struct lockstep_uring *ring, int socket, void *bytes, uint32_t count, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_recv(sqe, socket, bytes, count, 0));
}

int lockstep_uring_accept(struct lockstep_uring *ring, int socket, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_accept(sqe, socket, NULL, NULL, SOCK_CLOEXEC));
}

int lockstep_uring_connect(struct lockstep_uring *ring, int socket, const void *address, uint32_t bytes, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_connect(sqe, socket, address, bytes));
}

int lockstep_uring_poll(struct lockstep_uring *ring, int descriptor, uint32_t events, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_poll_add(sqe, descriptor, events));
}

int lockstep_uring_futex_wait(struct lockstep_uring *ring, const void *word, uint32_t expected, uint64_t token)
{
    if (!ring->has_futex_wait)
        return -EOPNOTSUPP;
    /* As io_uring_prep_futex_wait of liburing 2.5: the flags travel in fd, the value in off, the mask in addr3. */
    PREPARE(ring, token, {
        io_uring_prep_rw(OPERATION_FUTEX_WAIT, sqe, FUTEX2_SIZE_U32, word, 0, expected);
        sqe->addr3 = UINT32_MAX;
    });
}

int lockstep_uring_cancel(struct lockstep_uring *ring, uint64_t target, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_cancel64(sqe, target, 0));
}

int lockstep_uring_fdatasync(struct lockstep_uring *ring, int descriptor, uint64_t token)
{
    PREPARE(ring, token, io_uring_prep_fsync(sqe, descriptor, IORING_FSYNC_DATASYNC));
}

int lockstep_uring_submit_and_wait(struct lockstep_uring *ring, unsigned count, int64_t timeout_nanoseconds)
{
    struct io_uring_cqe *cqe;
    int result = enable(ring);
    if (result < 0)
        return result;
    if (count == 0) {
        result = io_uring_submit_and_get_events(&ring->ring);
    } else if (timeout_nanoseconds < 0) {
        result = io_uring_submit_and_wait(&ring->ring, count);
    } else {
        struct __kernel_timespec timeout = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
        result = io_uring_submit_and_wait_timeout(&ring->ring, &cqe, count, &timeout, NULL);
    }
    return result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ? 0 : result;
}

bool lockstep_uring_next(struct lockstep_uring *ring, struct lockstep_completion *completion)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    io_uring_for_each_cqe(&ring->ring, head, cqe) {
        *completion = (struct lockstep_completion){io_uring_cqe_get_data64(cqe), cqe->res, cqe->flags};
        io_uring_cqe_seen(&ring->ring, cqe);
        /* Every operation here completes once: one entry of ours is done. */
        ring->in_flight--;
        return true;
    }
    return false;
}
