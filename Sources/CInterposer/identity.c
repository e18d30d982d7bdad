/*
 * identity.c: in the tree or not.
 *
 *   descriptor --known number, same generation---------------------------------------> verdict   (verdicts.c)
 *              --statx(INO, TYPE)--> device of no root ------------------------------> outside
 *              --generation--------> known (inode, generation) --------------------> verdict   (verdicts.c)
 *                                     | not known
 *                                     v
 *                  path in /proc/thread-self/fd, on the mount of the root --prefix, exclusions--> verdict
 *
 * Descriptors come and go by routes that no library sees: the kernel is asked at each call which file it is. An identity
 * keeps its verdict until something crosses the border of a tree (border.c). statx is never asked for times: that would
 * make the next write of an ext4 inode dirty it (multigrain timestamps).
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ------------------------------------------------------------------ by path */

void descriptor_path(int descriptor, char *buffer) {
    memcpy(buffer, "/proc/thread-self/fd/", 21);
    char digits[12];
    int count = 0;
    unsigned rest = (unsigned)descriptor;
    do
        digits[count++] = (char)('0' + rest % 10);
    while (rest /= 10);
    for (int i = 0; i < count; i++)
        buffer[21 + i] = digits[count - 1 - i];
    buffer[21 + count] = 0;
}

long path_of_descriptor(int descriptor, char *buffer) {
    char link[DESCRIPTOR_PATH_BYTES];
    descriptor_path(descriptor, link);
    long bytes = kernel(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_BYTES - 1);
    if (bytes < 0)
        return bytes;
    buffer[bytes] = 0;
    return bytes;
}

