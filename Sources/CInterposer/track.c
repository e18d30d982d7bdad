/*
 * track.c: which pages of a writable shared mapping were written (Linux 6.7: asynchronous write-protection).
 *
 *     mapped without PROT_WRITE -> registered -> write-protected -> line USED -> PROT_WRITE -> the program has the address
 *     a store                   -> the kernel takes the protection of that page away, and goes on
 *     a durability point        -> the daemon asks for the pages without it (PAGEMAP_SCAN), protects and ships them
 *     before it is unmapped     -> asked here; CHANGED published for each range; line LEAVING
 *
 * The registration lasts as long as the userfaultfd: one per process, with a number that is out of the way. A program that
 * closes it loses no write: the daemon is told so by the kernel and reads the whole range, each time.
 */
#define _GNU_SOURCE
#include "map.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

/* Linux 6.7, missing from the headers of Debian 12: linux/userfaultfd.h, linux/fs.h. */
#define WP_HUGETLBFS_SHMEM (1ull << 12)
#define WP_ASYNC           (1ull << 15)
#define PAGE_IS_WRITTEN    (1ull << 1)
#define SCAN_CHECK_WPASYNC (1ull << 1)

struct page_region {
    uint64_t start, end, categories;
};
struct page_scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, pages_max, inverted, mask, any_of, returned;
};
#define PAGEMAP_SCAN_REQUEST _IOWR('f', 16, struct page_scan)

#define REGIONS_MAX 12

/* ------------------------------------------------------------------ the userfaultfd of this process */

/* Not on the wiped page: a forked child has a copy of its parent's, and closes it. */
static _Atomic(int32_t) watcher_last;

static bool is_watcher(int descriptor) {
    char link[DESCRIPTOR_PATH_BYTES], text[32];
    descriptor_path(descriptor, link);
    long bytes = kernel(SYS_readlinkat, AT_FDCWD, link, text, sizeof text);
    return bytes == 24 && memcmp(text, "anon_inode:[userfaultfd]", 24) == 0;
}

static long watcher(const char **reason) {
    int32_t known = atomic_load(&process_page->watcher);
    if (known && is_watcher(known - 1))
        return known - 1;
    if (FAULT_SKIPS("tracking")) {
        *reason = "switched off";
        return -EACCES;
    }
    long made = kernel(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);
    if (made < 0) {
        *reason = made == -ENOSYS || made == -EINVAL ? "this kernel has no userfaultfd for everybody (Linux 5.11)"
            : made == -EPERM ? "userfaultfd is forbidden here (seccomp?)" : "no userfaultfd is to be had";
        return -EACCES;
    }
    struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC | WP_HUGETLBFS_SHMEM};
    if (kernel(SYS_ioctl, made, UFFDIO_API, &api) != 0) {
        kernel(SYS_close, made);
        *reason = "this kernel can't track it (before Linux 6.7)";
        return -EACCES;
    }
    made = moved_high(made);
    atomic_store(&process_page->watcher, (int32_t)made + 1);
    atomic_store(&watcher_last, (int32_t)made + 1);
    return made;
}

