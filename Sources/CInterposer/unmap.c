/*
 * unmap.c: what becomes of a mapping of a replicated file later: unmapped, moved, protected, synced, punched.
 *
 *     munmap, mremap, mmap over it   first nobody can store any more, then what was written is told, then the call
 *     mremap                         longer in place: the line with it; moved: a second mapping, then the first unmapped
 *     mprotect                       a sleeping one becomes writable by its hidden twin, tracked before it is
 *     msync(MS_SYNC)                 a durability point of the file
 *     madvise                        MADV_REMOVE is a hole; forks see what track.c lets them see
 */
#define _GNU_SOURCE
#include "map.h"
#include <linux/falloc.h>
#include <linux/mman.h>
#include <pthread.h>
#include <sys/mman.h>

static bool failed(long answer) { return answer < 0 && answer > -4096; }

static bool is_valid(uintptr_t address, size_t bytes) {
    return address % PAGE_BYTES == 0 && bytes && bytes <= 1ul << 47 && address <= 1ul << 47;
}

#define FOR_PIECES(p, address, bytes) for (struct piece *p = piece_next(NULL, address, bytes); p; p = piece_next(p + 1, address, bytes))

/* ------------------------------------------------------------------ taken away */

void pieces_leave(uintptr_t address, size_t bytes) {
    pieces_cut(address, bytes);
    FOR_PIECES (p, address, bytes) {
        /* One that could not be cut stays in the list, and the daemon finds that a part of it is not there. */
        if (p->address < address || p->address + p->bytes > address + bytes)
            continue;
        p->leaving = true;
        p->told = p->kind == PIECE_TRACKED && track_leave(p);
    }
}

void pieces_left(bool unmapped) {
    FOR_PIECES (p, 0, ~0ul) {
        if (!p->leaving)
            continue;
        p->leaving = false;
        if (!unmapped && p->told)
            track_return(p);
        if (!unmapped)
            continue;
        if (p->hidden)
            kernel(SYS_munmap, p->hidden, p->bytes);
        p->kind = PIECE_NONE;
    }
}

long mapping_munmap(void *address, size_t bytes) {
    uintptr_t start = (uintptr_t)address;
    if (!attached() || !pieces_exist() || !is_valid(start, bytes))
        return kernel(SYS_munmap, address, bytes);
    uint64_t signals;
    pieces_lock(&signals);
    pieces_leave(start, PAGE_UP(bytes));
    long answer = kernel(SYS_munmap, address, bytes);
    pieces_left(answer == 0);
    pieces_unlock(&signals);
    return answer;
}

/* ------------------------------------------------------------------ moved */

/* The kernel makes the second mapping from the first. Where it merged the two parts of memory that it then takes the tracking
   away from, a neighbour would lose its own: so there is none. */