static bool ends_with(const char *path, size_t bytes, const char *suffix) {
    size_t suffix_bytes = strlen(suffix);
    return suffix_bytes > 0 && suffix_bytes <= bytes && memcmp(path + bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

static bool excluded_path(const char *path, size_t bytes) {
    for (uint32_t i = 0; i < control->exclusion_count; i++)
        if (ends_with(path, bytes, control->exclusions[i]))
            return true;
    return false;
}

long excluded_name(int parent, const char *name, size_t name_bytes) {
    bool path_needed = false;
    for (uint32_t i = 0; i < control->exclusion_count; i++) {
        const char *suffix = control->exclusions[i];
        if (ends_with(name, name_bytes, suffix)
            || (suffix[0] == '/' && strlen(suffix) == name_bytes + 1 && memcmp(suffix + 1, name, name_bytes) == 0))
            return 1;
        if (strlen(suffix) > name_bytes + 1)
            path_needed = true;
    }
    if (!path_needed)
        return 0;
    char *path = scratch_take();
    if (!path)
        return -EIO;
    long bytes = path_of_descriptor(parent, path);
    if (bytes > 0 && (size_t)bytes + name_bytes + 1 < PATH_BYTES) {
        path[bytes] = '/';
        memcpy(path + bytes + 1, name, name_bytes);
        bytes = excluded_path(path, (size_t)bytes + 1 + name_bytes);
    } else
        bytes = -EIO;
    scratch_return(path);
    return bytes;
}

static bool below(const char *path, size_t bytes, const char *root) {
    size_t root_bytes = strlen(root);
    return bytes >= root_bytes && memcmp(path, root, root_bytes) == 0
        && (bytes == root_bytes || path[root_bytes] == '/');
}

/* Seen through another mount than the root: outside if the file system says so; inside, the path would not tell the
   names and exclusions that the tree knows, and it is refused. */
static long verdict_by_mount(const char *path, size_t bytes, uint64_t mount, const char *root, uint64_t root_mount) {
    char *file = scratch_take(), *tree = scratch_take();
    long verdict = -EIO;
    if (file && tree) {
        memcpy(file, path, bytes);
        file[bytes] = 0;
        strcpy(tree, root);
        long file_bytes = path_within_file_system(mount, file);
        if (file_bytes > 0 && path_within_file_system(root_mount, tree) > 0 && !below(file, (size_t)file_bytes, tree))
            verdict = OUTSIDE;
    }
    scratch_return(file);
    scratch_return(tree);
    return verdict;
}

#define REMOVED " (deleted)" /* what the kernel adds to the path of a name that is gone */

static bool is_named(const char *path, uint64_t device, uint64_t inode) {
    struct statx seen;
    return kernel(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO, &seen) == 0 && seen.stx_ino == inode
        && makedev(seen.stx_dev_major, seen.stx_dev_minor) == device;
}

/* The verdict by path. A path means something only if the root is seen at its own path here (not after chroot), on
   the same mount as the file: else the file system's own paths decide, or the call is refused. */
static long verdict_by_path(int descriptor, uint64_t device, const struct statx *status, uint32_t *root) {
    char *path = scratch_take();
    if (!path)
        return -EIO;
    long verdict = OUTSIDE, bytes = path_of_descriptor(descriptor, path);
    if (bytes <= 0 || path[0] != '/')
        verdict = -EIO;
    bool removed = verdict == OUTSIDE && ends_with(path, (size_t)bytes, REMOVED) && !is_named(path, device, status->stx_ino);
    uint32_t names = status->stx_nlink;
    if (removed) {
        bytes -= sizeof REMOVED - 1;
        struct statx now; /* it may have been removed since the status was read */
        if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_NLINK, &now) == 0)
            names = now.stx_nlink;
    }
    for (uint32_t i = 0; verdict == OUTSIDE && i < control->root_count; i++) {
        const struct lockstep_root *r = &control->roots[i];
        if (r->device != device)
            continue;
        struct statx seen;
        if (kernel(SYS_statx, AT_FDCWD, r->path, 0, STATX_INO | STATX_MNT_ID, &seen) != 0
            || seen.stx_ino != r->object.inode || makedev(seen.stx_dev_major, seen.stx_dev_minor) != device)
            verdict = -EIO;
        else if (seen.stx_mnt_id != status->stx_mnt_id)
            verdict = verdict_by_mount(path, (size_t)bytes, status->stx_mnt_id, r->path, seen.stx_mnt_id);
        else if (below(path, (size_t)bytes, r->path)) {
            *root = i;
            verdict = !S_ISDIR(status->stx_mode) && excluded_path(path, (size_t)bytes) ? OUTSIDE : TRACKED;
            break;
        }
    }
    /* Its other names may lie anywhere; after the one by which it was opened is gone, its only one too. */
    if (verdict == OUTSIDE && S_ISREG(status->stx_mode) && names > (removed ? 0 : 1))
        verdict = below(path, (size_t)bytes, control->roots[*root].path) ? OUTSIDE : -EMLINK;
    scratch_return(path);
    return verdict;
}

/* ------------------------------------------------------------------ verdicts */

bool path_in_tree(const char *path, size_t bytes) {
    for (uint32_t i = 0; i < control->root_count; i++)
        if (below(path, bytes, control->roots[i].path))
            return true;
    return false;
}

static long decide(int descriptor, struct target *target, uint32_t first, uint64_t border) {
    struct statx status;
    long answer = kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_NLINK | STATX_MNT_ID,
                         &status);
    if (answer < 0)
        return -EIO;
    uint32_t root = first;
    long verdict = verdict_by_path(descriptor, target->device, &status, &root);
    if (verdict == -EMLINK) {
        line(LINE_IDENTITY, "change", descriptor, NULL,
             "a file with several names, one of which may lie in the replicated tree: refused");
        return -EIO;
    }
    if (verdict < 0) {
        line(LINE_IDENTITY, "change", descriptor, NULL,
             "not known whether this is in the replicated tree (another mount, root or no /proc): refused");
        return -EIO;
    }
    target->object.root = root;
    verdict_remember(target, first, border, verdict);
    return verdict;
}