static long protect(const struct piece *piece, uint64_t armed, const char **reason) {
    long descriptor = watcher(reason);
    if (descriptor < 0)
        return descriptor;
    struct uffdio_register registration = {.range = {piece->address, piece->bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
    *reason = "this file system's mappings can't be tracked";
    if (kernel(SYS_ioctl, descriptor, UFFDIO_REGISTER, &registration) != 0)
        return -EACCES;
    struct uffdio_writeprotect order = {.range = {piece->address, armed}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    long answer = kernel(SYS_madvise, piece->address, piece->bytes, MADV_DONTFORK);
    while (!answer && armed && (answer = kernel(SYS_ioctl, descriptor, UFFDIO_WRITEPROTECT, &order)) == -EAGAIN) {}
    return answer ? -EACCES : 0;
}

/* ------------------------------------------------------------------ lines of the arena's table */

static uint64_t changed(uint64_t state, uint32_t to) { return (state & ~3ull) + 4 + to; }

static struct lockstep_mapping *line_of(struct lockstep_arena *arena, const struct piece *piece) {
    return &arena->mappings[piece->line];
}

static int16_t line_take_now(struct lockstep_arena *arena, const struct piece *piece, uint64_t armed, bool *leaving) {
    for (uint32_t i = 0; i < LOCKSTEP_MAPPINGS; i++) {
        struct lockstep_mapping *m = &arena->mappings[i];
        uint64_t state = atomic_load(&m->state);
        uint32_t is = LOCKSTEP_MAPPING_STATE(state);
        bool awaited = is == LOCKSTEP_MAPPING_LEAVING && atomic_load(&control->drained) < m->left;
        *leaving = *leaving || awaited;
        if (is == LOCKSTEP_MAPPING_USED || awaited)
            continue;
        state = changed(state, LOCKSTEP_MAPPING_FREE);
        atomic_store(&m->state, state);
        m->address = piece->address;
        m->length = piece->bytes;
        m->offset = piece->offset;
        m->object = piece->object;
        m->left = 0;
        atomic_store(&m->armed, armed);
        if (i >= atomic_load(&arena->mappings_used))
            atomic_store(&arena->mappings_used, i + 1);
        atomic_store(&m->state, changed(state, LOCKSTEP_MAPPING_USED));
        atomic_fetch_add(&arena->mappings_version, 1);
        return (int16_t)i;
    }
    return -1;
}

/* -1: none is free. Those that are leaving are so when the daemon has drained what they told. */
static int16_t line_take(struct lockstep_arena *arena, const struct piece *piece, uint64_t armed) {
    for (int i = 0;; i++) {
        bool leaving = false;
        int16_t line = line_take_now(arena, piece, armed, &leaving);
        if (line >= 0 || !leaving || i == 100)
            return line;
        struct timespec moment = {.tv_nsec = 1000000};
        doorbell_ring();
        kernel(SYS_nanosleep, &moment, 0);
    }
}

static void line_set(struct lockstep_mapping *m, uint32_t to) { atomic_store(&m->state, changed(atomic_load(&m->state), to)); }

long track(struct piece *piece, uint64_t armed, const char **reason) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    *reason = "no arena";
    if (!arena)
        return -EACCES;
    if (armed > piece->bytes)
        armed = piece->bytes;
    long answer = protect(piece, armed, reason);
    if (answer)
        return answer;
    int16_t line = line_take(arena, piece, armed);
    if (line < 0) {
        *reason = "more than 128 writable mappings in one process";
        return -ENOMEM;
    }
    piece->line = line;
    piece->kind = PIECE_TRACKED;
    atomic_fetch_add(&ring->mappings, 1);
    return 0;
}

void track_undo(const struct piece *piece) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    if (arena)
        line_set(line_of(arena, piece), LOCKSTEP_MAPPING_FREE);
}

bool track_is_possible(const char **reason) { return watcher(reason) >= 0; }

uint64_t track_armed(const struct piece *piece) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    uint64_t armed = arena ? atomic_load(&line_of(arena, piece)->armed) : 0;
    return armed < piece->bytes ? armed : piece->bytes;
}

bool track_split(struct piece *front, struct piece *back) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    if (!arena)
        return false;
    struct lockstep_mapping *whole = line_of(arena, front);
    uint64_t armed = atomic_load(&whole->armed);
    int16_t first = line_take(arena, front, armed < front->bytes ? armed : front->bytes);
    int16_t second = first < 0 ? -1 : line_take(arena, back, armed > front->bytes ? armed - front->bytes : 0);
    if (second < 0) {
        if (first >= 0)
            line_set(&arena->mappings[first], LOCKSTEP_MAPPING_FREE);
        return false;
    }
    front->line = first;
    back->line = second;
    line_set(whole, LOCKSTEP_MAPPING_FREE);
    return true;
}

bool track_extend(struct piece *piece, size_t bytes) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    struct piece longer = *piece;
    longer.bytes = bytes;
    if (!arena)
        return false;
    struct lockstep_mapping *before = line_of(arena, piece);
    if ((longer.line = line_take(arena, &longer, atomic_load(&before->armed))) < 0)
        return false;
    *piece = longer;
    line_set(before, LOCKSTEP_MAPPING_FREE);
    return true;
}

/* ------------------------------------------------------------------ what was written, before it goes */

static bool tell(const struct piece *piece, uint64_t start, uint64_t end) {
    struct capture capture;
    if (start >= end)
        return true;
    if (capture_begin(&capture, LOCKSTEP_KIND_CHANGED, 0, false) != 0)
        return false;
    capture.intent->object = piece->object;
    capture.intent->offset = piece->offset + (start - piece->address);
    capture.intent->length = end - start;
    if (capture_publish(&capture) != 0)
        return false;
    capture_end(&capture, 0);
    return true;
}

