/*
 * names.c: what changes directories: unlink, rmdir, rename, mkdir, symlink.
 *
 * Both directories of a rename are held by O_PATH descriptors, identified, and the kernel's call is made relative to
 * them. A rename across the border of the tree is border.c's; one into another root is answered with EXDEV.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------ unlink, rmdir */

static long remove_tracked(const struct place *place, const struct target *target, int flags) {
    struct capture capture;
    long answer = capture_begin(&capture, flags & AT_REMOVEDIR ? LOCKSTEP_KIND_RMDIR : LOCKSTEP_KIND_UNLINK, 0, false);
    if (answer)
        return answer;
    capture_name(&capture, place);
    capture.intent->object = target->object;
    capture.intent->mode = target->mode;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_unlinkat, place->parent, place->name, flags);
    capture_end(&capture, answer);
    return answer;
}

long captured_unlink(int directory, const char *path, int flags) {
    struct place place;
    if (!attached())
        return kernel(SYS_unlinkat, directory, path, flags);
    long answer = place_resolve(directory, path, false, &place);
    if (answer < 0)
        return answer;
    /* Directories are replicated whatever their name: exclusions count for files only. */
    long verdict = place.whole ? OUTSIDE : flags & AT_REMOVEDIR ? place.verdict : place_verdict(&place);
    struct target target;
    if (verdict < 0)
        answer = verdict;
    else if (verdict == OUTSIDE || (place.slash && !(flags & AT_REMOVEDIR)))
        answer = kernel(SYS_unlinkat, place.parent, place.whole ? path : place.name, flags);
    /* A name that is not there is answered from this look: by the time of the call it might be there, unseen. */
    else if ((answer = identify_name(place.parent, place.name, place.directory.object.root, &target)) == 0)
        answer = remove_tracked(&place, &target, flags);
    place_release(&place);
    return answer;
}

/* ------------------------------------------------------------------ rename */

static long rename_tracked(const struct place *from, const struct place *to, const struct target *target,
                           unsigned flags) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_RENAME, 0, false);
    if (answer)
        return answer;
    capture_name(&capture, from);
    capture_target_name(&capture, to);
    capture.intent->object = target->object;
    capture.intent->mode = target->mode;
    capture.intent->argument = flags;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_renameat2, from->parent, from->name, to->parent, to->name, flags);
    capture_end(&capture, answer);
    return answer;
}

static long rename_places(struct place *from, const char *path, struct place *to, const char *target_path,
                          unsigned flags) {
    if (from->verdict < 0 || to->verdict < 0)
        return from->verdict < 0 ? from->verdict : to->verdict;
    struct target target;
    long there = -ENOENT;
    if (!from->whole && !to->whole)
        there = identify_name(from->parent, from->name, from->directory.object.root, &target);
    bool anywhere = from->verdict == TRACKED || to->verdict == TRACKED;
    if (!anywhere || from->whole || to->whole)
        return kernel(SYS_renameat2, from->parent, from->whole ? path : from->name, to->parent,
                      to->whole ? target_path : to->name, flags);
    if (there < 0)
        return there; /* by the time of the call it might be there, and be moved unseen */
    /* Excluded names are outside, wherever they lie: they count for files only. */
    long a = S_ISDIR(target.mode) ? from->verdict : place_verdict(from);
    long b = S_ISDIR(target.mode) ? to->verdict : place_verdict(to);
    if (a < 0 || b < 0)
        return a < 0 ? a : b;
    if (a == OUTSIDE && b == OUTSIDE)
        return kernel(SYS_renameat2, from->parent, from->name, to->parent, to->name, flags);
    if (a == OUTSIDE)
        return border_enter(from, to, &target, flags);
    if (b == OUTSIDE)
        return border_leave(from, to, &target, flags);
    if (from->directory.object.root != to->directory.object.root)
        return -EXDEV;
    if (flags & RENAME_EXCHANGE && a == TRACKED && b == TRACKED) {
        struct target other;
        if ((there = identify_name(to->parent, to->name, to->directory.object.root, &other)) < 0)
            return there;
        /* Four processes that exchange directories in each other still end in trees that differ. */
        if (S_ISDIR(target.mode) || S_ISDIR(other.mode)) {
            line(LINE_RENAME, "renameat2", from->parent, NULL, "an exchange of directories is not replicated yet: refused");
            return -EOPNOTSUPP;
        }
        a = place_verdict(from);
        b = place_verdict(to);
        if (a < 0 || b < 0)
            return a < 0 ? a : b;
    }
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        || ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
        return kernel(SYS_renameat2, from->parent, from->name, to->parent, to->name, flags); /* EINVAL */
    if (flags & RENAME_WHITEOUT) {
        line(LINE_RENAME, "renameat2", from->parent, NULL, "a whiteout is a device, which is not replicated: refused");
        return -EOPNOTSUPP;
    }
    return rename_tracked(from, to, &target, flags);
}

