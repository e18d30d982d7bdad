/*
 * metadata.c: size, permissions, owner and times.
 *
 *   by descriptor  identify(descriptor) -> intent -> the call
 *   by path        O_PATH descriptor -> identify -> intent -> the call through that descriptor
 *
 * An O_PATH descriptor pins the object between the look and the call, and closing it drops no locks.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

/* A captured change of one object whose bytes are not carried: fill in, publish, then `call_*`, then end. */
static long object_begin(struct capture *capture, enum lockstep_kind kind, const struct target *target, int descriptor) {
    long answer = capture_begin(capture, kind, 0, false);
    if (answer == 0) {
        capture->intent->object = target->object;
        capture->intent->descriptor = descriptor;
    }
    return answer;
}

/* ------------------------------------------------------------------ size */

long captured_ftruncate(int descriptor, off_t length) {
    struct target target;
    struct capture capture;
    long answer = length < 0 ? OUTSIDE : identify_regular(descriptor, &target);
    if (answer == OUTSIDE)
        return kernel(SYS_ftruncate, descriptor, length);
    if (answer < 0 || (answer = object_begin(&capture, LOCKSTEP_KIND_TRUNCATE, &target, descriptor)) != 0)
        return answer;
    capture.intent->length = (uint64_t)length;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_ftruncate, descriptor, length);
    capture_end(&capture, answer);
    return answer;
}

long captured_truncate(const char *path, off_t length) {
    if (!attached() || length < 0)
        return kernel(SYS_truncate, path, length);
    long descriptor = path_open(AT_FDCWD, path, 0);
    if (descriptor < 0)
        return descriptor;
    struct target target;
    struct capture capture;
    char link[DESCRIPTOR_PATH_BYTES];
    descriptor_path((int)descriptor, link);
    long answer = identify_regular((int)descriptor, &target);
    if (answer == OUTSIDE)
        answer = kernel(SYS_truncate, link, length);
    else if (answer == TRACKED
             && (answer = object_begin(&capture, LOCKSTEP_KIND_TRUNCATE, &target, -1)) == 0) {
        capture.intent->length = (uint64_t)length;
        if ((answer = capture_publish(&capture)) == 0) {
            answer = kernel(SYS_truncate, link, length);
            capture_end(&capture, answer);
        }
    }
    kernel(SYS_close, descriptor);
    return answer;
}

/* ------------------------------------------------------------------ mode, owner, times */

struct change {
    enum lockstep_kind kind;
    mode_t mode;
    uid_t owner;
    gid_t group;
    const void *times; /* struct timespec[2] or NULL */
};

/* The call itself, on an open descriptor or through an O_PATH one. */
static long change_call(const struct change *change, int descriptor, bool path_only) {
    char link[DESCRIPTOR_PATH_BYTES];
    switch (change->kind) {
    case LOCKSTEP_KIND_CHMOD:
        if (!path_only)
            return kernel(SYS_fchmod, descriptor, change->mode);
        descriptor_path(descriptor, link);
        return kernel(SYS_fchmodat, AT_FDCWD, link, change->mode);
    case LOCKSTEP_KIND_CHOWN:
        if (!path_only)
            return kernel(SYS_fchown, descriptor, change->owner, change->group);
        return kernel(SYS_fchownat, descriptor, "", change->owner, change->group, AT_EMPTY_PATH);
    default:
        if (!path_only)
            return kernel(SYS_utimensat, descriptor, 0, change->times, 0);
        return kernel(SYS_utimensat, descriptor, "", change->times, AT_EMPTY_PATH);
    }
}

static long change_descriptor(const struct change *change, int descriptor, bool path_only) {
    struct target target;
    struct capture capture;
    long answer = identify(descriptor, &target);
    if (answer == OUTSIDE)
        return change_call(change, descriptor, path_only);
    if (answer < 0 || (answer = object_begin(&capture, change->kind, &target, path_only ? -1 : descriptor)) != 0)
        return answer;
    capture.intent->mode = change->mode & 07777;
    capture.intent->owner = change->owner;
    capture.intent->group = change->group;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = change_call(change, descriptor, path_only);
    /* A change of owner may clear set-user-id: the outcome says what the mode is now. */
    if (answer == 0 && change->kind != LOCKSTEP_KIND_TIMES)
        outcome_of_descriptor(&capture, descriptor, target.object.root);
    capture_end(&capture, answer);
    return answer;
}