/* Asks without protecting anew: until it is unmapped the daemon finds the same. */
static bool tell_written(const struct piece *piece, uint64_t armed) {
    struct page_region regions[REGIONS_MAX];
    uintptr_t end = piece->address + armed;
    struct page_scan scan = {.size = sizeof scan, .flags = SCAN_CHECK_WPASYNC, .start = piece->address, .end = end,
                             .regions = (uintptr_t)regions, .region_count = REGIONS_MAX, .mask = PAGE_IS_WRITTEN,
                             .returned = PAGE_IS_WRITTEN};
    long pagemap = moved_high(kernel(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0));
    long found = pagemap < 0 ? pagemap : 0;
    bool told = true;
    while (found >= 0 && told && scan.start < end) {
        found = kernel(SYS_ioctl, pagemap, PAGEMAP_SCAN_REQUEST, &scan);
        if (found == -EINTR)
            found = 0;
        /* So many ranges that each is a call of its own: from the second look on, all in one. */
        if (found == REGIONS_MAX && scan.walk_end < end) {
            told = tell(piece, regions[0].start, end);
            break;
        }
        for (long i = 0; i < found && told; i++)
            told = tell(piece, regions[i].start, regions[i].end);
        if (found >= 0)
            scan.start = scan.walk_end;
    }
    if (pagemap >= 0)
        kernel(SYS_close, pagemap);
    if (found < 0)
        told = tell(piece, piece->address, end);
    return told && tell(piece, end, piece->address + piece->bytes);
}

static bool leave(struct piece *piece) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    if (!arena)
        return false;
    struct lockstep_mapping *m = line_of(arena, piece);
    if (!FAULT_SKIPS("leave-untold") && !tell_written(piece, track_armed(piece)))
        return false;
    m->left = atomic_load(&ring->reserved);
    line_set(m, LOCKSTEP_MAPPING_LEAVING);
    return true;
}

bool track_leave(struct piece *piece) {
    return kernel(SYS_mprotect, piece->address, piece->bytes, PROT_READ) == 0 && leave(piece);
}

void track_return(struct piece *piece) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    if (arena)
        line_set(line_of(arena, piece), LOCKSTEP_MAPPING_USED);
    kernel(SYS_mprotect, piece->address, piece->bytes, PROT_READ | PROT_WRITE);
}

/* ------------------------------------------------------------------ the end of this address space */

static bool is_alone(void) {
    struct statx status;
    /* A child that shares our memory is another process. */
    if (kernel(SYS_getpid) != atomic_load(&process_page->pid))
        return false;
    /* The directory has two links, and one for each thread. One more may be that of an errand (aside.c) which has ended, and
       not yet gone. */
    for (int i = 0; i < 10; i++) {
        struct timespec moment = {.tv_nsec = 100000};
        if (kernel(SYS_statx, AT_FDCWD, "/proc/self/task", 0, STATX_NLINK, &status) != 0 || status.stx_nlink > 4)
            return false;
        if (status.stx_nlink == 3)
            return true;
        kernel(SYS_nanosleep, &moment, 0);
    }
    return false;
}

static void all(bool leaving) {
    if (!attached() || !pieces_exist() || !is_alone())
        return;
    uint64_t signals;
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    pieces_lock(&signals);
    for (struct piece *p = piece_next(NULL, 0, ~0ul); arena && p; p = piece_next(p + 1, 0, ~0ul)) {
        if (p->kind != PIECE_TRACKED)
            continue;
        if (leaving)
            leave(p);
        else
            line_set(line_of(arena, p), LOCKSTEP_MAPPING_USED);
    }
    pieces_unlock(&signals);
}

void track_leave_all(void) { all(true); }
void track_return_all(void) { all(false); }

/* ------------------------------------------------------------------ fork */

/* What forks by a way that no wrapper sees has a child without these mappings: it ends at its first store, and nothing is
   missed. */
void track_fork(bool inherited) {
    uint32_t number;
    struct lockstep_arena *arena = arena_of_process(&number);
    for (struct piece *p = piece_next(NULL, 0, ~0ul); arena && p; p = piece_next(p + 1, 0, ~0ul)) {
        if (p->kind != PIECE_TRACKED || p->kept_from_children)
            continue;
        kernel(SYS_madvise, p->address, p->bytes, inherited ? MADV_DOFORK : MADV_DONTFORK);
        p->armed = track_armed(p);
    }
}

void track_forget_parent(void) {
    int32_t parents = atomic_exchange(&watcher_last, 0);
    if (parents && is_watcher(parents - 1))
        kernel(SYS_close, parents - 1);
}

/* The registration is not inherited. No code of the program has run in the child yet. */
void track_forked(void) {
    for (struct piece *p = piece_next(NULL, 0, ~0ul); p; p = piece_next(p + 1, 0, ~0ul)) {
        const char *reason;
        if (p->kind != PIECE_TRACKED)
            continue;
        if (p->kept_from_children) {
            p->kind = PIECE_NONE;
            continue;
        }
        if (track(p, p->armed, &reason) == 0)
            continue;
        p->kind = PIECE_READ;
        p->barred = true;
        kernel(SYS_mprotect, p->address, p->bytes, PROT_READ);
        line(LINE_MAP, "fork", -1, NULL, "a writable mapping of a replicated file is read-only in this child: it can't be tracked");
    }
}
