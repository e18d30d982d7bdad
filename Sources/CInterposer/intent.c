/*
 * intent.c: from "this is going to happen" to a place in the total order, and to its result.
 *
 *   capture_begin     lowest free intent, payload space     (bitmaps in the arena; the lowest first keeps it warm)
 *   capture_publish   n = ring.reserved++;  word[n]: EMPTY -> PUBLISHED   (a revoked place: again with the next n)
 *   capture_end       result, done_reserved, done = 1     (of an asynchronous operation: capture_end_asynchronous)
 *
 * Whatever is published before its system call began is resolved by the daemon, whatever happens to this process.
 */
#define _GNU_SOURCE
#include "library.h"
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <time.h>

uint64_t nanoseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t milliseconds_now(void) { return nanoseconds_now() / 1000000; }

void doorbell_ring(void) {
    atomic_fetch_add(&ring->doorbell, 1);
    kernel(SYS_futex, &ring->doorbell, FUTEX_WAKE, 1, 0, 0, 0);
}

/* After publication: the fence orders it before the look at what the data plane does, as the data plane looks at the
   ring once more after saying that it sleeps. */
static void wake_data_plane(bool urgent) {
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t state = atomic_load_explicit(&control->data_plane, memory_order_relaxed);
    if (state == LOCKSTEP_DATA_PLANE_SLEEPING || (urgent && state == LOCKSTEP_DATA_PLANE_DOZING))
        doorbell_ring();
}

static void short_wait(const void *word, uint32_t value, long milliseconds) {
    struct timespec bound = {.tv_nsec = milliseconds * 1000000};
    kernel(SYS_futex, word, FUTEX_WAIT, value, &bound, 0, 0);
}

/* ------------------------------------------------------------------ signals */

#define BIT(signal) (1ull << ((signal) - 1))

static void signals_hold(uint64_t *before) {
    /* Raised by an instruction: a thread that blocks them would be ended. */
    uint64_t all = ~(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGSYS));
    kernel(SYS_rt_sigprocmask, SIG_BLOCK, &all, before, 8);
}

static void signals_restore(const uint64_t *before) { kernel(SYS_rt_sigprocmask, SIG_SETMASK, before, 0, 8); }

void capture_signals_hold(struct capture *capture) { signals_hold(&capture->signals_before); }

void capture_signals_restore(const struct capture *capture) { signals_restore(&capture->signals_before); }

bool capture_is_wanted(const struct capture *capture) {
    uint64_t pending = 0;
    kernel(SYS_rt_sigpending, &pending, 8);
    return (pending & ~capture->signals_before) != 0;
}

void capture_outlived(struct capture *capture, struct capture *inner) {
    uint64_t before = capture->signals_before;
    capture->signals_before = inner->signals_before;
    inner->signals_before = before;
}

/* ------------------------------------------------------------------ space */

static bool take_intent(struct lockstep_arena *arena, uint32_t *index) {
    uint64_t available = atomic_load_explicit(&arena->intents_free, memory_order_relaxed);
    while (available) {
        *index = (uint32_t)__builtin_ctzll(available);
        if (atomic_compare_exchange_weak(&arena->intents_free, &available, available & (available - 1)))
            return true;
    }
    return false;
}

/* First fit: a bit survives the shifts when `count` bits in a row, from it upwards, are free. */
static bool take_blocks(struct lockstep_arena *arena, uint32_t count, uint32_t *first) {
    uint64_t available = atomic_load_explicit(&arena->blocks_free, memory_order_relaxed);
    for (;;) {
        uint64_t starts = available;
        for (uint32_t have = 1; have < count && starts;) {
            uint32_t step = have < count - have ? have : count - have;
            starts &= starts >> step;
            have += step;
        }
        if (!starts)
            return false;
        *first = (uint32_t)__builtin_ctzll(starts);
        uint64_t run = (count == 64 ? ~0ull : (1ull << count) - 1) << *first;
        if (atomic_compare_exchange_weak(&arena->blocks_free, &available, available & ~run))
            return true;
    }
}

static bool take(struct lockstep_arena *arena, uint32_t blocks, uint32_t *index, uint32_t *first) {
    *first = LOCKSTEP_NO_BLOCK;
    if (!take_intent(arena, index))
        return false;
    if (blocks == 0 || take_blocks(arena, blocks, first))
        return true;
    atomic_fetch_or(&arena->intents_free, 1ull << *index);
    return false;
}

