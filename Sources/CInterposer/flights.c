/* flights.c: the table of what is in flight. */
#define _GNU_SOURCE
#include "flights.h"
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <time.h>

#define FLIGHTS 4096u

static struct table {
    _Atomic(uint64_t) taken[FLIGHTS / 64];
    struct flight flights[FLIGHTS];
} *_Atomic table;

bool flights_prepare(void) {
    struct table *there = atomic_load(&table);
    if (there)
        return true;
    long made = kernel(SYS_mmap, 0, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made < 0 && made > -4096)
        return false;
    if (kernel(SYS_madvise, made, sizeof(struct table), MADV_WIPEONFORK) == 0
        && atomic_compare_exchange_strong(&table, &there, (struct table *)made))
        return true;
    kernel(SYS_munmap, made, sizeof(struct table));
    return there != NULL;
}

struct flight *flight_take(const void *owner) {
    struct table *t = atomic_load(&table);
    for (unsigned word = 0; word < FLIGHTS / 64; word++) {
        uint64_t taken = atomic_load_explicit(&t->taken[word], memory_order_relaxed);
        while (~taken) {
            unsigned bit = (unsigned)__builtin_ctzll(~taken);
            if (!atomic_compare_exchange_weak(&t->taken[word], &taken, taken | 1ull << bit))
                continue;
            struct flight *flight = &t->flights[word * 64 + bit];
            flight->owner = owner;
            flight->writes = flight->quiet = false;
            atomic_store(&flight->state, STATE(STATE_GENERATION(atomic_load(&flight->state)) + 1, UNBARRED, FREE));
            return flight;
        }
    }
    return NULL;
}

void flight_free(struct flight *flight) {
    struct table *t = atomic_load(&table);
    unsigned index = (unsigned)(flight - t->flights);
    atomic_store(&flight->state, STATE(STATE_GENERATION(atomic_load(&flight->state)), UNBARRED, FREE));
    atomic_fetch_and(&t->taken[index / 64], ~(1ull << index % 64));
}

struct flight *flight_at(uint64_t address, size_t inside) {
    struct table *t = atomic_load(&table);
    uint64_t first = t ? (uint64_t)(uintptr_t)&t->flights[0] + inside : 0;
    if (!t || address < first || (address - first) % sizeof(struct flight) || (address - first) / sizeof(struct flight) >= FLIGHTS)
        return NULL;
    return &t->flights[(address - first) / sizeof(struct flight)];
}

struct flight *flight_next(const void *owner, unsigned *index) {
    struct table *t = atomic_load(&table);
    while (t && *index < FLIGHTS) {
        unsigned at = (*index)++;
        if ((atomic_load(&t->taken[at / 64]) >> at % 64 & 1) && t->flights[at].owner == owner)
            return &t->flights[at];
    }
    return NULL;
}

void flight_depart(struct flight *flight, enum barred barred, enum phase phase) {
    atomic_store(&flight->state, STATE(STATE_GENERATION(atomic_load(&flight->state)), barred, phase));
}

void flight_end(struct flight *flight, int64_t result) {
    uint64_t state = atomic_load(&flight->state);
    while (STATE_PHASE(state) == FLYING)
        if (atomic_compare_exchange_weak(&flight->state, &state, STATE(STATE_GENERATION(state), STATE_BARRED(state), ENDED))) {
            if (flight->writes)
                capture_end_asynchronous(&flight->write, result);
            return;
        }
}

void flight_pass(struct flight *flight, int64_t result) {
    flight_end(flight, result);
    uint64_t state = atomic_load(&flight->state);
    uint32_t answer = STATE_BARRED(state) == BARRED ? barrier_answer(&flight->barrier) : LOCKSTEP_ANSWER_NONE;
    if (answer == LOCKSTEP_ANSWER_NONE)
        return;
    flight_depart(flight, answer == LOCKSTEP_ANSWER_OK ? GRANTED : DENIED, ENDED);
    capture_end_asynchronous(&flight->barrier, result < 0 ? result : 0);
}

void flight_ran(struct flight *flight, int64_t result) {
    flight->result = result;
    flight_depart(flight, UNBARRED, RAN);
    kernel(SYS_futex, &flight->state, FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

void flight_abandon(struct flight *flight, int64_t result) {
    flight_end(flight, result);
    uint64_t state = atomic_load(&flight->state);
    /* Nobody waits for its answer: that is what this result says. */
    if (STATE_BARRED(state) == BARRED
        && atomic_compare_exchange_strong(&flight->state, &state, STATE(STATE_GENERATION(state), DENIED, ENDED)))
        capture_end_asynchronous(&flight->barrier, -ETIMEDOUT);
    flight_free(flight);
}

bool asynchronous_look(void) {
    bool any = aio_look();
    return uring_look() || any;
}

/* The submitter carries it out itself: bounded, as every captured call is. It may wait for space that others hold, which have
   ended meanwhile. */
static int64_t result_of(struct flight *flight) {
    uint64_t start = milliseconds_now(), state;
    while (STATE_PHASE(state = atomic_load(&flight->state)) == RUNNING) {
        if (milliseconds_now() - start > 2 * (uint64_t)control->wait_bound_milliseconds)
            return -EIO;
        struct timespec bound = {.tv_nsec = asynchronous_look() ? 1000000 : 50000000};
        kernel(SYS_futex, &flight->state, FUTEX_WAIT, (uint32_t)state, &bound, 0, 0);
    }
    return flight->result;
}

int64_t flight_conclude(struct flight *flight, int64_t result) {
    uint64_t state = atomic_load(&flight->state);
    if (STATE_PHASE(state) == RUNNING || STATE_PHASE(state) == RAN) {
        result = result_of(flight);
        state = atomic_load(&flight->state);
    }
    flight_end(flight, result);
    /* Against somebody who finds the answer in passing. */
    while (STATE_BARRED(state) == BARRED
           && !atomic_compare_exchange_weak(&flight->state, &state, STATE(STATE_GENERATION(state), GRANTED, ENDED))) {}
    struct capture barrier = flight->barrier;
    /* One that is still carried out keeps its place: its submitter writes there. */
    if (STATE_PHASE(state) != RUNNING)
        flight_free(flight);
    long durable = STATE_BARRED(state) == DENIED ? -EIO : 0;
    if (STATE_BARRED(state) == BARRED) {
        capture_signals_hold(&barrier);
        if (FAULT_SKIPS("aio-answer")) {
            capture_end(&barrier, 0);
            return result;
        }
        durable = barrier_wait(&barrier, result < 0 ? result : 0);
    }
    return durable < 0 ? durable : result;
}
