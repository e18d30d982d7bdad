/*
 * paths.c: a path as a place: the directory that holds it, by an O_PATH descriptor, and the last name.
 *
 *   "../data/base/5/" --> parent = O_PATH("../data/base"), name = "5/", name_bytes = 1
 *
 * The verdict is made about that very descriptor, and the kernel's call is made relative to it: nothing that is
 * renamed or relinked meanwhile can lead the call to another directory than the one that was captured.
 */
#define _GNU_SOURCE
#include "process_page.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* ------------------------------------------------------------------ scratch */

#define SCRATCH_BUFFERS 16u
static char scratch[SCRATCH_BUFFERS][PATH_BYTES];

char *scratch_take(void) {
    uint32_t taken = atomic_load_explicit(&process_page->scratch_taken, memory_order_relaxed);
    while ((~taken & ((1u << SCRATCH_BUFFERS) - 1)) != 0) {
        unsigned index = (unsigned)__builtin_ctz(~taken);
        if (atomic_compare_exchange_weak(&process_page->scratch_taken, &taken, taken | 1u << index))
            return scratch[index];
    }
    long page = kernel(SYS_mmap, 0, PATH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page < 0 && page > -4096 ? NULL : (char *)page;
}

void scratch_return(char *buffer) {
    if (!buffer)
        return;
    if (buffer >= scratch[0] && buffer < scratch[SCRATCH_BUFFERS])
        atomic_fetch_and(&process_page->scratch_taken, ~(1u << (unsigned)((buffer - scratch[0]) / PATH_BYTES)));
    else
        kernel(SYS_munmap, buffer, PATH_BYTES);
}

/* ------------------------------------------------------------------ places */

long path_open(int directory, const char *path, int flags) {
    return kernel(SYS_openat, directory, path, O_PATH | O_CLOEXEC | flags, 0);
}

long moved_high(long descriptor) {
    static const int floors[] = {400, 100, 20};
    for (unsigned i = 0; descriptor >= 0 && descriptor < 20 && i < 3; i++) {
        long high = kernel(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, floors[i]);
        if (high >= 0) {
            kernel(SYS_close, descriptor);
            return high;
        }
    }
    return descriptor;
}

long place_resolve(int directory, const char *path, bool high, struct place *place) {
    place->owned = false;
    place->whole = false;
    memset(&place->directory, 0, sizeof place->directory);
    place->parent = directory;
    long length = payload_text(path, 4096);
    if (length < 0)
        return length;
    size_t bytes = (size_t)length;
    if (bytes == 0)
        return -ENOENT;
    if (bytes == 4096)
        return -ENAMETOOLONG;
    size_t end = bytes;
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t name_bytes = end - start;
    place->slash = end < bytes;
    if (name_bytes == 0 || (name_bytes <= 2 && memcmp(path + start, "..", name_bytes) == 0)) {
        place->whole = true;
        place->verdict = OUTSIDE;
        return 0;
    }
    if (name_bytes > LOCKSTEP_NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    memcpy(place->name, path + start, name_bytes);
    place->name_bytes = (uint16_t)name_bytes;
    place->name[name_bytes] = place->slash ? '/' : 0;
    place->name[name_bytes + 1] = 0;

    if (start > 0 || directory == AT_FDCWD) {
        long parent;
        if (start == 0)
            parent = path_open(AT_FDCWD, ".", O_DIRECTORY);
        else {
            char *copy = scratch_take();
            if (!copy)
                return -ENOMEM;
            memcpy(copy, path, start);
            copy[start] = 0;
            parent = path_open(directory, copy, O_DIRECTORY);
            scratch_return(copy);
        }
        if (high)
            parent = moved_high(parent);
        if (parent < 0)
            return parent;
        place->parent = (int)parent;
        place->owned = true;
    }
    place->verdict = identify(place->parent, &place->directory);
    return 0;
}

void place_release(struct place *place) {
    if (place->owned)
        kernel(SYS_close, place->parent);
    place->owned = false;
}

long place_verdict(struct place *place) {
    if (place->verdict != TRACKED)
        return place->verdict;
    long excluded = excluded_name(place->parent, place->name, place->name_bytes);
    return excluded < 0 ? excluded : excluded ? OUTSIDE : TRACKED;
}
