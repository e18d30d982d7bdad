/*
 * uring_events.c: completions.
 *
 *   the kernel's completions --> the intents of their writes are ended --> durable ones: their answers are waited for
 *                                                                     --> the facade, under the program's own names
 *
 * They are moved only when the program asks for completions by a call, never by the submitter: who waits in the kernel would sleep on.
 * What has ended and is not asked for is ended in passing, and stays. The eventfd of a ring is signalled by the kernel, when the local
 * operation is complete; then the look at the completions waits for the rest.
 */
#define _GNU_SOURCE
#include "uring.h"
#include <time.h>

/* A thread that waits looks again: another one may have moved what it waits for. */
#define LOOK_NANOSECONDS 100000000ll

/* Copied: the place is the kernel's again once the head has passed. */
static bool completion_at(const struct uring *ring, unsigned place, struct io_uring_cqe *completion) {
    if (place == io_uring_smp_load_acquire(ring->completion_tail))
        return false;
    const struct io_uring_cqe *there = &ring->completed[place & (ring->completions - 1)];
    completion->user_data = there->user_data;
    completion->res = there->res;
    completion->flags = there->flags;
    return true;
}

static void look_at(struct uring *ring) {
    struct io_uring_cqe completion;
    for (unsigned place = *ring->completion_head; completion_at(ring, place, &completion); place++) {
        struct flight *flight = flight_at(completion.user_data, 0);
        if (flight && STATE_PHASE(atomic_load(&flight->state)) != RUNNING && STATE_PHASE(atomic_load(&flight->state)) != RAN)
            flight_pass(flight, completion.res);
    }
}

bool uring_look(void) {
    struct uring *ring;
    bool any = false;
    for (unsigned index = 0; (ring = uring_next(&index)) != NULL;) {
        struct capture signals;
        uint32_t holder = 0;
        any = true;
        capture_signals_hold(&signals);
        if (!atomic_compare_exchange_strong(&ring->reaping, &holder, (uint32_t)thread_id())) {
            capture_signals_restore(&signals); /* whoever holds it looks, too */
            continue;
        }
        if (atomic_load(&ring->state) == URING_OPEN || atomic_load(&ring->state) == URING_CLOSING)
            look_at(ring);
        uring_unlock(&ring->reaping, &signals);
    }
    return any;
}

static void put(struct uring *ring, const struct io_uring_cqe *completion) {
    struct facade *f = ring->facade;
    struct io_uring_sqe *entries = (struct io_uring_sqe *)(((uintptr_t)(f + 1) + 63) & ~63ul);
    struct io_uring_cqe *to = (struct io_uring_cqe *)(entries + ring->entries) + (f->completion_tail & f->completion_mask);
    to->user_data = completion->user_data;
    to->res = completion->res;
    to->flags = completion->flags;
    io_uring_smp_store_release(&f->completion_tail, f->completion_tail + 1);
}

static bool must_wait(struct flight *flight) {
    uint64_t state = atomic_load(&flight->state);
    return STATE_PHASE(state) == RUNNING || STATE_BARRED(state) == BARRED;
}

/* False: somebody holds the lock beyond the bound. It is never held while an answer is waited for. */
static bool move(struct uring *ring) {
    struct io_uring_cqe completion;
    struct capture held;
    if (!uring_lock(&ring->reaping, &held))
        return false;
    look_at(ring); /* all of them before the first is waited for: what is durable covers what is done */
    while (uring_ready(ring) + ring->concluding < ring->completions && completion_at(ring, *ring->completion_head, &completion)) {
        struct flight *flight = flight_at(completion.user_data, 0);
        io_uring_smp_store_release(ring->completion_head, *ring->completion_head + 1);
        bool is_quiet = flight && flight->quiet;
        if (flight)
            completion.user_data = flight->data;
        if (flight && must_wait(flight)) {
            ring->concluding++;
            uring_unlock(&ring->reaping, &held);
            completion.res = (int)flight_conclude(flight, completion.res);
            if (!uring_lock(&ring->reaping, &held))
                return false;
            ring->concluding--;
        } else if (flight)
            completion.res = (int)flight_conclude(flight, completion.res);
        if (!is_quiet || completion.res < 0)
            put(ring, &completion);
    }
    bool more = *ring->completion_head != io_uring_smp_load_acquire(ring->completion_tail)
                || (IO_URING_READ_ONCE(*ring->entry_flags) & IORING_SQ_CQ_OVERFLOW);
    IO_URING_WRITE_ONCE(ring->facade->entry_flags, more ? IORING_SQ_CQ_OVERFLOW : 0);
    uring_unlock(&ring->reaping, &held);
    return true;
}

static long enter(struct uring *ring, unsigned wanted, int64_t nanoseconds, const sigset_t *signals) {
    struct __kernel_timespec bound = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct io_uring_getevents_arg argument = {.sigmask = (uintptr_t)signals, .sigmask_sz = 8, .ts = (uintptr_t)&bound};
    return kernel(SYS_io_uring_enter, ring->descriptor, 0, wanted, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                  sizeof argument);
}

long uring_wait(struct uring *ring, unsigned wanted, const struct __kernel_timespec *timeout, const sigset_t *signals) {
    int64_t end = timeout ? (int64_t)nanoseconds_now() + timeout->tv_sec * 1000000000ll + timeout->tv_nsec : INT64_MAX;
    if (wanted > ring->completions)
        wanted = ring->completions;
    for (bool flushed = false;; flushed = true) {
        if (!move(ring))
            return -EBUSY;
        unsigned ready = uring_ready(ring);
        /* What found no place in the kernel's ring comes in when it is entered. */
        bool waits_inside = !flushed && ready < ring->completions && (IO_URING_READ_ONCE(*ring->entry_flags) & IORING_SQ_CQ_OVERFLOW);
        if (ready >= wanted && !waits_inside)
            return 0;
        int64_t left = end == INT64_MAX ? LOOK_NANOSECONDS : end - (int64_t)nanoseconds_now();
        if (ready < wanted && left <= 0 && flushed)
            return -ETIME;
        long answer = enter(ring, ready >= wanted ? 0 : wanted - ready, left < 0 ? 0 : left < LOOK_NANOSECONDS ? left : LOOK_NANOSECONDS, signals);
        if (answer < 0 && answer != -ETIME)
            return answer;
    }
}
