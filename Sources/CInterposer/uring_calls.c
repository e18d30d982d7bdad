/*
 * uring_calls.c: liburing's functions, those of its version 2.3. Where the library is inert they are liburing's own.
 *
 * Who asks for a ring's memory, its number, or a call by its number gets EPERM: what goes past these functions is not captured.
 */
#define _GNU_SOURCE
#include "uring.h"
#include <dlfcn.h>
#include <sys/mman.h>

#define INERT(otherwise, name, ...)                                                    \
    do {                                                                               \
        if (!attached()) {                                                             \
            __typeof__(&name) there = (__typeof__(&name))dlsym(RTLD_NEXT, #name);      \
            return there ? there(__VA_ARGS__) : (otherwise);                           \
        }                                                                              \
    } while (0)

/* `own`: the ring, or EPERM. */
#define OWN(given)                                                                     \
    struct uring *own = uring_of(given);                                               \
    if (!own)                                                                          \
        return -EPERM

long uring_refuse_raw(void) {
    if (attached() && (atomic_load(&control->switches) & LOCKSTEP_SWITCH_IO_URING))
        line(LINE_URING, "io_uring", -1, NULL, "a call of its own, past liburing's functions, is not captured: refused");
    return -EPERM;
}

/* ------------------------------------------------------------------ rings */

EXPORTED int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p) {
    INERT(-ENOSYS, io_uring_queue_init_params, entries, ring, p);
    return (int)uring_make(entries, ring, p);
}

EXPORTED int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags) {
    INERT(-ENOSYS, io_uring_queue_init, entries, ring, flags);
    struct io_uring_params p = {.flags = flags};
    return (int)uring_make(entries, ring, &p);
}

EXPORTED int io_uring_queue_mmap(int fd, struct io_uring_params *p, struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_queue_mmap, fd, p, ring);
    return (int)uring_refuse_raw();
}

EXPORTED void io_uring_queue_exit(struct io_uring *ring) {
    if (attached()) {
        uring_end(ring);
        return;
    }
    void (*there)(struct io_uring *) = (void (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_queue_exit");
    if (there)
        there(ring);
}

/* None is inherited. */
EXPORTED int io_uring_ring_dontfork(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_ring_dontfork, ring);
    return 0;
}

EXPORTED int io_uring_setup(unsigned entries, struct io_uring_params *p) {
    INERT(-ENOSYS, io_uring_setup, entries, p);
    return (int)uring_refuse_raw();
}

EXPORTED int io_uring_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *sig) {
    INERT(-ENOSYS, io_uring_enter, fd, to_submit, min_complete, flags, sig);
    return (int)uring_refuse_raw();
}

EXPORTED int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *sig, size_t sz) {
    INERT(-ENOSYS, io_uring_enter2, fd, to_submit, min_complete, flags, sig, sz);
    return (int)uring_refuse_raw();
}

EXPORTED int io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned nr_args) {
    INERT(-ENOSYS, io_uring_register, fd, opcode, arg, nr_args);
    return (int)uring_refuse_raw();
}

/* Nothing is accounted to the process: IORING_FEAT_NATIVE_WORKERS. */
EXPORTED ssize_t io_uring_mlock_size_params(unsigned entries, struct io_uring_params *p) {
    INERT(-ENOSYS, io_uring_mlock_size_params, entries, p);
    return 0;
}

EXPORTED ssize_t io_uring_mlock_size(unsigned entries, unsigned flags) {
    INERT(-ENOSYS, io_uring_mlock_size, entries, flags);
    return 0;
}

/* ------------------------------------------------------------------ entries and completions */

EXPORTED struct io_uring_sqe *io_uring_get_sqe(struct io_uring *ring) { return _io_uring_get_sqe(ring); }

EXPORTED int io_uring_submit(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_submit, ring);
    OWN(ring);
    return (int)uring_submit(own, ring);
}

static int submit_and_wait(struct io_uring *ring, unsigned wanted, bool look) {
    OWN(ring);
    long taken = uring_submit(own, ring);
    if (taken < 0 || (wanted == 0 && !look))
        return (int)taken;
    long answer = uring_wait(own, wanted, NULL, NULL);
    return (int)(taken > 0 || answer > 0 ? taken : answer);
}

