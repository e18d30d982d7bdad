/*
 * aio.c: contexts, and the look at the kernel's rings.
 *
 * The magic word of each ring is cleared: libaio, and who else takes events without a system call, looks at it and then calls
 * io_getevents, where every event is seen. Events that wait in a ring are seen there too, without being taken, when an
 * operation needs the space that theirs holds.
 */
#define _GNU_SOURCE
#include "aio.h"
#include <sched.h>
#include <sys/mman.h>

#define CONTEXTS 256u
#define RING_MAGIC 0xa10a10a1u

/* fs/aio.c */
struct aio_ring {
    uint32_t id;
    uint32_t count;
    uint32_t head, tail;
    uint32_t magic;
    uint32_t compatible, incompatible, header_bytes;
    struct io_event events[];
};

static struct contexts {
    struct aio_context contexts[CONTEXTS];
} *_Atomic table;

/* Mapped at the first io_setup, for good; a child finds it empty. */
static struct contexts *table_make(void) {
    struct contexts *there = atomic_load(&table);
    if (there || !flights_prepare())
        return there;
    long made = kernel(SYS_mmap, 0, sizeof(struct contexts), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made < 0 && made > -4096)
        return NULL;
    if (kernel(SYS_madvise, made, sizeof(struct contexts), MADV_WIPEONFORK) == 0
        && atomic_compare_exchange_strong(&table, &there, (struct contexts *)made))
        return (struct contexts *)made;
    kernel(SYS_munmap, made, sizeof(struct contexts));
    return there;
}

/* ------------------------------------------------------------------ events that wait in a ring */

/* Whether the event at `place` has not been taken: what was read there before is what the kernel wrote. */
static bool is_waiting(const volatile struct aio_ring *ring, uint32_t place) {
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t count = ring->count, head = ring->head % count, tail = ring->tail % count;
    return (place + count - head) % count < (tail + count - head) % count;
}

static void look_at(const volatile struct aio_ring *ring, uint32_t place) {
    struct io_event event = {ring->events[place].data, ring->events[place].obj, ring->events[place].res, 0};
    struct flight *flight = flight_of(event.obj);
    if (!flight)
        return;
    uint64_t state = atomic_load(&flight->state);
    enum phase phase = STATE_PHASE(state);
    enum barred barred = STATE_BARRED(state);
    if (STATE_GENERATION(state) != event.data || (phase != FLYING && phase != ENDED))
        return;
    /* Copied before the exchange: once somebody else has handed the event on, all of it may be another operation's. */
    struct capture write = flight->write, barrier = flight->barrier;
    bool writes = flight->writes;
    uint32_t answer = barred == BARRED ? barrier_answer(&barrier) : LOCKSTEP_ANSWER_NONE;
    if (answer != LOCKSTEP_ANSWER_NONE)
        barred = answer == LOCKSTEP_ANSWER_OK ? GRANTED : DENIED;
    uint64_t next = STATE(event.data, barred, ENDED);
    if (next == state || !is_waiting(ring, place) || !atomic_compare_exchange_strong(&flight->state, &state, next))
        return;
    if (phase == FLYING && writes)
        capture_end_asynchronous(&write, event.res);
    if (answer != LOCKSTEP_ANSWER_NONE)
        capture_end_asynchronous(&barrier, event.res < 0 ? event.res : 0);
}

bool aio_look(void) {
    struct contexts *t = atomic_load(&table);
    bool any = false;
    for (unsigned index = 0; t && index < CONTEXTS; index++) {
        struct aio_context *context = &t->contexts[index];
        uint64_t address = atomic_load(&context->ring);
        if (!address)
            continue;
        any = true;
        atomic_fetch_add(&context->looking, 1);
        if (atomic_load(&context->ring) == address && !atomic_load(&context->closing)) {
            const volatile struct aio_ring *ring = (const struct aio_ring *)address;
            uint32_t count = ring->count, tail = ring->tail % count;
            atomic_thread_fence(memory_order_seq_cst);
            for (uint32_t place = ring->head % count; place != tail; place = (place + 1) % count)
                look_at(ring, place);
        }
        atomic_fetch_sub(&context->looking, 1);
    }
    return any;
}

/* ------------------------------------------------------------------ contexts */

/* One that is closing is found last: its address may be a new one's already. */
struct aio_context *aio_context_of(uint64_t ring) {
    struct contexts *t = atomic_load(&table);
    struct aio_context *found = NULL;
    for (unsigned index = 0; t && ring && index < CONTEXTS; index++)
        if (atomic_load_explicit(&t->contexts[index].ring, memory_order_relaxed) == ring) {
            found = &t->contexts[index];
            if (!atomic_load(&found->closing))
                break;
        }
    return found;
}

long captured_io_setup(unsigned events, unsigned long *context) {
    struct contexts *t = table_make();
    if (!t)
        return -ENOMEM;
    long answer = kernel(SYS_io_setup, events, context);
    if (answer)
        return answer;
    struct aio_ring *ring = (struct aio_ring *)*context;
    answer = ring->magic == RING_MAGIC && ring->count > 0 ? -EAGAIN : -ENOSYS; /* another kernel's ring is not known */
    for (unsigned index = 0; answer == -EAGAIN && index < CONTEXTS; index++) {
        uint64_t nobody = 0;
        if (!atomic_compare_exchange_strong(&t->contexts[index].ring, &nobody, *context))
            continue;
        ring->magic = 0;
        return 0;
    }
    kernel(SYS_io_destroy, *context);
    *context = 0;
    return answer;
}

/* Bounded: a thread that reads a ring does not block, one that hands events on waits for answers, which are bounded. */
static bool wait_until_none(_Atomic(uint32_t) *threads) {
    uint64_t start = milliseconds_now();
    while (atomic_load(threads)) {
        if (milliseconds_now() - start > 2 * (uint64_t)control->wait_bound_milliseconds)
            return false;
        kernel(SYS_sched_yield);
    }
    return true;
}

/* The kernel would wait for them too, but throw the results away. */
static void wait_until_ended(const struct aio_context *context) {
    struct flight *flight;
    uint64_t start = milliseconds_now();
    for (unsigned index = 0; (flight = flight_next(context, &index)) != NULL;)
        while (flight->owner == context && STATE_PHASE(atomic_load(&flight->state)) == FLYING && flight->writes) {
            aio_look();
            if (milliseconds_now() - start > control->wait_bound_milliseconds)
                return;
            kernel(SYS_sched_yield);
        }
}

long captured_io_destroy(unsigned long address) {
    struct aio_context *context = aio_context_of(address);
    if (!context)
        return kernel(SYS_io_destroy, address);
    wait_until_ended(context);
    if (atomic_exchange(&context->closing, 1))
        return -EINVAL; /* somebody else destroys it */
    if (!wait_until_none(&context->looking)) {
        atomic_store(&context->closing, 0);
        return -EAGAIN;
    }
    /* A result that is still not known is lost: its range is read again. */
    long answer = kernel(SYS_io_destroy, address);
    bool alone = wait_until_none(&context->reaping);
    struct flight *flight;
    for (unsigned index = 0; (flight = flight_next(context, &index)) != NULL;)
        if (alone)
            flight_abandon(flight, -EIO);
        else
            flight_end(flight, -EIO);
    if (alone) {
        atomic_store(&context->ring, 0);
        atomic_store(&context->closing, 0);
    }
    return answer;
}
