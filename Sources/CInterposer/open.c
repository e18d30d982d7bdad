/*
 * open.c: the open family.
 *
 * Only creation and truncation change anything. Both are taken apart, so that each is captured by what it is:
 *
 *   O_CREAT   parent directory -> replicated? -> exists: opened without O_CREAT
 *                                             -> not there: CREATE intent, open with O_EXCL; EEXIST: from the start
 *   O_TRUNC   opened without it; then TRUNCATE intent and truncation of that very file
 *
 * A dangling symbolic link as the last name is followed by hand, up to 40 times, as the kernel would.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define CHANGING (O_CREAT | O_TRUNC)
#define ROUNDS_MAX 40

/* Its number means a new file from here on. */
static long opened(long descriptor) {
    if (descriptor >= 0)
        verdict_forget((int)descriptor);
    return descriptor;
}

/* The rest of an open whose flags held O_CREAT or O_TRUNC, on the descriptor opened without them. */
static long finish_existing(long descriptor, int flags) {
    if (descriptor < 0)
        return descriptor;
    struct target target = {.mode = 0};
    long answer = identify((int)descriptor, &target);
    if (answer >= 0 && (flags & CHANGING) && S_ISDIR(target.mode))
        answer = -EISDIR;
    else if ((flags & O_TRUNC) && S_ISREG(target.mode) && (answer >= 0)) {
        if ((flags & O_ACCMODE) != O_RDONLY)
            answer = captured_ftruncate((int)descriptor, 0);
        else {
            char path[DESCRIPTOR_PATH_BYTES];
            descriptor_path((int)descriptor, path);
            answer = captured_truncate(path, 0);
        }
    } else if (!S_ISREG(target.mode) || !(flags & O_TRUNC))
        answer = 0;
    if (answer < 0) {
        kernel(SYS_close, descriptor);
        return answer;
    }
    return descriptor;
}

/* Opens what may block (a FIFO) as the cancellation point that it is in libc. */
static long open_plain(int directory, const char *path, int flags, mode_t mode) {
    if (!attached())
        return kernel(SYS_openat, directory, path, flags, mode);
    int before;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    long answer = opened(kernel(SYS_openat, directory, path, flags, mode));
    pthread_setcanceltype(before, NULL);
    return answer;
}

static long create_tracked(const struct place *place, int flags, mode_t mode) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_CREATE, 0, false);
    if (answer)
        return answer;
    capture_name(&capture, place);
    capture.intent->mode = S_IFREG | (mode & 07777 & ~atomic_load_explicit(&process_umask, memory_order_relaxed));
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    long descriptor = opened(kernel(SYS_openat, place->parent, place->name, (flags & ~O_TRUNC) | O_CREAT | O_EXCL, mode));
    if (descriptor >= 0)
        outcome_of_descriptor(&capture, (int)descriptor, place->directory.object.root);
    capture_end(&capture, descriptor < 0 ? descriptor : 0);
    return descriptor;
}

/* The target of a symbolic link: its length, 0 when the name is none, or -errno. */
static long link_target(const struct place *place, char *target) {
    long bytes = kernel(SYS_readlinkat, place->parent, place->name, target, PATH_BYTES - 1, 0, 0);
    if (bytes == -EINVAL || bytes == -ENOENT)
        return 0;
    if (bytes > 0)
        target[bytes] = 0;
    return bytes;
}