EXPORTED int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr) {
    INERT(-ENOSYS, io_uring_submit_and_wait, ring, wait_nr);
    return submit_and_wait(ring, wait_nr, false);
}

EXPORTED int io_uring_submit_and_get_events(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_submit_and_get_events, ring);
    return submit_and_wait(ring, 0, true);
}

EXPORTED int io_uring_get_events(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_get_events, ring);
    OWN(ring);
    return (int)uring_wait(own, 0, NULL, NULL);
}

/* The next completion, when there are `wanted`, or what there is. */
static int next(struct uring *own, struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wanted,
                const struct __kernel_timespec *timeout, const sigset_t *signals) {
    long answer = 0;
    if (uring_ready(own) == 0 || uring_ready(own) < wanted)
        answer = uring_wait(own, wanted, timeout, signals);
    *cqe = uring_ready(own) ? &ring->cq.cqes[*ring->cq.khead & ring->cq.ring_mask] : NULL;
    return answer < 0 ? (int)answer : *cqe ? 0 : -EAGAIN;
}

EXPORTED int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned submit, unsigned wait_nr,
                                sigset_t *sigmask) {
    INERT(-ENOSYS, __io_uring_get_cqe, ring, cqe_ptr, submit, wait_nr, sigmask);
    OWN(ring);
    long taken = submit ? uring_submit(own, ring) : 0;
    return taken < 0 ? (int)taken : next(own, ring, cqe_ptr, wait_nr, NULL, sigmask);
}

EXPORTED int io_uring_wait_cqes(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr,
                                struct __kernel_timespec *ts, sigset_t *sigmask) {
    INERT(-ENOSYS, io_uring_wait_cqes, ring, cqe_ptr, wait_nr, ts, sigmask);
    OWN(ring);
    return next(own, ring, cqe_ptr, wait_nr, ts, sigmask);
}

EXPORTED int io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, struct __kernel_timespec *ts) {
    INERT(-ENOSYS, io_uring_wait_cqe_timeout, ring, cqe_ptr, ts);
    OWN(ring);
    return next(own, ring, cqe_ptr, 1, ts, NULL);
}

EXPORTED int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr,
                                              struct __kernel_timespec *ts, sigset_t *sigmask) {
    INERT(-ENOSYS, io_uring_submit_and_wait_timeout, ring, cqe_ptr, wait_nr, ts, sigmask);
    OWN(ring);
    long taken = uring_submit(own, ring);
    int answer = taken < 0 ? (int)taken : next(own, ring, cqe_ptr, wait_nr, ts, sigmask);
    return answer;
}

EXPORTED unsigned io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count) {
    INERT(0, io_uring_peek_batch_cqe, ring, cqes, count);
    struct uring *own = uring_of(ring);
    if (!own)
        return 0;
    if (uring_ready(own) == 0)
        uring_wait(own, 0, NULL, NULL);
    unsigned ready = uring_ready(own), head = *ring->cq.khead;
    count = count < ready ? count : ready;
    for (unsigned i = 0; i < count; i++)
        cqes[i] = &ring->cq.cqes[(head + i) & ring->cq.ring_mask];
    return count;
}

/* Of SQPOLL only, which is refused. */
EXPORTED int __io_uring_sqring_wait(struct io_uring *ring) {
    INERT(-ENOSYS, __io_uring_sqring_wait, ring);
    return -EINVAL;
}

/* ------------------------------------------------------------------ registering */

static long forward(struct io_uring *ring, unsigned opcode, const void *argument, unsigned count) {
    OWN(ring);
    return kernel(SYS_io_uring_register, own->descriptor, opcode, argument, count);
}

/* The kernel would put completions with the tags into the ring, by names that need not be the program's. */
static long refuse_tags(void) {
    line(LINE_URING, "io_uring_register", -1, NULL, "tags of registered files and buffers are not captured: refused");
    return -EINVAL;
}

enum change { REGISTER, UPDATE, UNREGISTER };

static long change_files(struct io_uring *ring, enum change change, unsigned offset, const int *files, unsigned count) {
    struct capture held;
    OWN(ring);
    if (!uring_lock(&own->submitting, &held))
        return -EBUSY;
    long answer = change == REGISTER ? uring_files_register(own, files, count)
                  : change == UPDATE ? uring_files_update(own, offset, files, count) : uring_files_unregister(own);
    uring_unlock(&own->submitting, &held);
    return answer;
}

