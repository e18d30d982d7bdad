/*
 * access.h: the daemon's atomic accesses to the shared memory, as plain functions: Swift does not import _Atomic
 * fields. Nothing here decides anything.
 */
#ifndef LOCKSTEP_CAPTURE_ACCESS_H
#define LOCKSTEP_CAPTURE_ACCESS_H

#include "CCaptureABI.h"
#include <linux/futex.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The word itself, for the compiler's atomic functions. */
#define PLAIN(address) _Generic((address), \
    LOCKSTEP_ATOMIC(uint64_t) *: (uint64_t *)(void *)(address), \
    LOCKSTEP_ATOMIC(uint32_t) *: (uint32_t *)(void *)(address))

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
    __atomic_store_n(PLAIN(&c->consumed), 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(PLAIN(&c->drained), 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(PLAIN(&c->released), 1, __ATOMIC_SEQ_CST);
}
static inline void lockstep_ring_initialize(void *ring, uint32_t slots, uint64_t high, uint64_t low) {
    struct lockstep_ring *r = ring;
    r->magic = LOCKSTEP_MAGIC_RING;
    r->abi_version = LOCKSTEP_ABI_VERSION;
    r->slots = slots;
    r->incarnation[0] = high;
    r->incarnation[1] = low;
    /* Number 0 is never used: place 0 is first taken by number `slots`, in lap 1. */
    __atomic_store_n(PLAIN(&r->words[0]), LOCKSTEP_WORD(1, 0, 0, LOCKSTEP_STATE_EMPTY), __ATOMIC_SEQ_CST);
    __atomic_store_n(PLAIN(&r->reserved), 1, __ATOMIC_SEQ_CST);
}

/* What can be said of foreign headers; Swift imports no over-aligned struct. */
static inline size_t lockstep_control_header_bytes(void) { return sizeof(struct lockstep_control); }
static inline size_t lockstep_ring_header_bytes(void) { return sizeof(struct lockstep_ring); }
static inline size_t lockstep_arena_bytes(void) { return sizeof(struct lockstep_arena); }
static inline uint32_t lockstep_control_version(const void *control) {
    const struct lockstep_control *c = control;
    return c->magic == LOCKSTEP_MAGIC_CONTROL ? c->abi_version : 0;
}
static inline uint32_t lockstep_control_slots(const void *control) { return ((const struct lockstep_control *)control)->ring_slots; }
static inline uint64_t lockstep_control_incarnation(const void *control, int which) {
    return ((const struct lockstep_control *)control)->incarnation[which & 1];
}
static inline int lockstep_ring_belongs(const void *ring, const void *control) {
    const struct lockstep_ring *r = ring;
    const struct lockstep_control *c = control;
    return r->magic == LOCKSTEP_MAGIC_RING && r->abi_version == LOCKSTEP_ABI_VERSION && r->slots == c->ring_slots &&
           r->incarnation[0] == c->incarnation[0] && r->incarnation[1] == c->incarnation[1];
}
static inline int lockstep_arena_belongs(const void *arena, uint32_t number, const void *control) {
    const struct lockstep_arena *a = arena;
    const struct lockstep_control *c = control;
    return a->magic == LOCKSTEP_MAGIC_ARENA && a->abi_version == LOCKSTEP_ABI_VERSION && a->arena == number &&
           a->incarnation[0] == c->incarnation[0] && a->incarnation[1] == c->incarnation[1];
}
/* As the header says; whether it is an arena at all, `lockstep_arena_belongs` tells. */
static inline uint32_t lockstep_arena_number(const void *arena) { return ((const struct lockstep_arena *)arena)->arena; }
static inline int32_t lockstep_arena_pid(const void *arena) { return ((const struct lockstep_arena *)arena)->pid; }
static inline void lockstep_control_set_bounds(void *control, uint32_t wait_mode, uint32_t wait_milliseconds,
                                               uint32_t on_bound, uint32_t lock_milliseconds, int32_t daemon_pid) {
    struct lockstep_control *c = control;
    c->wait_mode = wait_mode;
    c->wait_bound_milliseconds = wait_milliseconds;
    c->on_bound = on_bound;
    c->lock_bound_milliseconds = lock_milliseconds;
    c->daemon_pid = daemon_pid;
}

static inline uint64_t lockstep_control_consumed(const void *control) {
    return __atomic_load_n(PLAIN(&((struct lockstep_control *)control)->consumed), __ATOMIC_SEQ_CST);
}
static inline uint64_t lockstep_control_drained(const void *control) {
    return __atomic_load_n(PLAIN(&((struct lockstep_control *)control)->drained), __ATOMIC_SEQ_CST);
}
static inline void lockstep_control_set_consumed(void *control, uint64_t n) {
    __atomic_store_n(PLAIN(&((struct lockstep_control *)control)->consumed), n, __ATOMIC_SEQ_CST);
}
static inline void lockstep_control_set_drained(void *control, uint64_t n) {
    __atomic_store_n(PLAIN(&((struct lockstep_control *)control)->drained), n, __ATOMIC_RELEASE);
}
static inline void lockstep_control_set_released(void *control, uint64_t n) {
    __atomic_store_n(PLAIN(&((struct lockstep_control *)control)->released), n, __ATOMIC_RELEASE);
}
static inline uint64_t lockstep_control_released(const void *control) {
    return __atomic_load_n(PLAIN(&((struct lockstep_control *)control)->released), __ATOMIC_SEQ_CST);
}
static inline void lockstep_control_set_epoch(void *control, uint64_t epoch) {
    __atomic_store_n(PLAIN(&((struct lockstep_control *)control)->epoch), epoch, __ATOMIC_SEQ_CST);
}
/* Sequentially consistent: the daemon looks at the ring once more after it said that it sleeps. */
static inline void lockstep_control_set_data_plane(void *control, uint32_t state) {
    __atomic_store_n(PLAIN(&((struct lockstep_control *)control)->data_plane), state, __ATOMIC_SEQ_CST);
}
static inline void lockstep_control_set_switch(void *control, uint32_t which, int on) {
    if (on)
        __atomic_fetch_or(PLAIN(&((struct lockstep_control *)control)->switches), which, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(PLAIN(&((struct lockstep_control *)control)->switches), ~which, __ATOMIC_SEQ_CST);
}
static inline int lockstep_control_is_closed(const void *control) {
    return (__atomic_load_n(PLAIN(&((struct lockstep_control *)control)->switches), __ATOMIC_SEQ_CST) & LOCKSTEP_SWITCH_CLOSED) != 0;
}
static inline void lockstep_control_set_root(void *control, uint32_t index, uint64_t device, struct lockstep_object object,
                                             const char *name, const char *path) {
    struct lockstep_root *root = &((struct lockstep_control *)control)->roots[index];
    root->device = device;
    root->object = object;
    strncpy(root->name, name, sizeof root->name - 1);
    strncpy(root->path, path, sizeof root->path - 1);
    if (((struct lockstep_control *)control)->root_count <= index)
        ((struct lockstep_control *)control)->root_count = index + 1;
}
static inline void lockstep_control_set_exclusion(void *control, uint32_t index, const char *suffix) {
    ((struct lockstep_control *)control)->exclusion_count = index + 1;
    strncpy(((struct lockstep_control *)control)->exclusions[index], suffix, LOCKSTEP_EXCLUSION_BYTES - 1);
}

static inline uint64_t lockstep_ring_reserved(const void *ring) {
    return __atomic_load_n(PLAIN(&((struct lockstep_ring *)ring)->reserved), __ATOMIC_SEQ_CST);
}
static inline uint64_t lockstep_ring_mappings(const void *ring) {
    return __atomic_load_n(PLAIN(&((struct lockstep_ring *)ring)->mappings), __ATOMIC_SEQ_CST);
}
static inline uint32_t lockstep_ring_doorbell(const void *ring) {
    return __atomic_load_n(PLAIN(&((struct lockstep_ring *)ring)->doorbell), __ATOMIC_SEQ_CST);
}
static inline const uint32_t *lockstep_ring_doorbell_address(const void *ring) {
    return (const uint32_t *)&((const struct lockstep_ring *)ring)->doorbell;
}
static inline uint64_t lockstep_ring_word(const void *ring, uint32_t place) {
    return __atomic_load_n(PLAIN(&((struct lockstep_ring *)ring)->words[place]), __ATOMIC_ACQUIRE);
}
static inline void lockstep_ring_set_word(void *ring, uint32_t place, uint64_t word) {
    __atomic_store_n(PLAIN(&((struct lockstep_ring *)ring)->words[place]), word, __ATOMIC_RELEASE);
}
static inline int lockstep_ring_revoke(void *ring, uint32_t place, uint32_t lap) {
    uint64_t expected = LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY);
    return __atomic_compare_exchange_n(PLAIN(&((struct lockstep_ring *)ring)->words[place]), &expected,
                                       LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_REVOKED), 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}
static inline uint64_t lockstep_word_taken(uint32_t lap) { return LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_TAKEN); }
static inline uint64_t lockstep_word_empty(uint32_t lap) { return LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY); }
static inline uint32_t lockstep_word_lap(uint64_t word) { return LOCKSTEP_WORD_LAP(word); }
static inline uint32_t lockstep_word_arena(uint64_t word) { return LOCKSTEP_WORD_ARENA(word); }
static inline uint32_t lockstep_word_intent(uint64_t word) { return LOCKSTEP_WORD_INTENT(word); }
static inline uint32_t lockstep_word_state(uint64_t word) { return LOCKSTEP_WORD_STATE(word); }

