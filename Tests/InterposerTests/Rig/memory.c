/*
 * memory.c: control object, order ring and arenas as the daemon sees them.
 *
 * The ring is drained strictly in order; a place that stays reserved longer than the bound is revoked; every word is
 * given back at once with the next lap, because the operation has been copied out. Intents and blocks go back when the
 * operation is done (the rig has no journal to wait for).
 */
#define _GNU_SOURCE
#include "rig.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

struct lockstep_control *control;
struct lockstep_ring *ring;
int control_read_only, ring_descriptor;
struct arena *arenas;
static int control_descriptor;
static uint64_t drained = 1, reserved_since;

int memory_allocate(const char *name, size_t bytes, void **memory) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) || posix_fallocate(fd, 0, (off_t)bytes))
        fatal("%s of %zu bytes: %m", name, bytes);
    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*memory == MAP_FAILED) fatal("mapping %s: %m", name);
    return fd;
}

void memory_seal(int fd) {
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) fatal("sealing: %m");
}

void memory_create(struct lockstep_object root_object, uint64_t device) {
    uint64_t incarnation[2];
    if (getrandom(incarnation, sizeof incarnation, 0) != sizeof incarnation) fatal("getrandom: %m");
    void *memory;
    control_descriptor = memory_allocate("lockstep-control", lockstep_control_bytes(options.slots), &memory);
    control = memory;
    lockstep_control_initialize(control, options.slots, incarnation[0], incarnation[1]);
    ring_descriptor = memory_allocate("lockstep-ring", lockstep_ring_bytes(options.slots), &memory);
    ring = memory;
    lockstep_ring_initialize(ring, options.slots, incarnation[0], incarnation[1]);
    /* Number 0 does not exist: place 0 is first used by number `slots`, in lap 1. */
    lockstep_ring_set_word(ring, 0, lockstep_word_empty(1));
    control->abi_version = (uint32_t)options.abi_version;
    control->root_count = 1;
    control->exclusion_count = options.exclusion_count;
    control->wait_mode = LOCKSTEP_WAIT_DURABLE;
    control->wait_bound_milliseconds = options.wait_bound_milliseconds;
    control->on_bound = LOCKSTEP_ON_BOUND_EIO;
    control->lock_bound_milliseconds = 200;
    control->daemon_pid = getpid();
    lockstep_control_set_epoch(control, 1);
    lockstep_control_set_root(control, 0, device, root_object, "data", options.root);
    for (uint32_t i = 0; i < options.exclusion_count; i++) lockstep_control_set_exclusion(control, i, options.exclusions[i]);
    lockstep_control_set_switch(control, LOCKSTEP_SWITCH_ALL_HOT, 1);
    if (options.io_uring) lockstep_control_set_switch(control, LOCKSTEP_SWITCH_IO_URING, 1);
    if (options.close_ring) lockstep_control_set_switch(control, LOCKSTEP_SWITCH_CLOSED, 1);
    memory_seal(control_descriptor);
    memory_seal(ring_descriptor);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", control_descriptor);
    control_read_only = open(path, O_RDONLY | O_CLOEXEC);
    if (control_read_only < 0) fatal("re-opening the control object: %m");
}

/* ------------------------------------------------------------------ draining */

static struct arena *arena_of(uint32_t number) {
    for (struct arena *a = arenas; a; a = a->next)
        if (a->number == number) return a;
    return NULL;
}

static void advance(uint32_t place, uint32_t lap) {
    /* Copied out already, so the place is free again: the word first, then the permission to use it. */
    lockstep_ring_set_word(ring, place, lockstep_word_empty(lap + 1));
    drained++;
    reserved_since = 0;
    lockstep_control_set_drained(control, drained);
    lockstep_control_set_consumed(control, drained);
}