static long take_waiting(struct lockstep_arena *arena, uint32_t blocks, uint32_t *index, uint32_t *first,
                         uint64_t *signals_before) {
    if (__builtin_expect(take(arena, blocks, index, first), 1))
        return 0;
    uint64_t start = milliseconds_now();
    long answer = 0;
    atomic_fetch_add(&arena->space_waiters, 1);
    for (;;) {
        uint32_t space = atomic_load(&arena->space);
        if (take(arena, blocks, index, first))
            break;
        if (milliseconds_now() - start >= control->wait_bound_milliseconds
            || (atomic_load(&control->switches) & LOCKSTEP_SWITCH_CLOSED)) {
            answer = -EIO;
            break;
        }
        wake_data_plane(true);
        /* What the kernel has completed meanwhile is ended here, and its space comes back. */
        short_wait(&arena->space, space, asynchronous_look() ? 1 : 50);
        /* Nothing is held: what waited is delivered. */
        atomic_fetch_sub(&arena->space_waiters, 1);
        signals_restore(signals_before);
        signals_hold(signals_before);
        atomic_fetch_add(&arena->space_waiters, 1);
    }
    atomic_fetch_sub(&arena->space_waiters, 1);
    if (answer)
        line(LINE_WAIT, "capture", -1, NULL, "no space for a captured operation within the bound: EIO");
    return answer;
}

static void fill(struct capture *capture, enum lockstep_kind kind, size_t payload_bytes, uint32_t first) {
    struct lockstep_intent *intent = capture->intent = &capture->arena->intents[capture->index];
    memset(intent, 0, sizeof *intent);
    intent->kind = (uint16_t)kind;
    intent->tid = thread_id();
    intent->block = first;
    intent->payload_bytes = (uint32_t)payload_bytes;
    intent->descriptor = -1;
    capture->payload =
        first == LOCKSTEP_NO_BLOCK ? capture->arena->inlines[capture->index] : capture->arena->blocks[first];
}

