/*
 * access.h: the daemon's atomic accesses to the shared memory, as plain functions: Swift does not import _Atomic
 * fields. Nothing here decides anything.
 */
#ifndef LOCKSTEP_CAPTURE_ACCESS_H
#define LOCKSTEP_CAPTURE_ACCESS_H

#include "CCaptureABI.h"
#include <linux/futex.h>
#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline size_t lockstep_control_bytes(uint32_t slots) {
    size_t header = (sizeof(struct lockstep_control) + 4095) & ~(size_t)4095;
    return header + LOCKSTEP_HOT_ENTRIES * sizeof(uint64_t) + slots * sizeof(uint32_t);
}
static inline size_t lockstep_ring_bytes(uint32_t slots) {
    return (sizeof(struct lockstep_ring) + slots * sizeof(uint64_t) + 4095) & ~(size_t)4095;
}

/* Writes the fixed part of a new control object and ring, both all zero before. */
static inline void lockstep_control_initialize(void *control, uint32_t slots, uint64_t high, uint64_t low) {
    struct lockstep_control *c = control;
    uint32_t header = (uint32_t)((sizeof(struct lockstep_control) + 4095) & ~(size_t)4095);
    c->magic = LOCKSTEP_MAGIC_CONTROL;
    c->abi_version = LOCKSTEP_ABI_VERSION;
    c->bytes_total = (uint32_t)lockstep_control_bytes(slots);
    c->incarnation[0] = high;
    c->incarnation[1] = low;
    c->ring_slots = slots;
    c->hot_offset = header;
    c->answers_offset = header + (uint32_t)(LOCKSTEP_HOT_ENTRIES * sizeof(uint64_t));
    atomic_store(&c->consumed, 1);
    atomic_store(&c->drained, 1);
    atomic_store(&c->released, 1);
}
static inline void lockstep_ring_initialize(void *ring, uint32_t slots, uint64_t high, uint64_t low) {
    struct lockstep_ring *r = ring;
    r->magic = LOCKSTEP_MAGIC_RING;
    r->abi_version = LOCKSTEP_ABI_VERSION;
    r->slots = slots;
    r->incarnation[0] = high;
    r->incarnation[1] = low;
    atomic_store(&r->reserved, 1);
}

static inline uint64_t lockstep_control_consumed(const void *control) {
    return atomic_load(&((struct lockstep_control *)control)->consumed);
}
static inline uint64_t lockstep_control_drained(const void *control) {
    return atomic_load(&((struct lockstep_control *)control)->drained);
}
static inline void lockstep_control_set_consumed(void *control, uint64_t n) {
    atomic_store(&((struct lockstep_control *)control)->consumed, n);
}
static inline void lockstep_control_set_drained(void *control, uint64_t n) {
    atomic_store_explicit(&((struct lockstep_control *)control)->drained, n, memory_order_release);
}
static inline void lockstep_control_set_released(void *control, uint64_t n) {
    atomic_store_explicit(&((struct lockstep_control *)control)->released, n, memory_order_release);
}
static inline uint64_t lockstep_control_released(const void *control) {
    return atomic_load(&((struct lockstep_control *)control)->released);
}
static inline void lockstep_control_set_epoch(void *control, uint64_t epoch) {
    atomic_store(&((struct lockstep_control *)control)->epoch, epoch);
}
/* Sequentially consistent: the daemon looks at the ring once more after it said that it sleeps. */
static inline void lockstep_control_set_data_plane(void *control, uint32_t state) {
    atomic_store(&((struct lockstep_control *)control)->data_plane, state);
}
static inline void lockstep_control_set_switch(void *control, uint32_t which, int on) {
    if (on)
        atomic_fetch_or(&((struct lockstep_control *)control)->switches, which);
    else
        atomic_fetch_and(&((struct lockstep_control *)control)->switches, ~which);
}
static inline void lockstep_control_set_root(void *control, uint32_t index, uint64_t device, struct lockstep_object object,
                                             const char *name, const char *path) {
    struct lockstep_root *root = &((struct lockstep_control *)control)->roots[index];
    root->device = device;
    root->object = object;
    strncpy(root->name, name, sizeof root->name - 1);
    strncpy(root->path, path, sizeof root->path - 1);
}
static inline void lockstep_control_set_exclusion(void *control, uint32_t index, const char *suffix) {
    strncpy(((struct lockstep_control *)control)->exclusions[index], suffix, LOCKSTEP_EXCLUSION_BYTES - 1);
}