static struct operation *take(struct arena *a, uint32_t index, uint64_t sequence) {
    uint64_t bit = (uint64_t)1 << index;
    if (a->intents & bit) {
        violation("#%lu: intent %u of process %d is published twice", sequence, index, a->pid);
        return NULL;
    }
    if (atomic_load(&a->memory->intents_free) & bit) violation("#%lu: intent %u of process %d is published, but marked free", sequence, index, a->pid);
    struct operation *o = calloc(1, sizeof *o);
    o->sequence = sequence;
    o->arena = a;
    o->pid = a->pid;
    o->index = index;
    o->drained_at = now_nanoseconds();
    lockstep_arena_copy_intent(a->memory, index, &o->intent);
    const uint8_t *inlines = lockstep_arena_inline(a->memory, index);
    if (!check_intent(&o->intent, inlines, sequence, a)) {
        free(o);
        return NULL;
    }
    const struct lockstep_intent *i = &o->intent;
    memcpy(o->name, inlines, i->name_bytes);
    memcpy(o->target_name, inlines + 256, i->target_name_bytes);
    if (i->payload_bytes) {
        o->payload = malloc(i->payload_bytes);
        memcpy(o->payload, i->block == LOCKSTEP_NO_BLOCK ? inlines : a->memory->blocks[i->block], i->payload_bytes);
    }
    if (i->block != LOCKSTEP_NO_BLOCK && i->payload_bytes) {
        uint32_t count = (i->payload_bytes + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES;
        o->blocks = (count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1) << i->block;
        if (a->blocks & o->blocks) violation("#%lu: payload blocks %lx of process %d hold another operation", sequence, a->blocks & o->blocks, a->pid);
        if (atomic_load(&a->memory->blocks_free) & o->blocks) violation("#%lu: payload blocks of process %d are marked free", sequence, a->pid);
    }
    a->intents |= bit;
    a->blocks |= o->blocks;
    a->tracked++;
    return o;
}

struct operation *memory_drain(bool at_end) {
    for (;;) {
        uint64_t reserved = atomic_load(&ring->reserved);
        if (drained == reserved) return NULL;
        if (drained > reserved || reserved > drained + options.slots) fatal("order ring: %lu reserved, %lu drained", reserved, drained);
        uint64_t sequence = drained;
        uint32_t place = (uint32_t)(sequence % options.slots), lap = (uint32_t)(sequence / options.slots);
        uint64_t word = lockstep_ring_word(ring, place);
        if (LOCKSTEP_WORD_LAP(word) != lap) fatal("#%lu: place %u holds lap %u, not %u", sequence, place, LOCKSTEP_WORD_LAP(word), lap);
        uint32_t number = LOCKSTEP_WORD_ARENA(word), index = LOCKSTEP_WORD_INTENT(word);
        switch (LOCKSTEP_WORD_STATE(word)) {
        case LOCKSTEP_STATE_EMPTY:
            if (number || index) violation("#%lu: a place that is only reserved names arena %u, intent %u", sequence, number, index);
            if (!reserved_since) reserved_since = now_nanoseconds();
            if (!at_end && now_nanoseconds() - reserved_since < options.revoke_milliseconds * 1000000ull) return NULL;
            if (!lockstep_ring_revoke(ring, place, lap)) continue;
            results.revoked++;
            if (options.trace) fprintf(options.trace, "%lu revoked\n", sequence);
            advance(place, lap);
            continue;
        case LOCKSTEP_STATE_PUBLISHED:
            break;
        default:
            fatal("#%lu: place %u has state %u", sequence, place, LOCKSTEP_WORD_STATE(word));
        }
        struct arena *a = arena_of(number);
        struct operation *o = NULL;
        if (!a) violation("#%lu: names arena %u, which is not attached", sequence, number);
        else if (index >= LOCKSTEP_INTENTS) violation("#%lu: names intent %u", sequence, index);
        else o = take(a, index, sequence);
        advance(place, lap);
        if (o) return o;
    }
}

void memory_look(struct operation *o) {
    if (o->done || o->lost) return;
    bool gone = o->arena->gone; /* read before `done`: a dead process can't set it afterwards */
    if (lockstep_intent_done(o->arena->memory, o->index)) {
        struct lockstep_intent now;
        lockstep_arena_copy_intent(o->arena->memory, o->index, &now);
        o->intent.result = now.result;
        o->intent.actual_offset = now.actual_offset;
        o->intent.done_reserved = now.done_reserved;
        o->intent.outcome = now.outcome;
        o->intent.outcome_mode = now.outcome_mode;
        o->intent.outcome_owner = now.outcome_owner;
        o->intent.outcome_group = now.outcome_group;
        o->intent.result_flags = now.result_flags;
        o->done = true;
        check_result(o, atomic_load(&ring->reserved));
    } else if (gone) {
        o->lost = true;
        results.undone++;
    } else
        return;
    struct arena *a = o->arena;
    a->intents &= ~((uint64_t)1 << o->index);
    a->blocks &= ~o->blocks;
    a->tracked--;
    /* A barrier's answer stays readable until its producer said `done`, which is now. */
    lockstep_arena_return(a->memory, o->index, o->blocks);
}

void memory_answer(struct operation *o) {
    o->answered = true;
    /* A producer that gave up at its bound may use the intent for something else already. */
    lockstep_answer(control, o->lost || o->done ? NULL : o->arena->memory, o->index, (uint32_t)(o->sequence % options.slots),
                    (uint32_t)(o->sequence / options.slots) & 0x3fffffffu, (uint32_t)options.answer);
}

void memory_set_released(uint64_t below) { lockstep_control_set_released(control, below); }
uint64_t memory_drained(void) { return drained; }
bool memory_empty(void) { return drained == atomic_load(&ring->reserved); }

void memory_doze(void) {
    static unsigned turn;
    uint32_t doorbell = lockstep_ring_doorbell(ring);
    /* Both kinds of sleep are tried in turn. */
    lockstep_control_set_data_plane(control, turn++ % 2 ? LOCKSTEP_DATA_PLANE_SLEEPING : LOCKSTEP_DATA_PLANE_DOZING);
    if (memory_empty()) {
        struct timespec bound = {.tv_nsec = 500000};
        syscall(SYS_futex, lockstep_ring_doorbell_address(ring), FUTEX_WAIT, doorbell, &bound, NULL, 0);
    }
    lockstep_control_set_data_plane(control, LOCKSTEP_DATA_PLANE_AWAKE);
}