/* A memfd that can be sealed, closed on exec (MFD_CLOEXEC | MFD_ALLOW_SEALING). */
static inline int lockstep_memfd(const char *name) { return (int)syscall(SYS_memfd_create, name, 3u); }

static inline long lockstep_wake(const void *address, int count) {
    return syscall(SYS_futex, address, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* Frees the offset locks held by a process that is gone. */
static inline void lockstep_ring_unlock_arena(void *ring, uint32_t arena) {
    struct lockstep_ring *r = ring;
    for (unsigned i = 0; i < LOCKSTEP_LOCK_STRIPES; i++) {
        uint64_t owner = __atomic_load_n(PLAIN(&r->locks[i]), __ATOMIC_RELAXED);
        if (owner != 0 && (uint32_t)(owner >> 32) == arena)
            __atomic_compare_exchange_n(PLAIN(&r->locks[i]), &owner, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

/* One copy of an intent; the fields are checked afterwards, on the copy. */
static inline void lockstep_arena_copy_intent(const void *arena, uint32_t index, struct lockstep_intent *to) {
    memcpy(to, &((const struct lockstep_arena *)arena)->intents[index], sizeof *to);
}
static inline uint32_t lockstep_intent_done(const void *arena, uint32_t index) {
    return __atomic_load_n(PLAIN(&((struct lockstep_arena *)arena)->intents[index].done), __ATOMIC_ACQUIRE);
}
static inline uint32_t lockstep_arena_mappings_used(const void *arena) {
    return __atomic_load_n(PLAIN(&((struct lockstep_arena *)arena)->mappings_used), __ATOMIC_SEQ_CST);
}
static inline uint32_t lockstep_arena_mappings_version(const void *arena) {
    return __atomic_load_n(PLAIN(&((struct lockstep_arena *)arena)->mappings_version), __ATOMIC_SEQ_CST);
}
/* One copy of a line: 0 when it changed meanwhile. */
static inline int lockstep_arena_copy_mapping(const void *arena, uint32_t line, struct lockstep_mapping *to) {
    struct lockstep_mapping *m = &((struct lockstep_arena *)arena)->mappings[line];
    uint64_t before = __atomic_load_n(PLAIN(&m->state), __ATOMIC_SEQ_CST);
    memcpy(to, m, sizeof *to);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return before == __atomic_load_n(PLAIN(&m->state), __ATOMIC_SEQ_CST);
}
static inline void lockstep_arena_raise_armed(void *arena, uint32_t line, uint64_t before, uint64_t armed) {
    __atomic_compare_exchange_n(PLAIN(&((struct lockstep_arena *)arena)->mappings[line].armed), &before, armed, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline uint32_t lockstep_mapping_state(uint64_t state) { return LOCKSTEP_MAPPING_STATE(state); }
static inline const uint8_t *lockstep_arena_inline(const void *arena, uint32_t index) {
    return ((const struct lockstep_arena *)arena)->inlines[index];
}
static inline const uint8_t *lockstep_arena_block(const void *arena, uint32_t block) {
    return ((const struct lockstep_arena *)arena)->blocks[block];
}
static inline uint64_t lockstep_arena_intents_free(const void *arena) {
    return __atomic_load_n(PLAIN(&((struct lockstep_arena *)arena)->intents_free), __ATOMIC_SEQ_CST);
}
/* Returns an intent and its blocks to the process, and wakes it if it waits for space. */
static inline int lockstep_arena_is_short(const void *arena) {
    struct lockstep_arena *a = (struct lockstep_arena *)arena;
    return LOCKSTEP_ARENA_IS_SHORT(__atomic_load_n(PLAIN(&a->intents_free), __ATOMIC_RELAXED),
                                   __atomic_load_n(PLAIN(&a->blocks_free), __ATOMIC_RELAXED));
}
static inline void lockstep_arena_return(void *arena, uint32_t index, uint64_t blocks) {
    struct lockstep_arena *a = arena;
    __atomic_store_n(PLAIN(&a->intents[index].done), 0, __ATOMIC_RELAXED);
    if (blocks)
        __atomic_fetch_or(PLAIN(&a->blocks_free), blocks, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(PLAIN(&a->intents_free), (uint64_t)1 << index, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(PLAIN(&a->space_waiters), __ATOMIC_SEQ_CST)) {
        __atomic_fetch_add(PLAIN(&a->space), 1, __ATOMIC_SEQ_CST);
        lockstep_wake(&a->space, INT_MAX);
    }
}

/* Answers the barrier at `place`: the intent first (for a waiter that the ring laps), then the word, then a wake-up if
   the producer may sleep. `arena` may be NULL (its process is gone). Returns 1 when it woke somebody. */
static inline int lockstep_answer(void *control, void *arena, uint32_t index, uint32_t place, uint32_t lap, uint32_t status) {
    struct lockstep_control *c = control;
    uint32_t *words = (uint32_t *)(void *)((char *)control + c->answers_offset);
    if (arena)
        __atomic_store_n(PLAIN(&((struct lockstep_arena *)arena)->intents[index].answer), status, __ATOMIC_SEQ_CST);
    __atomic_store_n(&words[place], LOCKSTEP_ANSWER(lap, status), __ATOMIC_SEQ_CST);
    if (arena && __atomic_load_n(PLAIN(&((struct lockstep_arena *)arena)->intents[index].waiting), __ATOMIC_SEQ_CST)) {
        lockstep_wake(&words[place], INT_MAX);
        return 1;
    }
    return 0;
}
#endif
