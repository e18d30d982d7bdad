/*
 * links.c: further names of a file (link, linkat), and mknod.
 *
 * What gets the name is held by an O_PATH descriptor, and linked by it: the object that was captured is the one that is
 * linked, whatever its old name means by then. A file outside that gets a name in the tree is border.c's.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------ link */

/* `source` has been opened by us, unless the caller gave it (AT_EMPTY_PATH: then the kernel asks for the privilege). */
static long link_call(int source, bool given, int directory, const char *name) {
    char link[DESCRIPTOR_PATH_BYTES];
    if (given)
        return kernel(SYS_linkat, source, "", directory, name, AT_EMPTY_PATH);
    descriptor_path(source, link);
    return kernel(SYS_linkat, AT_FDCWD, link, directory, name, AT_SYMLINK_FOLLOW);
}

static long link_tracked(const struct target *target, int source, bool given, const struct place *to) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_LINK, 0, false);
    if (answer)
        return answer;
    capture_target_name(&capture, to);
    capture.intent->object = target->object;
    capture.intent->mode = target->mode;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = link_call(source, given, to->parent, to->name);
    capture_end(&capture, answer);
    return answer;
}

static long link_source(int source, bool given, struct place *to, const char *target_path) {
    struct target target;
    if (to->verdict < 0)
        return to->verdict;
    long name = to->whole || to->slash ? OUTSIDE : place_verdict(to);
    /* A further name outside: by that one a replicated file is refused, as all are whose names may lie inside (identity.c). */
    if (name <= OUTSIDE)
        return name < 0 ? name : link_call(source, given, to->parent, to->whole ? target_path : to->name);
    long verdict = identify(source, &target);
    /* No name can come of these, and the kernel knows which error that is. */
    if (S_ISDIR(target.mode) || target.mode == 0)
        return link_call(source, given, to->parent, to->name);
    if (verdict == OUTSIDE)
        return border_link(source, &target, to);
    if (verdict < 0 || target.object.root != to->directory.object.root)
        return -EXDEV;
    return link_tracked(&target, source, given, to);
}

long captured_link(int directory, const char *path, int target_directory, const char *target_path, int flags) {
    if (!attached() || (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)))
        return kernel(SYS_linkat, directory, path, target_directory, target_path, flags);
    bool given = (flags & AT_EMPTY_PATH) && path && path[0] == 0 && directory != AT_FDCWD;
    long source = given ? directory : path_open(directory, path, flags & AT_SYMLINK_FOLLOW ? 0 : O_NOFOLLOW);
    if (source < 0 && !given)
        return source;
    struct place to;
    long answer = place_resolve(target_directory, target_path, false, &to);
    if (answer == 0) {
        answer = link_source((int)source, given, &to, target_path);
        place_release(&to);
    }
    if (!given)
        kernel(SYS_close, source);
    return answer;
}

/* ------------------------------------------------------------------ mknod */

static long mknod_tracked(const struct place *place, mode_t mode) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_CREATE, 0, false);
    if (answer)
        return answer;
    capture_name(&capture, place);
    capture.intent->mode = S_IFREG | (mode & 07777 & ~atomic_load_explicit(&process_umask, memory_order_relaxed));
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_mknodat, place->parent, place->name, mode, 0);
    if (answer == 0)
        outcome_of_name(&capture, place->parent, place->name, place->directory.object.root);
    capture_end(&capture, answer);
    return answer;
}

long captured_mknod(int directory, const char *path, mode_t mode, dev_t device) {
    struct place place;
    if (!attached())
        return kernel(SYS_mknodat, directory, path, mode, device);
    long answer = place_resolve(directory, path, false, &place);
    if (answer < 0)
        return answer;
    long verdict = place.whole || place.slash ? OUTSIDE : place_verdict(&place);
    if (verdict < 0)
        answer = verdict;
    else if (verdict == OUTSIDE)
        answer = kernel(SYS_mknodat, place.parent, place.whole ? path : place.name, mode, device);
    else if ((mode & S_IFMT) == 0 || S_ISREG(mode))
        answer = mknod_tracked(&place, mode);
    else if (!S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISCHR(mode) && !S_ISBLK(mode))
        answer = kernel(SYS_mknodat, place.parent, place.name, mode, device); /* EPERM, EINVAL */
    else {
        line(LINE_MKNOD, "mknod", -1, path, "FIFOs, sockets and devices are not replicated: refused");
        answer = -EOPNOTSUPP;
    }
    place_release(&place);
    return answer;
}

/* ------------------------------------------------------------------ wrappers */

EXPORTED int linkat(int directory, const char *path, int target_directory, const char *target_path, int flags) {
    return (int)returned(captured_link(directory, path, target_directory, target_path, flags));
}
EXPORTED int link(const char *path, const char *target) {
    return (int)returned(captured_link(AT_FDCWD, path, AT_FDCWD, target, 0));
}

EXPORTED int mknodat(int directory, const char *path, mode_t mode, dev_t device) {
    return (int)returned(captured_mknod(directory, path, mode, device));
}
EXPORTED int mknod(const char *path, mode_t mode, dev_t device) { return mknodat(AT_FDCWD, path, mode, device); }
EXPORTED int mkfifoat(int directory, const char *path, mode_t mode) {
    return mknodat(directory, path, mode | S_IFIFO, 0);
}
EXPORTED int mkfifo(const char *path, mode_t mode) { return mknodat(AT_FDCWD, path, mode | S_IFIFO, 0); }
/* What programs linked before glibc 2.33 call. */
int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
EXPORTED int __xmknod(int version, const char *path, mode_t mode, dev_t *device) {
    return version == 0 ? mknodat(AT_FDCWD, path, mode, *device) : (int)returned(-EINVAL);
}
int __xmknodat(int version, int directory, const char *path, mode_t mode, dev_t *device);
EXPORTED int __xmknodat(int version, int directory, const char *path, mode_t mode, dev_t *device) {
    return version == 0 ? mknodat(directory, path, mode, *device) : (int)returned(-EINVAL);
}