static long change_path(const struct change *change, int directory, const char *path, int flags) {
    long descriptor = path_open(directory, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    if (descriptor < 0)
        return descriptor;
    long answer = change_descriptor(change, (int)descriptor, true);
    kernel(SYS_close, descriptor);
    return answer;
}

long captured_fchmod(int descriptor, mode_t mode) {
    struct change change = {.kind = LOCKSTEP_KIND_CHMOD, .mode = mode};
    return change_descriptor(&change, descriptor, false);
}

long captured_chmod(int directory, const char *path, mode_t mode, int flags) {
    if (flags & ~AT_SYMLINK_NOFOLLOW)
        return -EINVAL;
    if (!attached() && flags == 0)
        return kernel(SYS_fchmodat, directory, path, mode);
    struct change change = {.kind = LOCKSTEP_KIND_CHMOD, .mode = mode};
    return change_path(&change, directory, path, flags);
}

long captured_fchown(int descriptor, uid_t owner, gid_t group) {
    struct change change = {.kind = LOCKSTEP_KIND_CHOWN, .owner = owner, .group = group};
    return change_descriptor(&change, descriptor, false);
}

long captured_chown(int directory, const char *path, uid_t owner, gid_t group, int flags) {
    if (!attached() || (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
        return kernel(SYS_fchownat, directory, path, owner, group, flags);
    struct change change = {.kind = LOCKSTEP_KIND_CHOWN, .owner = owner, .group = group};
    if ((flags & AT_EMPTY_PATH) && path && path[0] == 0 && directory != AT_FDCWD)
        return change_descriptor(&change, directory, true);
    return change_path(&change, directory, path, flags);
}

long captured_utimens(int directory, const char *path, const void *times, int flags) {
    if (!attached() || (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
        return kernel(SYS_utimensat, directory, path, times, flags);
    struct change change = {.kind = LOCKSTEP_KIND_TIMES, .times = times};
    if (!path)
        return change_descriptor(&change, directory, false);
    if ((flags & AT_EMPTY_PATH) && path[0] == 0 && directory != AT_FDCWD)
        return change_descriptor(&change, directory, true);
    return change_path(&change, directory, path, flags);
}

/* ------------------------------------------------------------------ wrappers */

EXPORTED int truncate(const char *path, off_t length) { return (int)returned(captured_truncate(path, length)); }
ALIAS(truncate64, truncate);
EXPORTED int ftruncate(int descriptor, off_t length) { return (int)returned(captured_ftruncate(descriptor, length)); }
ALIAS(ftruncate64, ftruncate);

EXPORTED int chmod(const char *path, mode_t mode) {
    return (int)returned(captured_chmod(AT_FDCWD, path, mode, 0));
}
EXPORTED int fchmod(int descriptor, mode_t mode) { return (int)returned(captured_fchmod(descriptor, mode)); }
EXPORTED int lchmod(const char *path, mode_t mode) {
    return (int)returned(captured_chmod(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW));
}
EXPORTED int fchmodat(int directory, const char *path, mode_t mode, int flags) {
    return (int)returned(captured_chmod(directory, path, mode, flags));
}

EXPORTED int chown(const char *path, uid_t owner, gid_t group) {
    return (int)returned(captured_chown(AT_FDCWD, path, owner, group, 0));
}
EXPORTED int lchown(const char *path, uid_t owner, gid_t group) {
    return (int)returned(captured_chown(AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW));
}
EXPORTED int fchown(int descriptor, uid_t owner, gid_t group) {
    return (int)returned(captured_fchown(descriptor, owner, group));
}
EXPORTED int fchownat(int directory, const char *path, uid_t owner, gid_t group, int flags) {
    return (int)returned(captured_chown(directory, path, owner, group, flags));
}

static long utimes_at(int directory, const char *path, const struct timeval times[2], int flags) {
    if (!times)
        return captured_utimens(directory, path, NULL, flags);
    if ((unsigned long)times[0].tv_usec >= 1000000 || (unsigned long)times[1].tv_usec >= 1000000)
        return -EINVAL;
    struct timespec converted[2] = {{times[0].tv_sec, times[0].tv_usec * 1000},
                                    {times[1].tv_sec, times[1].tv_usec * 1000}};
    return captured_utimens(directory, path, converted, flags);
}

EXPORTED int utime(const char *path, const struct utimbuf *times) {
    struct timespec converted[2] = {{0, 0}, {0, 0}};
    if (times) {
        converted[0].tv_sec = times->actime;
        converted[1].tv_sec = times->modtime;
    }
    return (int)returned(captured_utimens(AT_FDCWD, path, times ? converted : NULL, 0));
}
EXPORTED int utimes(const char *path, const struct timeval times[2]) {
    return (int)returned(utimes_at(AT_FDCWD, path, times, 0));
}
EXPORTED int lutimes(const char *path, const struct timeval times[2]) {
    return (int)returned(utimes_at(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}
EXPORTED int futimes(int descriptor, const struct timeval times[2]) {
    return (int)returned(utimes_at(descriptor, NULL, times, 0));
}
EXPORTED int futimesat(int directory, const char *path, const struct timeval times[2]) {
    return (int)returned(utimes_at(directory, path, times, 0));
}
EXPORTED int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
    if (!path)
        return (int)returned(-EINVAL);
    return (int)returned(captured_utimens(directory, path, times, flags));
}
EXPORTED int futimens(int descriptor, const struct timespec times[2]) {
    return (int)returned(captured_utimens(descriptor, NULL, times, 0));
}