EXPORTED int io_uring_register_files(struct io_uring *ring, const int *files, unsigned nr_files) {
    INERT(-ENOSYS, io_uring_register_files, ring, files, nr_files);
    return (int)(files ? change_files(ring, REGISTER, 0, files, nr_files) : -EFAULT);
}

EXPORTED int io_uring_register_files_tags(struct io_uring *ring, const int *files, const __u64 *tags, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_files_tags, ring, files, tags, nr);
    return (int)(tags ? refuse_tags() : files ? change_files(ring, REGISTER, 0, files, nr) : -EFAULT);
}

EXPORTED int io_uring_register_files_sparse(struct io_uring *ring, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_files_sparse, ring, nr);
    return (int)change_files(ring, REGISTER, 0, NULL, nr);
}

EXPORTED int io_uring_register_files_update(struct io_uring *ring, unsigned off, const int *files, unsigned nr_files) {
    INERT(-ENOSYS, io_uring_register_files_update, ring, off, files, nr_files);
    return (int)(files ? change_files(ring, UPDATE, off, files, nr_files) : -EFAULT);
}

EXPORTED int io_uring_register_files_update_tag(struct io_uring *ring, unsigned off, const int *files, const __u64 *tags,
                                                unsigned nr_files) {
    INERT(-ENOSYS, io_uring_register_files_update_tag, ring, off, files, tags, nr_files);
    return (int)(tags ? refuse_tags() : files ? change_files(ring, UPDATE, off, files, nr_files) : -EFAULT);
}

EXPORTED int io_uring_unregister_files(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_unregister_files, ring);
    return (int)change_files(ring, UNREGISTER, 0, NULL, 0);
}

EXPORTED int io_uring_register_file_alloc_range(struct io_uring *ring, unsigned off, unsigned len) {
    INERT(-ENOSYS, io_uring_register_file_alloc_range, ring, off, len);
    struct io_uring_file_index_range range = {.off = off, .len = len};
    return (int)forward(ring, IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0);
}

EXPORTED int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iovecs, unsigned nr_iovecs) {
    INERT(-ENOSYS, io_uring_register_buffers, ring, iovecs, nr_iovecs);
    return (int)forward(ring, IORING_REGISTER_BUFFERS, iovecs, nr_iovecs);
}

EXPORTED int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iovecs, const __u64 *tags, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_buffers_tags, ring, iovecs, tags, nr);
    struct io_uring_rsrc_register all = {.nr = nr, .data = (uintptr_t)iovecs};
    return (int)(tags ? refuse_tags() : forward(ring, IORING_REGISTER_BUFFERS2, &all, sizeof all));
}

EXPORTED int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_buffers_sparse, ring, nr);
    struct io_uring_rsrc_register all = {.nr = nr, .flags = IORING_RSRC_REGISTER_SPARSE};
    return (int)forward(ring, IORING_REGISTER_BUFFERS2, &all, sizeof all);
}

EXPORTED int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off, const struct iovec *iovecs,
                                                  const __u64 *tags, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_buffers_update_tag, ring, off, iovecs, tags, nr);
    struct io_uring_rsrc_update2 update = {.offset = off, .data = (uintptr_t)iovecs, .nr = nr};
    return (int)(tags ? refuse_tags() : forward(ring, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof update));
}

EXPORTED int io_uring_unregister_buffers(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_unregister_buffers, ring);
    return (int)forward(ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

EXPORTED int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned flags) {
    INERT(-ENOSYS, io_uring_register_buf_ring, ring, reg, flags);
    return (int)forward(ring, IORING_REGISTER_PBUF_RING, reg, 1);
}

EXPORTED int io_uring_unregister_buf_ring(struct io_uring *ring, int bgid) {
    INERT(-ENOSYS, io_uring_unregister_buf_ring, ring, bgid);
    struct io_uring_buf_reg reg = {.bgid = (uint16_t)bgid};
    return (int)forward(ring, IORING_UNREGISTER_PBUF_RING, &reg, 1);
}

EXPORTED int io_uring_register_eventfd(struct io_uring *ring, int fd) {
    INERT(-ENOSYS, io_uring_register_eventfd, ring, fd);
    return (int)forward(ring, IORING_REGISTER_EVENTFD, &fd, 1);
}