static uint32_t blocks_for(size_t payload_bytes, bool in_blocks) {
    if (payload_bytes == 0 || (!in_blocks && payload_bytes <= LOCKSTEP_INLINE_BYTES))
        return 0;
    return (uint32_t)((payload_bytes + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES);
}

long capture_begin_now(struct capture *capture, enum lockstep_kind kind, size_t payload_bytes, bool in_blocks) {
    uint32_t first;
    capture->arena = arena_of_process(&capture->arena_number);
    if (!capture->arena)
        return -EIO;
    signals_hold(&capture->signals_before);
    if (!take(capture->arena, blocks_for(payload_bytes, in_blocks), &capture->index, &first)) {
        signals_restore(&capture->signals_before);
        return -EAGAIN;
    }
    fill(capture, kind, payload_bytes, first);
    return 0;
}

long capture_begin(struct capture *capture, enum lockstep_kind kind, size_t payload_bytes, bool in_blocks) {
    capture->arena = arena_of_process(&capture->arena_number);
    if (!capture->arena)
        return -EIO;
    uint32_t blocks = blocks_for(payload_bytes, in_blocks), first;
    signals_hold(&capture->signals_before);
    long answer = take_waiting(capture->arena, blocks, &capture->index, &first, &capture->signals_before);
    if (answer) {
        signals_restore(&capture->signals_before);
        return answer;
    }
    fill(capture, kind, payload_bytes, first);
    return 0;
}

void capture_name(struct capture *capture, const struct place *place) {
    struct lockstep_intent *intent = capture->intent;
    intent->parent = place->directory.object;
    intent->name_bytes = place->name_bytes;
    memcpy(capture->arena->inlines[capture->index], place->name, place->name_bytes);
}

void capture_target_name(struct capture *capture, const struct place *place) {
    struct lockstep_intent *intent = capture->intent;
    intent->target_parent = place->directory.object;
    intent->target_name_bytes = place->name_bytes;
    memcpy(capture->arena->inlines[capture->index] + 256, place->name, place->name_bytes);
}

/* ------------------------------------------------------------------ order */

static uint32_t blocks_of(const struct lockstep_intent *intent) {
    return intent->block == LOCKSTEP_NO_BLOCK ? 0 : (intent->payload_bytes + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES;
}

static void return_blocks(struct lockstep_arena *arena, uint32_t first, uint32_t count) {
    if (count)
        atomic_fetch_or(&arena->blocks_free, (count == 64 ? ~0ull : (1ull << count) - 1) << first);
}

/* Who gives the intent back counts its blocks by the payload: those behind a shorter one go back now. */
void capture_shorten(struct capture *capture, size_t payload_bytes) {
    struct lockstep_intent *intent = capture->intent;
    uint32_t before = blocks_of(intent);
    intent->payload_bytes = (uint32_t)payload_bytes;
    uint32_t left = blocks_of(intent);
    return_blocks(capture->arena, intent->block + left, before - left);
}

static void give_back(struct capture *capture) {
    struct lockstep_intent *intent = capture->intent;
    return_blocks(capture->arena, intent->block, blocks_of(intent));
    atomic_fetch_or(&capture->arena->intents_free, 1ull << capture->index);
}

void capture_drop(struct capture *capture) {
    give_back(capture);
    signals_restore(&capture->signals_before);
}

/* Advances `reserved`; 0: the ring is full or held back, look again later. */
static uint64_t reserve(void) {
    uint64_t n = atomic_load(&ring->reserved);
    for (;;) {
        if (n - atomic_load(&control->consumed) >= control->ring_slots)
            return 0;
        if (atomic_compare_exchange_weak(&ring->reserved, &n, n + 1))
            return n;
    }
}

static uint64_t reserve_waiting(void) {
    uint64_t start = 0;
    for (;;) {
        uint32_t switches = atomic_load(&control->switches);
        if (switches & LOCKSTEP_SWITCH_CLOSED)
            return 0;
        uint32_t consumed = (uint32_t)atomic_load(&control->consumed);
        uint64_t n = switches & LOCKSTEP_SWITCH_HOLD ? 0 : reserve();
        if (__builtin_expect(n != 0, 1))
            return n;
        uint64_t now = milliseconds_now();
        if (start == 0)
            start = now;
        else if (now - start >= control->wait_bound_milliseconds)
            return 0;
        wake_data_plane(true);
        short_wait(&control->consumed, consumed, 5);
    }
}

long capture_publish_held(struct capture *capture) {
    FAULT_POINT("reserve");
    const uint32_t slots = control->ring_slots;
    for (;;) {
        uint64_t n = reserve_waiting();
        if (n == 0) {
            give_back(capture);
            line(LINE_WAIT, "capture", -1, NULL, "the order ring took nothing within the bound, or is closed: EIO");
            return -EIO;
        }
        FAULT_POINT("reserved");
        uint32_t lap = (uint32_t)(n / slots);
        uint64_t expected = LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY);
        uint64_t word = LOCKSTEP_WORD(lap, capture->arena_number, capture->index, LOCKSTEP_STATE_PUBLISHED);
        if (__builtin_expect(atomic_compare_exchange_strong(&ring->words[n % slots], &expected, word), 1)) {
            capture->sequence = n;
            break;
        }
    }
    struct lockstep_arena *arena = capture->arena;
    wake_data_plane(capture->intent->kind == LOCKSTEP_KIND_BARRIER
                    || LOCKSTEP_ARENA_IS_SHORT(atomic_load_explicit(&arena->intents_free, memory_order_relaxed),
                                               atomic_load_explicit(&arena->blocks_free, memory_order_relaxed)));
    FAULT_POINT("published");
    return 0;
}

long capture_publish(struct capture *capture) {
    long answer = capture_publish_held(capture);
    if (answer)
        signals_restore(&capture->signals_before);
    return answer;
}

void capture_end_asynchronous(struct capture *capture, long result) {
    FAULT_POINT("called");
    struct lockstep_intent *intent = capture->intent;
    intent->result = result;
    intent->done_reserved = atomic_load(&ring->reserved);
    atomic_store_explicit(&intent->done, 1, memory_order_release);
    FAULT_POINT("done");
}

void capture_end(struct capture *capture, long result) {
    capture_end_asynchronous(capture, result);
    signals_restore(&capture->signals_before);
}