static inline uint64_t lockstep_ring_reserved(const void *ring) {
    return atomic_load(&((struct lockstep_ring *)ring)->reserved);
}
static inline uint32_t lockstep_ring_doorbell(const void *ring) {
    return atomic_load(&((struct lockstep_ring *)ring)->doorbell);
}
static inline const uint32_t *lockstep_ring_doorbell_address(const void *ring) {
    return (const uint32_t *)&((const struct lockstep_ring *)ring)->doorbell;
}
static inline uint64_t lockstep_ring_word(const void *ring, uint32_t place) {
    return atomic_load_explicit(&((struct lockstep_ring *)ring)->words[place], memory_order_acquire);
}
static inline void lockstep_ring_set_word(void *ring, uint32_t place, uint64_t word) {
    atomic_store_explicit(&((struct lockstep_ring *)ring)->words[place], word, memory_order_release);
}
static inline int lockstep_ring_revoke(void *ring, uint32_t place, uint32_t lap) {
    uint64_t expected = LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY);
    return atomic_compare_exchange_strong(&((struct lockstep_ring *)ring)->words[place], &expected,
                                          LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_REVOKED));
}
static inline uint64_t lockstep_word_empty(uint32_t lap) { return LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY); }
static inline uint32_t lockstep_word_lap(uint64_t word) { return LOCKSTEP_WORD_LAP(word); }
static inline uint32_t lockstep_word_arena(uint64_t word) { return LOCKSTEP_WORD_ARENA(word); }
static inline uint32_t lockstep_word_intent(uint64_t word) { return LOCKSTEP_WORD_INTENT(word); }
static inline uint32_t lockstep_word_state(uint64_t word) { return LOCKSTEP_WORD_STATE(word); }

static inline long lockstep_futex_wake(const void *address, int count) {
    return syscall(SYS_futex, address, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* Frees the offset locks held by a process that is gone. */
static inline void lockstep_ring_unlock_arena(void *ring, uint32_t arena) {
    struct lockstep_ring *r = ring;
    for (unsigned i = 0; i < LOCKSTEP_LOCK_STRIPES; i++) {
        uint64_t owner = atomic_load_explicit(&r->locks[i], memory_order_relaxed);
        if (owner != 0 && (uint32_t)(owner >> 32) == arena)
            atomic_compare_exchange_strong(&r->locks[i], &owner, 0);
    }
}

/* One copy of an intent; the fields are checked afterwards, on the copy. */
static inline void lockstep_arena_copy_intent(const void *arena, uint32_t index, struct lockstep_intent *to) {
    memcpy(to, &((const struct lockstep_arena *)arena)->intents[index], sizeof *to);
}
static inline uint32_t lockstep_intent_done(const void *arena, uint32_t index) {
    return atomic_load_explicit(&((struct lockstep_arena *)arena)->intents[index].done, memory_order_acquire);
}
static inline const uint8_t *lockstep_arena_inline(const void *arena, uint32_t index) {
    return ((const struct lockstep_arena *)arena)->inlines[index];
}
static inline const uint8_t *lockstep_arena_block(const void *arena, uint32_t block) {
    return ((const struct lockstep_arena *)arena)->blocks[block];
}
static inline uint64_t lockstep_arena_intents_free(const void *arena) {
    return atomic_load(&((struct lockstep_arena *)arena)->intents_free);
}
/* Returns an intent and its blocks to the process, and wakes it if it waits for space. */
static inline void lockstep_arena_return(void *arena, uint32_t index, uint64_t blocks) {
    struct lockstep_arena *a = arena;
    atomic_store_explicit(&a->intents[index].done, 0, memory_order_relaxed);
    if (blocks)
        atomic_fetch_or(&a->blocks_free, blocks);
    atomic_fetch_or(&a->intents_free, (uint64_t)1 << index);
    if (atomic_load(&a->space_waiters)) {
        atomic_fetch_add(&a->space, 1);
        lockstep_futex_wake(&a->space, INT_MAX);
    }
}

/* Answers the barrier at `place`: the intent first (for a waiter that the ring laps), then the word, then a wake-up if
   the producer may sleep. `arena` may be NULL (its process is gone). Returns 1 when it woke somebody. */
static inline int lockstep_answer(void *control, void *arena, uint32_t index, uint32_t place, uint32_t lap, uint32_t status) {
    struct lockstep_control *c = control;
    _Atomic(uint32_t) *words = (_Atomic(uint32_t) *)((char *)control + c->answers_offset);
    if (arena)
        atomic_store(&((struct lockstep_arena *)arena)->intents[index].answer, status);
    atomic_store(&words[place], LOCKSTEP_ANSWER(lap, status));
    if (arena && atomic_load(&((struct lockstep_arena *)arena)->intents[index].waiting)) {
        lockstep_futex_wake(&words[place], INT_MAX);
        return 1;
    }
    return 0;
}
#endif