EXPORTED int io_uring_register_eventfd_async(struct io_uring *ring, int fd) {
    INERT(-ENOSYS, io_uring_register_eventfd_async, ring, fd);
    return (int)forward(ring, IORING_REGISTER_EVENTFD_ASYNC, &fd, 1);
}

EXPORTED int io_uring_unregister_eventfd(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_unregister_eventfd, ring);
    return (int)forward(ring, IORING_UNREGISTER_EVENTFD, NULL, 0);
}

EXPORTED int io_uring_register_personality(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_register_personality, ring);
    line(LINE_URING, "io_uring_register_personality", -1, NULL, "operations by other credentials are not captured: refused");
    return -EPERM;
}

EXPORTED int io_uring_unregister_personality(struct io_uring *ring, int id) {
    INERT(-ENOSYS, io_uring_unregister_personality, ring, id);
    return -EINVAL;
}

/* A ring's number in a thread of the program's own: none is needed. Older kernels answer so, too. */
EXPORTED int io_uring_register_ring_fd(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_register_ring_fd, ring);
    return -EINVAL;
}

EXPORTED int io_uring_unregister_ring_fd(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_unregister_ring_fd, ring);
    return -EINVAL;
}

EXPORTED int io_uring_register_iowq_aff(struct io_uring *ring, size_t cpusz, const cpu_set_t *mask) {
    INERT(-ENOSYS, io_uring_register_iowq_aff, ring, cpusz, mask);
    return (int)(cpusz >= (1u << 31) ? -EINVAL : forward(ring, IORING_REGISTER_IOWQ_AFF, mask, (unsigned)cpusz));
}

EXPORTED int io_uring_unregister_iowq_aff(struct io_uring *ring) {
    INERT(-ENOSYS, io_uring_unregister_iowq_aff, ring);
    return (int)forward(ring, IORING_UNREGISTER_IOWQ_AFF, NULL, 0);
}

EXPORTED int io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned *values) {
    INERT(-ENOSYS, io_uring_register_iowq_max_workers, ring, values);
    return (int)forward(ring, IORING_REGISTER_IOWQ_MAX_WORKERS, values, 2);
}

EXPORTED int io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg) {
    INERT(-ENOSYS, io_uring_register_sync_cancel, ring, reg);
    return (int)forward(ring, IORING_REGISTER_SYNC_CANCEL, reg, 1);
}

/* ------------------------------------------------------------------ what can be done */

/* What would be refused is not offered. */
EXPORTED int io_uring_register_probe(struct io_uring *ring, struct io_uring_probe *p, unsigned nr) {
    INERT(-ENOSYS, io_uring_register_probe, ring, p, nr);
    long answer = forward(ring, IORING_REGISTER_PROBE, p, nr);
    for (unsigned i = 0; answer >= 0 && i < p->ops_len; i++)
        if (!uring_knows(p->ops[i].op))
            p->ops[i].flags &= (uint16_t)~IO_URING_OP_SUPPORTED;
    return (int)answer;
}

enum { PROBED = 256, PROBE_BYTES = 4096 };
_Static_assert(sizeof(struct io_uring_probe) + PROBED * sizeof(struct io_uring_probe_op) <= PROBE_BYTES, "a probe is one page");

EXPORTED struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring) {
    INERT(NULL, io_uring_get_probe_ring, ring);
    long made = kernel(SYS_mmap, 0, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made < 0 && made > -4096)
        return NULL;
    if (io_uring_register_probe(ring, (struct io_uring_probe *)made, PROBED) >= 0)
        return (struct io_uring_probe *)made;
    kernel(SYS_munmap, made, PROBE_BYTES);
    return NULL;
}

EXPORTED struct io_uring_probe *io_uring_get_probe(void) {
    INERT(NULL, io_uring_get_probe);
    struct io_uring ring;
    if (io_uring_queue_init(2, &ring, 0) < 0)
        return NULL;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    io_uring_queue_exit(&ring);
    return probe;
}

EXPORTED void io_uring_free_probe(struct io_uring_probe *probe) {
    if (attached()) {
        kernel(SYS_munmap, probe, PROBE_BYTES);
        return;
    }
    void (*there)(struct io_uring_probe *) = (void (*)(struct io_uring_probe *))dlsym(RTLD_NEXT, "io_uring_free_probe");
    if (there)
        there(probe);
}