long captured_rename(int directory, const char *path, int target_directory, const char *target_path, unsigned flags) {
    struct place from, to;
    if (!attached())
        return kernel(SYS_renameat2, directory, path, target_directory, target_path, flags);
    long answer = place_resolve(directory, path, false, &from);
    if (answer < 0)
        return answer;
    answer = place_resolve(target_directory, target_path, false, &to);
    if (answer == 0) {
        answer = rename_places(&from, path, &to, target_path, flags);
        place_release(&to);
    }
    place_release(&from);
    return answer;
}

/* ------------------------------------------------------------------ mkdir, symlink */

long captured_mkdir(int directory, const char *path, mode_t mode) {
    struct place place;
    if (!attached())
        return kernel(SYS_mkdirat, directory, path, mode);
    long answer = place_resolve(directory, path, false, &place);
    if (answer < 0)
        return answer;
    struct capture capture;
    if (place.whole || place.verdict == OUTSIDE)
        answer = kernel(SYS_mkdirat, place.parent, place.whole ? path : place.name, mode);
    else if (place.verdict < 0)
        answer = place.verdict;
    else if ((answer = capture_begin(&capture, LOCKSTEP_KIND_MKDIR, 0, false)) == 0) {
        capture_name(&capture, &place);
        capture.intent->mode = S_IFDIR | (mode & 07777 & ~atomic_load_explicit(&process_umask, memory_order_relaxed));
        if ((answer = capture_publish(&capture)) == 0) {
            answer = kernel(SYS_mkdirat, place.parent, place.name, mode);
            if (answer == 0) {
                place.name[place.name_bytes] = 0;
                outcome_of_name(&capture, place.parent, place.name, place.directory.object.root);
            }
            capture_end(&capture, answer);
        }
    }
    place_release(&place);
    return answer;
}

static long symlink_tracked(const char *target, size_t bytes, const struct place *place) {
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_SYMLINK, bytes, true);
    if (answer)
        return answer;
    capture_name(&capture, place);
    memcpy(capture.payload, target, bytes);
    capture.payload[bytes] = 0; /* room: a target is shorter than its block */
    capture.intent->mode = S_IFLNK | 0777;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_symlinkat, capture.payload, place->parent, place->name);
    if (answer == 0)
        outcome_of_name(&capture, place->parent, place->name, place->directory.object.root);
    capture_end(&capture, answer);
    return answer;
}

long captured_symlink(const char *target, int directory, const char *path) {
    struct place place;
    if (!attached())
        return kernel(SYS_symlinkat, target, directory, path);
    long bytes = payload_text(target, LOCKSTEP_LINK_TARGET_BYTES_MAX + 1);
    if (bytes < 0)
        return bytes;
    long answer = place_resolve(directory, path, false, &place);
    if (answer < 0)
        return answer;
    /* The kernel knows the error of an empty or endless target. */
    if (place.whole || place.slash || place.verdict == OUTSIDE || bytes == 0 || bytes > LOCKSTEP_LINK_TARGET_BYTES_MAX)
        answer = kernel(SYS_symlinkat, target, place.parent, place.whole ? path : place.name);
    else {
        long verdict = place_verdict(&place);
        answer = verdict == TRACKED ? symlink_tracked(target, (size_t)bytes, &place)
            : verdict < 0 ? verdict : kernel(SYS_symlinkat, target, place.parent, place.name);
    }
    place_release(&place);
    return answer;
}

/* ------------------------------------------------------------------ wrappers */

EXPORTED int unlink(const char *path) { return (int)returned(captured_unlink(AT_FDCWD, path, 0)); }
EXPORTED int unlinkat(int directory, const char *path, int flags) {
    return (int)returned(captured_unlink(directory, path, flags));
}
EXPORTED int rmdir(const char *path) { return (int)returned(captured_unlink(AT_FDCWD, path, AT_REMOVEDIR)); }

EXPORTED int remove(const char *path) {
    long answer = captured_unlink(AT_FDCWD, path, 0);
    if (answer == -EISDIR || answer == -EPERM) {
        long directory = captured_unlink(AT_FDCWD, path, AT_REMOVEDIR);
        answer = directory == -ENOTDIR ? answer : directory;
    }
    return (int)returned(answer);
}

EXPORTED int rename(const char *path, const char *target) {
    return (int)returned(captured_rename(AT_FDCWD, path, AT_FDCWD, target, 0));
}
EXPORTED int renameat(int directory, const char *path, int target_directory, const char *target) {
    return (int)returned(captured_rename(directory, path, target_directory, target, 0));
}
EXPORTED int renameat2(int directory, const char *path, int target_directory, const char *target, unsigned flags) {
    return (int)returned(captured_rename(directory, path, target_directory, target, flags));
}

EXPORTED int mkdir(const char *path, mode_t mode) { return (int)returned(captured_mkdir(AT_FDCWD, path, mode)); }
EXPORTED int mkdirat(int directory, const char *path, mode_t mode) {
    return (int)returned(captured_mkdir(directory, path, mode));
}

EXPORTED int symlink(const char *target, const char *path) {
    return (int)returned(captured_symlink(target, AT_FDCWD, path));
}
EXPORTED int symlinkat(const char *target, int directory, const char *path) {
    return (int)returned(captured_symlink(target, directory, path));
}
