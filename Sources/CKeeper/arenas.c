#include "arenas.h"

#include "CCaptureABI.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static struct arena table[ARENAS_MAX];
static uint32_t living_count;
static uint32_t unannounced_count;
static uint64_t made_count;
static uint32_t range_first, range_count;
static uint32_t cursor; /* the number given last is the last to be given again: a late word in the ring is told apart */
static int prepared[ARENAS_PREPARED_MAX];
static int prepared_count;

void arenas_set_range(uint32_t first, uint32_t count) {
    range_first = first;
    range_count = count < ARENAS_MAX ? count : ARENAS_MAX;
    cursor = 0;
}

uint32_t arenas_first(void) { return range_first; }
uint32_t arenas_count(void) { return range_count; }
uint32_t arenas_living(void) { return living_count; }

/* An empty arena, allocated in full: a store into it must never fail for lack of memory. */
static int allocate(void) {
    int descriptor = memfd_create("lockstep-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) return -1;
    off_t bytes = sizeof(struct lockstep_arena);
    int failed = ftruncate(descriptor, bytes) != 0 ? errno : posix_fallocate(descriptor, 0, bytes);
    if (failed == 0 && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) failed = errno;
    if (failed != 0) {
        close(descriptor);
        errno = failed;
        return -1;
    }
    return descriptor;
}

static bool write_header(const struct arena *arena, const uint64_t incarnation[2]) {
    struct {
        uint64_t magic;
        uint32_t abi_version, number;
        uint64_t incarnation[2];
        int32_t pid;
        uint32_t pad0;
        uint64_t start_time;
    } fixed = {
        .magic = LOCKSTEP_MAGIC_ARENA,
        .abi_version = LOCKSTEP_ABI_VERSION,
        .number = arena->number,
        .incarnation = {incarnation[0], incarnation[1]},
        .pid = arena->pid,
        .start_time = arena->start_time,
    };
    _Static_assert(sizeof fixed == offsetof(struct lockstep_arena, start_time) + sizeof(uint64_t), "ABI");
    _Static_assert(offsetof(struct lockstep_arena, blocks_free) == offsetof(struct lockstep_arena, intents_free) + 8, "ABI");
    _Static_assert(LOCKSTEP_INTENTS == 64 && LOCKSTEP_BLOCKS == 64, "one word each");
    const uint64_t all_free[2] = {UINT64_MAX, UINT64_MAX};
    if (pwrite(arena->descriptor, all_free, sizeof all_free, offsetof(struct lockstep_arena, intents_free)) != sizeof all_free)
        return false;
    return pwrite(arena->descriptor, &fixed, sizeof fixed, 0) == sizeof fixed;
}

/* A free place of the table, given a free number of the range; places and numbers have nothing to do with each other,
   because the range may have changed since the others were made. */
static struct arena *find_free(void) {
    bool is_taken[ARENAS_MAX] = {false};
    struct arena *place = NULL;
    for (uint32_t slot = 0; slot < ARENAS_MAX; slot++) {
        if (!table[slot].living) place = place == NULL ? &table[slot] : place;
        else if (table[slot].number - range_first < range_count) is_taken[table[slot].number - range_first] = true;
    }
    for (uint32_t tried = 0; place != NULL && tried < range_count; tried++) {
        uint32_t offset = (cursor + tried) % range_count;
        if (is_taken[offset]) continue;
        cursor = (offset + 1) % range_count;
        place->number = range_first + offset;
        return place;
    }
    errno = EAGAIN;
    return NULL;
}

struct arena *arenas_make(int process, int32_t pid, uint64_t start_time, const uint64_t incarnation[2]) {
    struct arena *arena = find_free();
    if (arena == NULL) return NULL;
    arena->descriptor = prepared_count > 0 ? prepared[--prepared_count] : allocate();
    if (arena->descriptor < 0) return NULL;
    arena->pid = pid;
    arena->start_time = start_time;
    if (!write_header(arena, incarnation)) {
        int failed = errno;
        close(arena->descriptor);
        errno = failed;
        return NULL;
    }
    arena->process = process;
    arena->made = ++made_count;
    arena->announced = false;
    arena->living = true;
    living_count++;
    unannounced_count++;
    return arena;
}

bool arenas_retire(uint32_t number) {
    for (uint32_t slot = 0; slot < ARENAS_MAX; slot++) {
        struct arena *arena = &table[slot];
        if (!arena->living || arena->number != number) continue;
        if (!arena->announced) return false;
        close(arena->descriptor);
        close(arena->process);
        arena->living = false;
        living_count--;
        return true;
    }
    return false;
}

struct arena *arenas_first_unannounced(void) {
    struct arena *first = NULL;
    if (unannounced_count == 0) return NULL;
    for (uint32_t slot = 0; slot < ARENAS_MAX; slot++) {
        struct arena *arena = &table[slot];
        if (arena->living && !arena->announced && (first == NULL || arena->made < first->made)) first = arena;
    }
    return first;
}

void arenas_announced(struct arena *arena) {
    if (arena->announced) return;
    arena->announced = true;
    unannounced_count--;
}

void arenas_forget_announcements(void) {
    for (uint32_t slot = 0; slot < ARENAS_MAX; slot++) table[slot].announced = false;
    unannounced_count = living_count;
}

void arenas_prepare(void) {
    while (prepared_count < ARENAS_PREPARED_MAX) {
        int descriptor = allocate();
        if (descriptor < 0) return;
        prepared[prepared_count++] = descriptor;
    }
}
