/*
 * mounts.c: a path as its file system knows it, for files that are reached through another mount than the tree's root.
 *
 *   mountinfo:  36 25 8:1 /srv/private/tmp /tmp rw ...        (id, parent, device, root within the file system, point)
 *   /tmp/x on mount 36  -->  /srv/private/tmp/x
 *
 * A service with a private /tmp has such mounts on the device of its data. Only looked at when a verdict is not cached.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <string.h>

/* One line of mountinfo, cut in place. */
struct mount {
    uint64_t identifier;
    const char *root, *point;
};

static char *field_end(char *text) {
    while (*text && *text != ' ')
        text++;
    return text;
}

static bool mount_parse(char *text, struct mount *mount) {
    mount->identifier = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        mount->identifier = mount->identifier * 10 + (uint64_t)(*text - '0');
    for (int skipped = 0; skipped < 3; skipped++) {
        text = field_end(text);
        if (!*text++)
            return false;
    }
    mount->root = text;
    text = field_end(text);
    if (!*text)
        return false;
    *text++ = 0;
    mount->point = text;
    *field_end(text) = 0;
    return strchr(mount->root, '\\') == NULL && strchr(mount->point, '\\') == NULL; /* escapes: not understood */
}

/* Replaces the mount point at the start of `path` by the mount's root. */
static long rebase(char *path, const struct mount *mount) {
    size_t root = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
    size_t point = strcmp(mount->point, "/") == 0 ? 0 : strlen(mount->point), bytes = strlen(path);
    if (bytes < point || memcmp(path, mount->point, point) != 0 || (path[point] != '/' && path[point] != 0)
        || bytes - point + root + 1 > PATH_BYTES)
        return -EIO;
    memmove(path + root, path + point, bytes - point + 1);
    memcpy(path, mount->root, root);
    return (long)(root + bytes - point);
}

/* Turns `path` (PATH_BYTES), seen on the mount, into the path within its file system: its length or -errno. */
long path_within_file_system(uint64_t mount_identifier, char *path) {
    long descriptor = kernel(SYS_openat, AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0);
    char *buffer = scratch_take();
    long answer = -EIO;
    size_t held = 0;
    while (descriptor >= 0 && buffer && answer == -EIO) {
        long got = kernel(SYS_read, descriptor, buffer + held, PATH_BYTES - 1 - held);
        if (got <= 0)
            break;
        held += (size_t)got;
        buffer[held] = 0;
        char *start = buffer, *end;
        while (answer == -EIO && (end = strchr(start, '\n')) != NULL) {
            struct mount mount;
            *end = 0;
            if (mount_parse(start, &mount) && mount.identifier == mount_identifier) {
                answer = rebase(path, &mount);
                break;
            }
            start = end + 1;
        }
        held -= (size_t)(start - buffer);
        memmove(buffer, start, held);
    }
    scratch_return(buffer);
    if (descriptor >= 0)
        kernel(SYS_close, descriptor);
    return answer;
}
