/*
 * attributes.c: extended attributes, access control lists among them.
 *
 *   by descriptor  identify(descriptor) -> intent with name and value -> the call, with the captured copy
 *   by path        the same through an O_PATH descriptor, by its name in /proc
 *
 * The outcome says what the mode is now: an access control list changes it.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* One call. `removed`: of removexattr; a value of no bytes is a value too. */
struct attribute {
    const char *name;
    const void *value;
    size_t bytes;
    int flags;
    bool removed;
};

static long call(const struct attribute *a, int descriptor, bool path_only, const void *value) {
    char path[DESCRIPTOR_PATH_BYTES];
    if (!path_only)
        return a->removed ? kernel(SYS_fremovexattr, descriptor, a->name)
                          : kernel(SYS_fsetxattr, descriptor, a->name, value, a->bytes, a->flags);
    descriptor_path(descriptor, path);
    return a->removed ? kernel(SYS_removexattr, path, a->name)
                      : kernel(SYS_setxattr, path, a->name, value, a->bytes, a->flags);
}

/* A name or value that the kernel refuses by itself. */
static bool is_refused(const struct attribute *a) {
    long bytes = payload_text(a->name, XATTR_NAME_MAX + 1);
    return bytes <= 0 || bytes > XATTR_NAME_MAX || (a->flags & ~(XATTR_CREATE | XATTR_REPLACE)) || a->bytes > XATTR_SIZE_MAX
        || (a->bytes > 0 && !payload_readable(a->value, a->bytes));
}

static long change(const struct attribute *a, int descriptor, bool path_only) {
    struct target target;
    struct capture capture;
    long answer = identify(descriptor, &target);
    if (answer == OUTSIDE || (answer == TRACKED && is_refused(a)))
        return call(a, descriptor, path_only, a->value);
    if (answer < 0
        || (answer = capture_begin(&capture, a->removed ? LOCKSTEP_KIND_REMOVEXATTR : LOCKSTEP_KIND_SETXATTR, a->bytes, true)) != 0)
        return answer;
    struct lockstep_intent *intent = capture.intent;
    intent->object = target.object;
    intent->mode = target.mode;
    intent->descriptor = path_only ? -1 : descriptor;
    intent->argument = (uint64_t)a->flags;
    intent->name_bytes = (uint16_t)strnlen(a->name, XATTR_NAME_MAX);
    memcpy(capture.arena->inlines[capture.index], a->name, intent->name_bytes);
    if (a->bytes)
        memcpy(capture.payload, a->value, a->bytes);
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = call(a, descriptor, path_only, a->bytes ? capture.payload : a->value);
    if (answer == 0)
        outcome_of_descriptor(&capture, descriptor, target.object.root);
    capture_end(&capture, answer);
    return answer;
}

static long change_path(const struct attribute *a, const char *path, int flags) {
    long descriptor = path_open(AT_FDCWD, path, flags);
    if (descriptor < 0)
        return descriptor;
    long answer = change(a, (int)descriptor, true);
    kernel(SYS_close, descriptor);
    return answer;
}

long captured_setxattr(const char *path, const char *name, const void *value, size_t bytes, int flags, int open_flags) {
    struct attribute a = {.name = name, .value = value, .bytes = bytes, .flags = flags};
    if (!attached())
        return kernel(open_flags & O_NOFOLLOW ? SYS_lsetxattr : SYS_setxattr, path, name, value, bytes, flags);
    return change_path(&a, path, open_flags);
}

long captured_fsetxattr(int descriptor, const char *name, const void *value, size_t bytes, int flags) {
    struct attribute a = {.name = name, .value = value, .bytes = bytes, .flags = flags};
    return change(&a, descriptor, false);
}

long captured_removexattr(const char *path, const char *name, int open_flags) {
    struct attribute a = {.name = name, .removed = true};
    if (!attached())
        return kernel(open_flags & O_NOFOLLOW ? SYS_lremovexattr : SYS_removexattr, path, name);
    return change_path(&a, path, open_flags);
}

long captured_fremovexattr(int descriptor, const char *name) {
    struct attribute a = {.name = name, .removed = true};
    return change(&a, descriptor, false);
}

/* ------------------------------------------------------------------ wrappers */

EXPORTED int setxattr(const char *path, const char *name, const void *value, size_t bytes, int flags) {
    return (int)returned(captured_setxattr(path, name, value, bytes, flags, 0));
}
EXPORTED int lsetxattr(const char *path, const char *name, const void *value, size_t bytes, int flags) {
    return (int)returned(captured_setxattr(path, name, value, bytes, flags, O_NOFOLLOW));
}
EXPORTED int fsetxattr(int descriptor, const char *name, const void *value, size_t bytes, int flags) {
    return (int)returned(captured_fsetxattr(descriptor, name, value, bytes, flags));
}
EXPORTED int removexattr(const char *path, const char *name) {
    return (int)returned(captured_removexattr(path, name, 0));
}
EXPORTED int lremovexattr(const char *path, const char *name) {
    return (int)returned(captured_removexattr(path, name, O_NOFOLLOW));
}
EXPORTED int fremovexattr(int descriptor, const char *name) {
    return (int)returned(captured_fremovexattr(descriptor, name));
}