/* One look at a place: the descriptor, an error, or -EAGAIN with `next` (a link's target) to be looked at. */
static long create_at(const struct place *place, long verdict, int flags, mode_t mode, char *next) {
    const bool follow = !(flags & (O_EXCL | O_NOFOLLOW));
    long answer;
    next[0] = 0;
    if (verdict == OUTSIDE) {
        /* A name outside may mean a file inside: a second name, or what is mounted there. Truncation looks at the file itself. */
        answer = open_plain(place->parent, place->name, (flags & ~O_TRUNC) | (follow ? O_NOFOLLOW : 0), mode);
        if (answer != -ELOOP || !follow)
            return flags & O_TRUNC ? finish_existing(answer, flags & ~O_CREAT) : answer;
    }
    if (!(flags & O_EXCL)) {
        answer = open_plain(place->parent, place->name, flags & ~CHANGING, 0);
        if (answer != -ENOENT)
            return finish_existing(answer, flags);
        answer = link_target(place, next);
        if (answer < 0)
            return answer;
        if (answer > 0)
            return flags & O_NOFOLLOW ? -ELOOP : -EAGAIN;
    }
    if (verdict == OUTSIDE)
        return -EAGAIN; /* the link has gone meanwhile */
    answer = create_tracked(place, flags, mode);
    return answer == -EEXIST && !(flags & O_EXCL) ? -EAGAIN : answer;
}

static long open_creating(int directory, const char *path, int flags, mode_t mode) {
    struct place place;
    long answer = place_resolve(directory, path, true, &place);
    if (answer < 0)
        return answer;
    char *next = scratch_take();
    if (!next)
        answer = -ENOMEM;
    for (int round = 0; answer == 0; round++) {
        /* "dir/", "." and the like: nothing can be created, the kernel knows which error that is. */
        if (place.whole || place.slash) {
            answer = opened(kernel(SYS_openat, place.parent, place.whole ? path : place.name, flags & ~O_TRUNC, mode));
            break;
        }
        long verdict = place_verdict(&place);
        answer = verdict < 0 ? verdict : create_at(&place, verdict, flags, mode, next);
        if (answer != -EAGAIN)
            break;
        answer = round < ROUNDS_MAX ? 0 : -ELOOP;
        if (answer == 0 && next[0]) {
            struct place before = place;
            answer = place_resolve(before.parent, next, true, &place);
            path = next;
            if (answer == 0 && place.parent == before.parent)
                place.owned = before.owned; /* the link points into its own directory */
            else
                place_release(&before);
        }
    }
    scratch_return(next);
    place_release(&place);
    return answer;
}

/* A file without a name, which may be linked into the tree later: known from its creation on, by its identity alone. */
static long open_temporary(int directory, const char *path, int flags, mode_t mode) {
    long place = moved_high(path_open(directory, path, O_DIRECTORY | (flags & O_NOFOLLOW)));
    if (place < 0)
        return opened(kernel(SYS_openat, directory, path, flags, mode));
    struct target target;
    struct capture capture;
    long answer = identify((int)place, &target);
    if (answer == OUTSIDE)
        answer = opened(kernel(SYS_openat, place, ".", flags, mode));
    else if (answer == TRACKED && (answer = capture_begin(&capture, LOCKSTEP_KIND_CREATE, 0, false)) == 0) {
        capture.intent->parent = target.object;
        capture.intent->mode = S_IFREG | (mode & 07777 & ~atomic_load_explicit(&process_umask, memory_order_relaxed));
        if ((answer = capture_publish(&capture)) == 0) {
            answer = opened(kernel(SYS_openat, place, ".", flags, mode));
            if (answer >= 0)
                outcome_of_descriptor(&capture, (int)answer, target.object.root);
            capture_end(&capture, answer < 0 ? answer : 0);
        }
    }
    kernel(SYS_close, place);
    return answer;
}

long captured_open(int directory, const char *path, int flags, mode_t mode) {
    if (!attached() || (flags & O_PATH))
        return opened(kernel(SYS_openat, directory, path, flags, mode));
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return open_temporary(directory, path, flags, mode);
    if ((flags & O_CREAT) && (flags & O_DIRECTORY))
        return -EINVAL;
    if (flags & O_CREAT)
        return open_creating(directory, path, flags, mode);
    long descriptor = open_plain(directory, path, flags & ~O_TRUNC, mode);
    return flags & O_TRUNC ? finish_existing(descriptor, flags) : descriptor;
}