static long second_mapping(uintptr_t old, size_t bytes, int flags, void *fixed) {
    if (flags & MREMAP_FIXED)
        return kernel(SYS_mremap, old, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, fixed);
    long room = kernel(SYS_mmap, 0, bytes + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (failed(room))
        return room;
    long address = kernel(SYS_mremap, old, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE_BYTES);
    if (failed(address)) {
        kernel(SYS_munmap, room, bytes + 2 * PAGE_BYTES);
        return address;
    }
    kernel(SYS_munmap, room, PAGE_BYTES);
    kernel(SYS_munmap, address + (long)bytes, PAGE_BYTES);
    return address;
}

static long duplicate(const struct piece *piece, uintptr_t old, size_t bytes, int flags, void *fixed) {
    const char *reason = "more than 1024 mappings in one process";
    long address = second_mapping(old, bytes, flags, fixed);
    if (failed(address))
        return address;
    struct piece made = *piece, *added = NULL;
    uint64_t front = old - piece->address;
    made.address = (uintptr_t)address;
    made.bytes = bytes;
    made.offset += front;
    made.hidden = 0;
    made.leaving = false;
    if (made.kind == PIECE_SLEEPING)
        made.kind = PIECE_READ;
    uint64_t armed = piece->kind == PIECE_TRACKED ? track_armed(piece) : 0;
    armed = armed > front ? armed - front : 0;
    long answer = piece->kind == PIECE_TRACKED ? track(&made, armed < bytes ? armed : bytes, &reason) : 0;
    if (!answer && !(added = piece_add(&made)) && piece->kind == PIECE_TRACKED)
        track_undo(&made);
    if (answer || (!added && piece->kind == PIECE_TRACKED)) {
        line(LINE_MAP, "mremap", -1, NULL, reason);
        kernel(SYS_munmap, address, bytes);
        return answer ? answer : -ENOMEM;
    }
    return address;
}

static long lengthen(struct piece *piece, uintptr_t old, size_t before, size_t bytes) {
    if (!pieces_cut(old, before))
        return -ENOMEM;
    piece = piece_next(NULL, old, 1);
    long answer = kernel(SYS_mremap, old, before, bytes, 0, 0);
    if (failed(answer))
        return answer;
    if (piece->kind == PIECE_TRACKED && !track_extend(piece, bytes)) {
        kernel(SYS_mremap, old, bytes, before, 0, 0);
        return -ENOMEM;
    }
    if (piece->kind == PIECE_SLEEPING) {
        long hidden = kernel(SYS_mremap, piece->hidden, piece->bytes, bytes, MREMAP_MAYMOVE, 0);
        if (failed(hidden)) {
            kernel(SYS_munmap, piece->hidden, piece->bytes);
            piece->kind = PIECE_READ;
        }
        piece->hidden = failed(hidden) ? 0 : (uintptr_t)hidden;
    }
    piece->bytes = bytes;
    return answer;
}

/* Both ends are whole pages; `old` lies in a piece. */
static long remap(struct piece *piece, uintptr_t old, size_t before, size_t bytes, int flags, void *fixed) {
    if (before && old + before > piece->address + piece->bytes)
        return -EFAULT;
    if (before && bytes <= before && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) {
        if (bytes == before)
            return (long)old;
        pieces_leave(old + bytes, before - bytes);
        long answer = kernel(SYS_munmap, old + bytes, before - bytes);
        pieces_left(answer == 0);
        return answer ? answer : (long)old;
    }
    long answer = -ENOMEM;
    if (before && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
        answer = lengthen(piece, old, before, bytes);
    if (answer != -ENOMEM || !(flags & MREMAP_MAYMOVE))
        return answer;
    if (flags & MREMAP_FIXED)
        pieces_leave((uintptr_t)fixed, bytes);
    piece = piece_next(NULL, old, 1);
    answer = duplicate(piece, old, bytes, flags, fixed);
    if (flags & MREMAP_FIXED)
        pieces_left(!failed(answer));
    if (!failed(answer) && before && !(flags & MREMAP_DONTUNMAP)) {
        pieces_leave(old, before);
        pieces_left(kernel(SYS_munmap, old, before) == 0);
    }
    return answer;
}

long mapping_mremap(void *address, size_t before, size_t bytes, int flags, void *fixed) {
    uintptr_t old = (uintptr_t)address;
    bool valid = is_valid(old, bytes) && !(flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) && before <= 1ul << 47
        && (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) || (flags & MREMAP_MAYMOVE))
        && (!(flags & MREMAP_FIXED) || ((uintptr_t)fixed % PAGE_BYTES == 0
            && ((uintptr_t)fixed >= old + PAGE_UP(before) || (uintptr_t)fixed + PAGE_UP(bytes) <= old)));
    if (!attached() || !pieces_exist() || !valid)
        return kernel(SYS_mremap, address, before, bytes, flags, fixed); /* the kernel says what is wrong */
    uint64_t signals;
    pieces_lock(&signals);
    struct piece *piece = piece_next(NULL, old, 1);
    long answer;
    if (piece)
        answer = remap(piece, old, PAGE_UP(before), PAGE_UP(bytes), flags, fixed);
    else {
        if (flags & MREMAP_FIXED)
            pieces_leave((uintptr_t)fixed, PAGE_UP(bytes));
        answer = piece_next(NULL, old, PAGE_UP(before)) ? -EFAULT : kernel(SYS_mremap, address, before, bytes, flags, fixed);
        if (flags & MREMAP_FIXED)
            pieces_left(!failed(answer));
    }
    pieces_unlock(&signals);
    return answer;
}

/* ------------------------------------------------------------------ made writable */

/* The hidden twin takes its place, still read-only; the kernel does that at once. */
static long wake(struct piece *piece) {
    const char *reason = "";
    if (!track_is_possible(&reason)) {
        line(LINE_MAP, "mprotect", -1, NULL, reason);
        return -EACCES;
    }
    long answer = kernel(SYS_mremap, piece->hidden, 0, piece->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, piece->address);
    if (failed(answer))
        return answer;
    kernel(SYS_munmap, piece->hidden, piece->bytes);
    piece->hidden = 0;
    answer = track(piece, piece->armed, &reason);
    if (answer) {
        piece->kind = PIECE_READ;
        piece->barred = true;
        line(LINE_MAP, "mprotect", -1, NULL, reason);
    }
    return answer;
}

long mapping_mprotect(void *address, size_t bytes, int protection) {
    uintptr_t start = (uintptr_t)address;
    if (!(protection & PROT_WRITE) || !attached() || !pieces_exist() || !is_valid(start, bytes))
        return kernel(SYS_mprotect, address, bytes, protection);
    uint64_t signals;
    bool sleeps = false, barred = false;
    long answer = 0;
    pieces_lock(&signals);
    FOR_PIECES (p, start, bytes) {
        sleeps = sleeps || p->kind == PIECE_SLEEPING;
        barred = barred || p->barred;
    }
    if (barred)
        answer = -EACCES;
    else if (sleeps && !pieces_cut(start, PAGE_UP(bytes)))
        answer = -ENOMEM;
    if (sleeps && !answer)
        FOR_PIECES (p, start, bytes)
            if (p->kind == PIECE_SLEEPING && !answer)
                answer = wake(p);
    if (!answer)
        answer = kernel(SYS_mprotect, address, bytes, protection);
    pieces_unlock(&signals);
    return answer;
}

/* ------------------------------------------------------------------ msync */

/* Whether replicated files are mapped there; *object: the one, or none: several, or it is not known which. */
static bool mapped_there(uintptr_t address, size_t bytes, struct lockstep_object *object) {
    bool found = false;
    uint64_t signals;
    *object = (struct lockstep_object){0};
    pieces_lock(&signals);
    FOR_PIECES (p, address, bytes) {
        bool same = p->object.inode == object->inode && p->object.generation == object->generation && p->object.root == object->root;
        if (found && !same)
            *object = (struct lockstep_object){0};
        if (!found)
            *object = p->object;
        found = true;
    }
    if (!found)
        found = pieces_are_incomplete();
    pieces_unlock(&signals);
    return found;
}

long captured_msync(void *address, size_t bytes, int flags) {
    struct lockstep_object object;
    struct capture capture;
    if (!(flags & MS_SYNC) || !attached() || !pieces_exist() || !is_valid((uintptr_t)address, bytes)
        || !mapped_there((uintptr_t)address, PAGE_UP(bytes), &object))
        return kernel(SYS_msync, address, bytes, flags);
    long answer = barrier_publish(&capture, object.inode ? &object : NULL, -1);
    return answer ? answer : barrier_wait(&capture, kernel(SYS_msync, address, bytes, flags));
}

EXPORTED int msync(void *address, size_t bytes, int flags) {
    pthread_testcancel();
    return (int)returned(captured_msync(address, bytes, flags));
}

/* ------------------------------------------------------------------ madvise */

static long punch(const struct piece *piece, uintptr_t start, uintptr_t end) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_ALLOCATE, 0, false);
    if (answer)
        return answer;
    capture.intent->object = piece->object;
    capture.intent->offset = piece->offset + (start - piece->address);
    capture.intent->length = end - start;
    capture.intent->argument = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_madvise, start, end - start, MADV_REMOVE);
    capture_end(&capture, answer);
    return answer;
}

