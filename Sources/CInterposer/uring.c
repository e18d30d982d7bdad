/*
 * uring.c: making and ending a ring.
 *
 *   io_uring_queue_init --> the kernel's ring, mapped here, not inherited --> facade, private memory --> struct io_uring
 *   io_uring_queue_exit --> what is in flight has ended --> closed
 *
 * A forked child finds the table and the facades empty: the ring is its parent's, and refused.
 */
#define _GNU_SOURCE
#include "uring.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define RINGS 256u
/* All of them are Linux 6.1's, the oldest that is supported. */
#define FEATURES_NEEDED (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG)
/* By whom entries are given and completions taken, and whether a bad entry stops the others: the library does it in its own way. */
#define FLAGS_LEFT_OUT (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER \
                        | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL)
#define FLAGS_PASSED (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)

static struct rings {
    struct uring rings[RINGS];
} *_Atomic table;

static long map(size_t bytes, int flags, long descriptor, uint64_t offset) {
    return kernel(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, flags, descriptor, offset);
}
static bool failed(long answer) { return answer < 0 && answer > -4096; }

static struct rings *table_make(void) {
    struct rings *there = atomic_load(&table);
    if (there || !flights_prepare())
        return there;
    long made = map(sizeof(struct rings), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (failed(made))
        return NULL;
    if (kernel(SYS_madvise, made, sizeof(struct rings), MADV_WIPEONFORK) == 0
        && atomic_compare_exchange_strong(&table, &there, (struct rings *)made))
        return (struct rings *)made;
    kernel(SYS_munmap, made, sizeof(struct rings));
    return there;
}

/* ------------------------------------------------------------------ which */

struct uring *uring_next(unsigned *index) {
    struct rings *t = atomic_load(&table);
    while (t && *index < RINGS) {
        struct uring *ring = &t->rings[(*index)++];
        uint32_t state = atomic_load(&ring->state);
        if (state == URING_OPEN || state == URING_CLOSING)
            return ring;
    }
    return NULL;
}

struct uring *uring_of(const struct io_uring *given) {
    struct uring *ring;
    for (unsigned index = 0; given->sq.ring_ptr && (ring = uring_next(&index)) != NULL;)
        if ((void *)ring->facade == given->sq.ring_ptr && atomic_load(&ring->state) == URING_OPEN)
            return ring;
    line(LINE_URING, "io_uring", -1, NULL, "a ring that this process has not made: refused");
    return NULL;
}

bool uring_is_ring(int descriptor) {
    static const char name[] = "anon_inode:[io_uring]";
    char path[DESCRIPTOR_PATH_BYTES], text[sizeof name];
    descriptor_path(descriptor, path);
    return kernel(SYS_readlink, path, text, sizeof text) == (long)sizeof name - 1 && memcmp(text, name, sizeof name - 1) == 0;
}

/* ------------------------------------------------------------------ locks */

bool uring_lock(_Atomic(uint32_t) *lock, struct capture *signals) {
    uint64_t start = milliseconds_now();
    uint32_t self = (uint32_t)thread_id();
    for (;;) {
        capture_signals_hold(signals);
        uint32_t holder = 0;
        /* Its own: a handler has jumped out of a submission. */
        if (atomic_compare_exchange_strong(lock, &holder, self) || holder == self)
            return true;
        capture_signals_restore(signals);
        if (milliseconds_now() - start > 2 * (uint64_t)control->wait_bound_milliseconds)
            return false;
        struct timespec bound = {.tv_nsec = 1000000};
        kernel(SYS_futex, lock, FUTEX_WAIT, holder, &bound, 0, 0);
    }
}

void uring_unlock(_Atomic(uint32_t) *lock, const struct capture *signals) {
    atomic_store(lock, 0);
    capture_signals_restore(signals);
}

/* ------------------------------------------------------------------ making */

static long refused(unsigned flags) {
    if (flags & IORING_SETUP_SQPOLL) {
        line(LINE_URING, "io_uring_queue_init", -1, NULL, "SQPOLL submits past every call: refused");
        return -EPERM;
    }
    if (flags & ~(FLAGS_PASSED | FLAGS_LEFT_OUT)) {
        line(LINE_URING, "io_uring_queue_init", -1, NULL, "these flags are not captured: refused");
        return -EINVAL;
    }
    return 0;
}

static void unmap(struct uring *ring) {
    if (ring->facade)
        kernel(SYS_munmap, ring->facade, ring->facade_bytes);
    if (ring->ring)
        kernel(SYS_munmap, ring->ring, ring->ring_bytes);
    if (ring->entry_memory)
        kernel(SYS_munmap, ring->entry_memory, ring->entry_bytes);
    ring->facade = NULL;
    ring->ring = ring->entry_memory = NULL;
}

static bool map_all(struct uring *ring, const struct io_uring_params *p) {
    size_t facade = 64 + sizeof(struct facade) + p->sq_entries * (sizeof(unsigned) + sizeof(struct io_uring_sqe))
                    + p->cq_entries * sizeof(struct io_uring_cqe);
    size_t entries = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t completions = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring->facade_bytes = (facade + 4095) & ~4095ul;
    ring->ring_bytes = entries > completions ? entries : completions;
    ring->entry_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
    const int shared = MAP_SHARED | MAP_POPULATE;
    const struct { void **where; size_t bytes; int flags, descriptor, advice; uint64_t offset; } mappings[] = {
        {(void **)&ring->facade, ring->facade_bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1, MADV_WIPEONFORK, 0},
        {&ring->ring, ring->ring_bytes, shared, ring->descriptor, MADV_DONTFORK, IORING_OFF_SQ_RING},
        {&ring->entry_memory, ring->entry_bytes, shared, ring->descriptor, MADV_DONTFORK, IORING_OFF_SQES},
    };
    for (unsigned i = 0; i < sizeof mappings / sizeof *mappings; i++) {
        long made = map(mappings[i].bytes, mappings[i].flags, mappings[i].descriptor, mappings[i].offset);
        if (failed(made))
            return false;
        *mappings[i].where = (void *)made;
        if (kernel(SYS_madvise, made, mappings[i].bytes, mappings[i].advice) != 0)
            return false;
    }
    return true;
}

static void point_into_ring(struct uring *ring, const struct io_uring_params *p) {
    char *base = ring->ring;
    ring->entries = p->sq_entries;
    ring->completions = p->cq_entries;
    ring->entry_head = (unsigned *)(base + p->sq_off.head);
    ring->entry_tail = (unsigned *)(base + p->sq_off.tail);
    ring->entry_flags = (unsigned *)(base + p->sq_off.flags);
    ring->completion_head = (unsigned *)(base + p->cq_off.head);
    ring->completion_tail = (unsigned *)(base + p->cq_off.tail);
    ring->given = ring->entry_memory;
    ring->completed = (const struct io_uring_cqe *)(base + p->cq_off.cqes);
    unsigned *array = (unsigned *)(base + p->sq_off.array);
    for (unsigned i = 0; i < ring->entries; i++)
        array[i] = i;
}

static void present(struct uring *ring, struct io_uring *given, const struct io_uring_params *p) {
    struct facade *f = ring->facade;
    struct io_uring_sqe *entries = (struct io_uring_sqe *)(((uintptr_t)(f + 1) + 63) & ~63ul);
    struct io_uring_cqe *completions = (struct io_uring_cqe *)(entries + ring->entries);
    unsigned *array = (unsigned *)((char *)completions + ring->completions * sizeof(struct io_uring_cqe));
    for (unsigned i = 0; i < ring->entries; i++)
        array[i] = i;
    f->entry_mask = ring->entries - 1;
    f->entry_count = ring->entries;
    f->completion_mask = ring->completions - 1;
    f->completion_count = ring->completions;
    memset(given, 0, sizeof *given);
    given->sq = (struct io_uring_sq){.khead = &f->entry_head, .ktail = &f->entry_tail, .kring_mask = &f->entry_mask,
        .kring_entries = &f->entry_count, .kflags = &f->entry_flags, .kdropped = &f->entry_dropped, .array = array, .sqes = entries,
        .ring_sz = ring->facade_bytes, .ring_ptr = f, .ring_mask = f->entry_mask, .ring_entries = ring->entries};
    /* Whether an eventfd is signalled is between the program and the kernel. */
    given->cq = (struct io_uring_cq){.khead = &f->completion_head, .ktail = &f->completion_tail, .kring_mask = &f->completion_mask,
        .kring_entries = &f->completion_count, .kflags = (unsigned *)((char *)ring->ring + p->cq_off.flags),
        .koverflow = &f->completion_overflow, .cqes = completions, .ring_sz = ring->facade_bytes, .ring_ptr = f,
        .ring_mask = f->completion_mask, .ring_entries = ring->completions};
    given->flags = p->flags;
    given->features = p->features;
    given->ring_fd = given->enter_ring_fd = ring->descriptor;
}

static long make_in(struct uring *ring, unsigned entries, struct io_uring *given, struct io_uring_params *parameters) {
    struct io_uring_params p = {.flags = (parameters->flags & FLAGS_PASSED) | IORING_SETUP_SUBMIT_ALL,
                                .cq_entries = parameters->cq_entries};
    long answer = kernel(SYS_io_uring_setup, entries, &p);
    if (answer < 0)
        return answer;
    memset(&ring->descriptor, 0, sizeof *ring - offsetof(struct uring, descriptor));
    ring->descriptor = (int)answer;
    answer = (p.features & FEATURES_NEEDED) == FEATURES_NEEDED ? -ENOMEM : -ENOSYS; /* another kernel's ring is not known */
    if (answer == -ENOSYS || !map_all(ring, &p)) {
        unmap(ring);
        kernel(SYS_close, ring->descriptor);
        return answer;
    }
    point_into_ring(ring, &p);
    p.flags = parameters->flags;
    *parameters = p;
    present(ring, given, &p);
    atomic_store(&ring->state, URING_OPEN);
    return 0;
}

long uring_make(unsigned entries, struct io_uring *given, struct io_uring_params *parameters) {
    /* Quietly: engines fall back to Linux AIO or plain calls. */
    if (!(atomic_load(&control->switches) & LOCKSTEP_SWITCH_IO_URING))
        return -EPERM;
    long answer = refused(parameters->flags);
    struct rings *t = answer ? NULL : table_make();
    if (!t)
        return answer ? answer : -ENOMEM;
    answer = -EMFILE;
    for (unsigned index = 0; answer == -EMFILE && index < RINGS; index++) {
        uint32_t nobody = URING_FREE;
        if (!atomic_compare_exchange_strong(&t->rings[index].state, &nobody, URING_HIDDEN))
            continue;
        answer = make_in(&t->rings[index], entries, given, parameters);
        if (answer) {
            atomic_store(&t->rings[index].state, URING_FREE);
            return answer;
        }
    }
    return answer;
}

/* ------------------------------------------------------------------ ending */

/* The kernel would go on writing from the arena after the ring is closed. */
static bool has_ended(struct uring *ring) {
    uint64_t start = milliseconds_now();
    struct flight *flight;
    for (unsigned index = 0; (flight = flight_next(ring, &index)) != NULL;)
        while (flight->owner == ring && STATE_PHASE(atomic_load(&flight->state)) == FLYING && flight->writes) {
            uring_look();
            if (milliseconds_now() - start > control->wait_bound_milliseconds)
                return false;
            struct timespec bound = {.tv_nsec = 10000000};
            struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&bound};
            if (STATE_PHASE(atomic_load(&flight->state)) == FLYING) /* also where completions that found no place come in */
                kernel(SYS_io_uring_enter, ring->descriptor, 0, ring->completions, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                       &argument, sizeof argument);
        }
    return true;
}

void uring_end(struct io_uring *given) {
    struct uring *ring = uring_of(given);
    if (!ring) { /* a parent's: as far as it was inherited */
        if (given->sq.ring_ptr && uring_is_ring(given->ring_fd)) {
            kernel(SYS_munmap, given->sq.ring_ptr, given->sq.ring_sz);
            kernel(SYS_close, given->ring_fd);
        }
        return;
    }
    struct capture signals;
    uint32_t open = URING_OPEN;
    if (!atomic_compare_exchange_strong(&ring->state, &open, URING_CLOSING))
        return;
    if (!has_ended(ring) || !uring_lock(&ring->reaping, &signals)) {
        /* It stays, and is looked at, until the process ends. */
        line(LINE_URING, "io_uring_queue_exit", -1, NULL, "operations are still in flight after the bound: the ring stays");
        return;
    }
    struct flight *flight;
    for (unsigned index = 0; (flight = flight_next(ring, &index)) != NULL;)
        flight_abandon(flight, -EIO);
    uring_files_forget(ring);
    kernel(SYS_close, ring->descriptor);
    unmap(ring);
    atomic_store(&ring->state, URING_HIDDEN);
    uring_unlock(&ring->reaping, &signals);
    atomic_store(&ring->state, URING_FREE);
}
