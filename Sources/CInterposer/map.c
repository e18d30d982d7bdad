/*
 * map.c: mmap of files of the tree.
 *
 *   private                    allowed: no store reaches the file
 *   shared, writable           tracked (track.c); where the kernel can't, refused (EACCES) with the reason
 *   shared, read-only, from a descriptor open for writing
 *                              mapped from a read-only re-open, so that mprotect can't make it writable unseen (map.h)
 *   excluded names             pass, untracked
 *   an io_uring                refused (EPERM): the library alone maps it
 *
 * The re-open must not be closed in this process: closing any descriptor of a file drops the process's POSIX locks on
 * it. So it is done aside (aside.c).
 */
#define _GNU_SOURCE
#include "map.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

struct request {
    char path[DESCRIPTOR_PATH_BYTES];
    void *address;
    size_t bytes;
    int protection, flags, descriptor;
    off_t offset;
    long answer;
    bool mapped; /* what had been there is gone, whatever comes after */
};

static bool failed(long answer) { return answer < 0 && answer > -4096; }

static long map_as(struct request *r, int protection) {
    long answer = kernel(SYS_mmap, r->address, r->bytes, protection, r->flags, r->descriptor, r->offset);
    r->mapped = !failed(answer);
    return answer;
}

static void map_aside(void *argument) {
    struct request *r = argument;
    long descriptor = kernel(SYS_openat, AT_FDCWD, r->path, O_RDONLY | O_CLOEXEC, 0);
    r->answer = descriptor;
    if (descriptor >= 0)
        r->answer = kernel(SYS_mmap, r->address, r->bytes, r->protection, r->flags, descriptor, r->offset);
}

static long map_reopened(struct request *r) {
    descriptor_path(r->descriptor, r->path);
    if (!run_aside(map_aside, r, r->descriptor))
        return -EAGAIN;
    r->mapped = !failed(r->answer);
    return r->answer;
}

/* How much of the mapping the file fills now: what lies behind can't be stored to before the file grows. */
static uint64_t filled(const struct request *r, size_t bytes) {
    struct statx status;
    if (kernel(SYS_statx, r->descriptor, "", AT_EMPTY_PATH, STATX_SIZE, &status) != 0)
        return bytes;
    uint64_t rest = status.stx_size > (uint64_t)r->offset ? PAGE_UP(status.stx_size - (uint64_t)r->offset) : 0;
    return rest < bytes ? rest : bytes;
}

/* ------------------------------------------------------------------ the three kinds */

static long refuse_map(const struct request *r, long address, size_t bytes, long error, const char *reason) {
    char text[160] = "a writable shared mapping of a replicated file is refused: ";
    size_t at = 59;
    while (*reason && at < sizeof text - 1)
        text[at++] = *reason++;
    line(LINE_MAP, "mmap", r->descriptor, NULL, text);
    kernel(SYS_munmap, address, bytes);
    return error;
}

static long map_tracked(struct request *r, struct piece *made) {
    const char *reason = "more than 1024 mappings in one process";
    long address = map_as(r, r->protection & ~PROT_WRITE);
    if (failed(address))
        return address;
    made->address = (uintptr_t)address;
    made->armed = filled(r, made->bytes);
    long answer = track(made, made->armed, &reason);
    struct piece *piece = answer ? NULL : piece_add(made);
    if (!piece) {
        if (!answer)
            track_undo(made);
        return refuse_map(r, address, made->bytes, answer ? answer : -ENOMEM, reason);
    }
    answer = kernel(SYS_mprotect, address, made->bytes, r->protection);
    if (answer) {
        track_undo(piece);
        piece->kind = PIECE_NONE;
        kernel(SYS_munmap, address, made->bytes);
        return answer;
    }
    return address;
}

static long map_sleeping(struct request *r, struct piece *made) {
    long address = map_reopened(r);
    if (failed(address))
        return address;
    made->address = (uintptr_t)address;
    made->armed = filled(r, made->bytes);
    made->kind = PIECE_READ;
    long hidden = kernel(SYS_mmap, 0, made->bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, r->descriptor, r->offset);
    if (!failed(hidden)) {
        made->hidden = (uintptr_t)hidden;
        made->kind = PIECE_SLEEPING;
    }
    if (!piece_add(made) && !failed(hidden))
        kernel(SYS_munmap, hidden, made->bytes);
    return address;
}

static long map_read(struct request *r, struct piece *made) {
    long address = map_as(r, r->protection);
    if (!failed(address)) {
        made->address = (uintptr_t)address;
        made->kind = PIECE_READ;
        piece_add(made);
    }
    return address;
}

static long map_replicated(struct request *r, const struct target *target) {
    long open_flags = kernel(SYS_fcntl, r->descriptor, F_GETFL);
    struct piece made = {.bytes = PAGE_UP(r->bytes), .offset = (uint64_t)r->offset, .object = target->object};
    if ((open_flags & O_ACCMODE) != O_RDWR || made.bytes < r->bytes)
        return map_read(r, &made);
    return r->protection & PROT_WRITE ? map_tracked(r, &made) : map_sleeping(r, &made);
}

/* ------------------------------------------------------------------ mmap */

static long map_captured(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    int type = flags & MAP_TYPE;
    struct request r = {.address = address, .bytes = bytes, .protection = protection, .flags = flags,
                        .descriptor = descriptor, .offset = offset};
    struct target target;
    long verdict = OUTSIDE;
    if (!attached())
        return map_as(&r, protection);
    bool shared = !(flags & MAP_ANONYMOUS) && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
    if (shared)
        verdict = identify_regular(descriptor, &target);
    if (verdict < 0)
        return -EACCES;
    if (verdict == OUTSIDE && shared && !S_ISREG(target.mode) && uring_is_ring(descriptor))
        return -EPERM;
    if (verdict == TRACKED && type == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
        return -EOPNOTSUPP;
    bool replaces = (flags & MAP_FIXED) && pieces_exist() && bytes && (uintptr_t)address % PAGE_BYTES == 0;
    if (verdict == OUTSIDE && !replaces)
        return map_as(&r, protection);
    uint64_t signals;
    pieces_lock(&signals);
    if (replaces)
        pieces_leave((uintptr_t)address, PAGE_UP(bytes));
    long answer = verdict == OUTSIDE ? map_as(&r, protection) : map_replicated(&r, &target);
    if (replaces)
        pieces_left(r.mapped);
    pieces_unlock(&signals);
    return answer;
}

long captured_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    long answer = map_captured(address, bytes, protection, flags, descriptor, offset);
    if (flags & MAP_FIXED)
        payload_replaced();
    return answer;
}

EXPORTED void *mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    return (void *)returned(captured_mmap(address, bytes, protection, flags, descriptor, offset));
}
ALIAS(mmap64, mmap);
ALIAS(__mmap, mmap);