static long advise(uintptr_t start, size_t bytes, int advice) {
    long answer = 0;
    if (advice == MADV_REMOVE) {
        /* Piece by piece, and what lies between them as it comes. */
        while (bytes && !answer) {
            struct piece *here = piece_next(NULL, start, 1);
            uintptr_t end = start + bytes;
            FOR_PIECES (p, start, bytes) {
                if (p != here && p->address > start && p->address < end)
                    end = p->address;
            }
            if (here && here->address + here->bytes < end)
                end = here->address + here->bytes;
            answer = here ? punch(here, start, end) : kernel(SYS_madvise, start, end - start, advice);
            bytes -= end - start;
            start = end;
        }
        return answer;
    }
    if (!pieces_cut(start, bytes))
        return -ENOMEM;
    answer = kernel(SYS_madvise, start, bytes, advice);
    FOR_PIECES (p, start, bytes) {
        if (answer || p->kind != PIECE_TRACKED)
            continue;
        p->kept_from_children = advice == MADV_DONTFORK;
        kernel(SYS_madvise, p->address, p->bytes, MADV_DONTFORK);
    }
    return answer;
}

long captured_madvise(void *address, size_t bytes, int advice) {
    uintptr_t start = (uintptr_t)address;
    if ((advice != MADV_REMOVE && advice != MADV_DONTFORK && advice != MADV_DOFORK) || !attached() || !pieces_exist()
        || !is_valid(start, bytes))
        return kernel(SYS_madvise, address, bytes, advice);
    uint64_t signals;
    pieces_lock(&signals);
    long answer = piece_next(NULL, start, PAGE_UP(bytes)) ? advise(start, PAGE_UP(bytes), advice)
                                                         : kernel(SYS_madvise, address, bytes, advice);
    pieces_unlock(&signals);
    return answer;
}

EXPORTED int madvise(void *address, size_t bytes, int advice) {
    return (int)returned(captured_madvise(address, bytes, advice));
}

/* Other pages of the file, by a new mapping that nobody registered: from the days of 32 bits. */
long refuse_remap_file_pages(void *address, size_t bytes) {
    if (!attached() || !pieces_exist())
        return 0;
    uint64_t signals;
    pieces_lock(&signals);
    bool found = piece_next(NULL, (uintptr_t)address, bytes) != NULL;
    pieces_unlock(&signals);
    if (found)
        line(LINE_MAP, "remap_file_pages", -1, NULL, "not replicated: refused");
    return found ? -EINVAL : 0;
}

EXPORTED int remap_file_pages(void *address, size_t bytes, int protection, size_t page, int flags) {
    long refusal = refuse_remap_file_pages(address, bytes);
    return (int)returned(refusal ? refusal : kernel(SYS_remap_file_pages, address, bytes, protection, page, flags));
}