static long identify_kind(int descriptor, struct target *target, bool regular_only) {
    long verdict;
    if (!attached())
        return OUTSIDE;
    /* Read before any look: what crosses meanwhile voids the verdict at once. */
    uint64_t border = atomic_load_explicit(&ring->border, memory_order_relaxed);
    if (verdict_of_descriptor(descriptor, target, border, &verdict))
        return verdict;
    struct statx status;
    if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO, &status) != 0) {
        target->mode = 0;
        target->device = 0;
        return OUTSIDE;
    }
    target->mode = status.stx_mode;
    target->device = makedev(status.stx_dev_major, status.stx_dev_minor);
    if (regular_only && !S_ISREG(status.stx_mode))
        return OUTSIDE;
    uint32_t first = 0;
    while (first < control->root_count && control->roots[first].device != target->device)
        first++;
    if (first == control->root_count)
        return OUTSIDE;
    target->object.inode = status.stx_ino;
    if (generation_of_descriptor(descriptor, status.stx_mode, &target->object.generation) < 0)
        return -EIO;
    if (!verdict_of_identity(target, first, border, &verdict))
        verdict = decide(descriptor, target, first, border);
    if (verdict >= 0)
        verdict_remember_descriptor(descriptor, target, first, border, verdict);
    return verdict;
}

long identify(int descriptor, struct target *target) { return identify_kind(descriptor, target, false); }
long identify_regular(int descriptor, struct target *target) { return identify_kind(descriptor, target, true); }

/* For the guard's agents, which are covered programs themselves and get each descriptor past the library. */
int lockstep_verdict(int descriptor);
EXPORTED int lockstep_verdict(int descriptor) {
    struct target target;
    verdict_forget(descriptor);
    return attached() ? (int)identify(descriptor, &target) : -ENOTCONN;
}

/* What a name means, by a descriptor: of two looks by name, the second could be at another file, which got the number of
   the first (ext4 gives it away at once), and so at a generation that is not that of what had this type. */
static long look_at_name(int parent, const char *name, unsigned mask, struct statx *status, uint32_t *generation) {
    long descriptor = kernel(SYS_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0)
        return descriptor;
    long answer = kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, mask, status);
    FAULT_POINT("looked");
    if (answer == 0)
        answer = generation_of_handle((int)descriptor, generation);
    kernel(SYS_close, descriptor);
    return answer;
}

long identify_name(int parent, const char *name, uint32_t root, struct target *target) {
    struct statx status;
    long answer = look_at_name(parent, name, STATX_TYPE | STATX_INO, &status, &target->object.generation);
    if (answer < 0)
        return answer;
    target->mode = status.stx_mode;
    target->device = makedev(status.stx_dev_major, status.stx_dev_minor);
    target->object.inode = status.stx_ino;
    target->object.root = root;
    return 0;
}

/* ------------------------------------------------------------------ outcomes */

static void outcome(struct capture *capture, const struct statx *status, uint32_t generation, uint32_t root) {
    struct lockstep_intent *intent = capture->intent;
    intent->outcome = (struct lockstep_object){status->stx_ino, generation, root};
    intent->outcome_mode = status->stx_mode;
    intent->outcome_owner = status->stx_uid;
    intent->outcome_group = status->stx_gid;
}

#define OUTCOME_MASK (STATX_TYPE | STATX_MODE | STATX_INO | STATX_UID | STATX_GID)

void outcome_of_descriptor(struct capture *capture, int descriptor, uint32_t root) {
    struct statx status;
    uint32_t generation;
    if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, OUTCOME_MASK, &status) == 0
        && generation_of_descriptor(descriptor, status.stx_mode, &generation) == 0)
        outcome(capture, &status, generation, root);
}

void outcome_of_name(struct capture *capture, int parent, const char *name, uint32_t root) {
    struct statx status;
    uint32_t generation;
    if (look_at_name(parent, name, OUTCOME_MASK, &status, &generation) == 0)
        outcome(capture, &status, generation, root);
}
