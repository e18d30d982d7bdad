/*
 * map.c: mappings of files of the tree.
 *
 *   private                    allowed: no store reaches the file
 *   shared, writable           refused (EACCES): stores are not seen; excluded names pass
 *   shared, read-only, from a descriptor open for writing
 *                              mapped from a read-only re-open, so that mprotect can't make it writable later
 *   an io_uring                refused (EPERM): the library alone maps it
 *
 * The re-open must not be closed in this process: closing any descriptor of a file drops the process's POSIX locks on
 * it. So it is done aside (aside.c).
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

struct reopened_map {
    char path[DESCRIPTOR_PATH_BYTES];
    void *address;
    size_t bytes;
    int protection, flags;
    off_t offset;
    long answer;
};

static void map_aside(void *argument) {
    struct reopened_map *map = argument;
    long descriptor = kernel(SYS_openat, AT_FDCWD, map->path, O_RDONLY | O_CLOEXEC, 0);
    map->answer = descriptor;
    if (descriptor >= 0)
        map->answer = kernel(SYS_mmap, map->address, map->bytes, map->protection, map->flags, descriptor, map->offset);
}

static long map_reopened(struct reopened_map *map, int descriptor) {
    descriptor_path(descriptor, map->path);
    return run_aside(map_aside, map, descriptor) ? map->answer : -EAGAIN;
}

static long map_captured(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    int type = flags & MAP_TYPE;
    if (!attached() || (flags & MAP_ANONYMOUS) || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
        return kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    struct target target;
    long verdict = identify_regular(descriptor, &target);
    if (verdict == OUTSIDE && !S_ISREG(target.mode) && uring_is_ring(descriptor))
        return -EPERM;
    if (verdict == OUTSIDE || verdict < 0)
        return verdict < 0 ? -EACCES : kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    if (type == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
        return -EOPNOTSUPP;
    long open_flags = kernel(SYS_fcntl, descriptor, F_GETFL);
    if ((open_flags & O_ACCMODE) != O_RDWR)
        return kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    if (protection & PROT_WRITE) {
        line(LINE_MAP, "mmap", descriptor, NULL, "a writable shared mapping of a replicated file: refused");
        return -EACCES;
    }
    struct reopened_map map = {.address = address, .bytes = bytes, .protection = protection, .flags = flags,
                               .offset = offset};
    return map_reopened(&map, descriptor);
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