long captured_openat2(int directory, const char *path, void *how_bytes, size_t bytes) {
    struct open_how *how = how_bytes;
    if (!attached() || bytes < sizeof *how)
        return opened(kernel(SYS_openat2, directory, path, how, bytes));
    if (!payload_readable(how, sizeof *how))
        return -EFAULT;
    if (!(how->flags & (CHANGING | (O_TMPFILE & ~O_DIRECTORY))) || (how->flags & O_PATH))
        return opened(kernel(SYS_openat2, directory, path, how, bytes));
    if (how->resolve == 0 && (how->flags >> 32) == 0 && bytes == sizeof *how)
        return captured_open(directory, path, (int)how->flags, (mode_t)how->mode);
    /* With RESOLVE flags only what exists can be opened; a creation can't be taken apart without losing them. */
    struct open_how existing = *how;
    if (!(how->flags & O_EXCL) && (how->flags & O_TMPFILE) != O_TMPFILE) {
        existing.flags &= ~(uint64_t)CHANGING;
        existing.mode = 0;
        long descriptor = opened(kernel(SYS_openat2, directory, path, &existing, sizeof existing));
        if (descriptor != -ENOENT)
            return finish_existing(descriptor, (int)how->flags);
    }
    line(LINE_OPEN, "openat2", -1, path, "creation with RESOLVE flags is not captured: refused");
    return -EOPNOTSUPP;
}

long captured_open_by_handle(int mount, void *handle, int flags) {
    long descriptor = opened(kernel(SYS_open_by_handle_at, mount, handle, attached() ? flags & ~O_TRUNC : flags));
    return attached() && (flags & O_TRUNC) ? finish_existing(descriptor, flags) : descriptor;
}

/* ------------------------------------------------------------------ wrappers */

static mode_t mode_argument(int flags, va_list arguments) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

EXPORTED int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_argument(flags, arguments);
    va_end(arguments);
    pthread_testcancel();
    return (int)returned(captured_open(AT_FDCWD, path, flags, mode));
}
ALIAS(open64, open);
ALIAS(__open, open);
ALIAS(__open64, open);

EXPORTED int openat(int directory, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_argument(flags, arguments);
    va_end(arguments);
    pthread_testcancel();
    return (int)returned(captured_open(directory, path, flags, mode));
}
ALIAS(openat64, openat);

EXPORTED int creat(const char *path, mode_t mode) {
    pthread_testcancel();
    return (int)returned(captured_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode));
}
ALIAS(creat64, creat);

/* What _FORTIFY_SOURCE makes of an open without a mode. */
int __open_2(const char *path, int flags);
EXPORTED int __open_2(const char *path, int flags) { return open(path, flags, 0); }
ALIAS(__open64_2, __open_2);
int __openat_2(int directory, const char *path, int flags);
EXPORTED int __openat_2(int directory, const char *path, int flags) { return openat(directory, path, flags, 0); }
ALIAS(__openat64_2, __openat_2);

EXPORTED int open_by_handle_at(int mount, struct file_handle *handle, int flags) {
    pthread_testcancel();
    return (int)returned(captured_open_by_handle(mount, handle, flags));
}

/* ------------------------------------------------------------------ numbers that come to mean another open file */

long passed_dup(int descriptor) { return opened(kernel(SYS_dup, descriptor)); }
long passed_dup2(int descriptor, int number) { return opened(kernel(SYS_dup2, descriptor, number)); }
long passed_dup3(int descriptor, int number, int flags) { return opened(kernel(SYS_dup3, descriptor, number, flags)); }

EXPORTED int dup(int descriptor) { return (int)returned(passed_dup(descriptor)); }
EXPORTED int dup2(int descriptor, int number) { return (int)returned(passed_dup2(descriptor, number)); }
ALIAS(__dup2, dup2);
EXPORTED int dup3(int descriptor, int number, int flags) { return (int)returned(passed_dup3(descriptor, number, flags)); }

EXPORTED mode_t umask(mode_t mask) {
    atomic_store_explicit(&process_umask, mask & 0777, memory_order_relaxed);
    return (mode_t)kernel(SYS_umask, mask);
}
