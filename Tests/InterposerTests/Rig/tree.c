/*
 * tree.c: the names of the tree by (parent, name), identities (inode, generation), and the mirror directory.
 *
 * An operation is carried out in the mirror when it is done, in ring order, with its own payload and its own result:
 * a short write replays as short, a failed one not at all. What contradicts the table (an unlink of an unknown name, a
 * write to an object that was never created) shows that something was missed, and is a difference of its own.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define BUCKETS 65536u
#define TMPFS_MAGIC 0x01021994

struct node *tree_root;
int mirror_directory, root_directory;
struct timespec tree_started;
static struct node *buckets[BUCKETS];

/* ------------------------------------------------------------------ identity */

bool identity(int directory, const char *name, struct lockstep_object *object, struct stat *status) {
    static int on_tmpfs = -1;
    if (on_tmpfs < 0) {
        struct statfs fs;
        if (fstatfs(root_directory, &fs)) fatal("statfs: %m");
        on_tmpfs = fs.f_type == TMPFS_MAGIC;
    }
    if (fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW)) return false;
    object->inode = status->st_ino;
    object->generation = 0;
    object->root = 0;
    if (on_tmpfs) return true; /* never reuses an inode number */
    union { struct file_handle handle; char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } h;
    h.handle.handle_bytes = MAX_HANDLE_SZ;
    int mount;
    if (name_to_handle_at(directory, name, &h.handle, &mount, 0)) return false;
    uint32_t words[4] = {0};
    memcpy(words, h.handle.f_handle, h.handle.handle_bytes < sizeof words ? h.handle.handle_bytes : sizeof words);
    /* ext4 and xfs: inode 32, generation 32; xfs with large inode numbers: inode 64, generation 32; btrfs has its own. */
    object->generation = h.handle.handle_type == 0x81 ? words[2] : words[1];
    if (h.handle.handle_type == 0x4d) memcpy(&object->generation, h.handle.f_handle + 16, 4);
    return true;
}

/* ------------------------------------------------------------------ the table */

static unsigned bucket(struct lockstep_object object) { return (unsigned)((object.inode * 0x9e3779b97f4a7c15ull ^ object.generation) >> 40) % BUCKETS; }

struct node *tree_node(struct lockstep_object object) {
    for (struct node *n = buckets[bucket(object)]; n; n = n->next_in_bucket)
        if (n->object.inode == object.inode && n->object.generation == object.generation) return n;
    return NULL;
}

struct node *tree_child(const struct node *parent, const char *name) {
    for (struct node *n = parent->children; n; n = n->sibling)
        if (!strcmp(n->name, name)) return n;
    return NULL;
}

static void detach(struct node *n) {
    if (!n->parent) return;
    for (struct node **link = &n->parent->children; *link; link = &(*link)->sibling)
        if (*link == n) {
            *link = n->sibling;
            break;
        }
    n->parent = NULL;
    free(n->name);
    n->name = NULL;
}

static void hang(struct node *n, struct node *parent, const char *name) {
    n->parent = parent;
    n->name = strdup(name);
    n->sibling = parent->children;
    parent->children = n;
}

static struct node *insert(struct lockstep_object object, mode_t type, struct node *parent, const char *name) {
    struct node *n = calloc(1, sizeof *n);
    n->object = object;
    n->type = type & S_IFMT;
    n->next_in_bucket = buckets[bucket(object)];
    buckets[bucket(object)] = n;
    if (parent) hang(n, parent, name);
    return n;
}

bool tree_path(const struct node *n, char *to) {
    char path[4096], *at = path + sizeof path;
    *--at = 0;
    for (; n != tree_root; n = n->parent) {
        if (!n || !n->parent) return false;
        size_t bytes = strlen(n->name);
        if (at - path < (ptrdiff_t)bytes + 1) fatal("path too long");
        if (*at) *--at = '/';
        at -= bytes;
        memcpy(at, n->name, bytes);
    }
    strcpy(to, *at ? at : ".");
    return true;
}

static void child_path(const struct node *parent, const char *name, char *to) {
    if (!tree_path(parent, to)) fatal("no path for the parent of %s", name);
    if (strlen(to) + strlen(name) + 2 > 4096) fatal("path too long");
    strcat(strcat(to, "/"), name);
}

/* ------------------------------------------------------------------ first copy, and copies for repairs */

static int mirror_open(const char *path) {
    int fd = openat(mirror_directory, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (fd < 0 && errno == EACCES && !fstatat(mirror_directory, path, &status, AT_SYMLINK_NOFOLLOW)) {
        /* Not root, and the file is read-only. */
        fchmodat(mirror_directory, path, 0600, 0);
        fd = openat(mirror_directory, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        fchmodat(mirror_directory, path, status.st_mode & 07777, 0);
    }
    if (fd < 0) difference("%s: can't be opened in the mirror: %m", path);
    return fd;
}

static void dress(const char *path, mode_t mode, uid_t owner, gid_t group) {
    if (fchownat(mirror_directory, path, owner, group, AT_SYMLINK_NOFOLLOW) && geteuid() == 0) difference("%s: chown in the mirror: %m", path);
    if (!S_ISLNK(mode) && fchmodat(mirror_directory, path, mode & 07777, 0)) difference("%s: chmod in the mirror: %m", path);
}

static void copy_range(const char *path, uint64_t lower, uint64_t upper) {
    char buffer[65536];
    int from = openat(root_directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), to = mirror_open(path);
    while (from >= 0 && to >= 0 && lower < upper) {
        size_t want = upper - lower < sizeof buffer ? (size_t)(upper - lower) : sizeof buffer;
        ssize_t bytes = pread(from, buffer, want, (off_t)lower);
        if (bytes <= 0) break;
        if (pwrite(to, buffer, (size_t)bytes, (off_t)lower) != bytes) fatal("%s: writing the mirror: %m", path);
        lower += (uint64_t)bytes;
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
}

static void copy_metadata(const char *path) {
    struct stat status;
    if (!fstatat(root_directory, path, &status, AT_SYMLINK_NOFOLLOW)) dress(path, status.st_mode, status.st_uid, status.st_gid);
}

static void make(const char *path, mode_t mode, const char *target, dev_t device) {
    int result;
    if (S_ISDIR(mode)) result = mkdirat(mirror_directory, path, 0700);
    else if (S_ISLNK(mode)) result = symlinkat(target, mirror_directory, path);
    else result = mknodat(mirror_directory, path, (mode & S_IFMT) | 0600, device);
    if (result) difference("%s: can't be made in the mirror: %m", path);
}

static void copy_subtree(struct node *parent, const char *name) {
    char path[4096], target[4096] = "";
    if (parent) child_path(parent, name, path);
    else strcpy(path, ".");
    struct lockstep_object object;
    struct stat status;
    if (!identity(root_directory, path, &object, &status)) fatal("%s: %m", path);
    if (parent && is_excluded(path)) return;
    struct node *n = parent ? tree_node(object) : NULL;
    if (n && n->parent) { /* known under another name */
        char old[4096];
        if (tree_path(n, old) && renameat(mirror_directory, old, mirror_directory, path)) difference("%s: moving to %s in the mirror: %m", old, path);
        detach(n);
        hang(n, parent, name);
    } else if (n) {
        hang(n, parent, name);
    } else
        n = insert(object, status.st_mode, parent, name);
    if (!parent) tree_root = n;
    n->first_modification = status.st_mtim;
    struct stat there;
    if (parent && fstatat(mirror_directory, path, &there, AT_SYMLINK_NOFOLLOW)) {
        if (S_ISLNK(status.st_mode)) {
            ssize_t bytes = readlinkat(root_directory, path, target, sizeof target - 1);
            target[bytes > 0 ? bytes : 0] = 0;
        }
        make(path, status.st_mode, target, status.st_rdev);
    }
    if (S_ISREG(status.st_mode)) {
        int fd = mirror_open(path);
        if (fd >= 0 && ftruncate(fd, status.st_size)) fatal("%s: %m", path);
        if (fd >= 0) close(fd);
        copy_range(path, 0, (uint64_t)status.st_size);
    }
    if (S_ISDIR(status.st_mode)) {
        DIR *listing = fdopendir(openat(root_directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!listing) fatal("%s: %m", path);
        for (struct dirent *entry; (entry = readdir(listing));)
            if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) copy_subtree(n, entry->d_name);
        closedir(listing);
    }
    dress(path, status.st_mode, status.st_uid, status.st_gid);
}

void tree_first_copy(void) {
    clock_gettime(CLOCK_REALTIME_COARSE, &tree_started);
    copy_subtree(NULL, NULL);
}

/* Takes a name away, with everything below it; the nodes stay known, since descriptors may still be open. */
static void remove_subtree(struct node *n) {
    while (n->children) remove_subtree(n->children);
    char path[4096];
    if (tree_path(n, path) && unlinkat(mirror_directory, path, S_ISDIR(n->type) ? AT_REMOVEDIR : 0)) difference("%s: can't be removed from the mirror: %m", path);
    detach(n);
}

void tree_repair_name(struct node *parent, const char *name) {
    char path[4096];
    if (!tree_path(parent, path)) return;
    child_path(parent, name, path);
    struct node *known = tree_child(parent, name);
    struct lockstep_object object;
    struct stat status;
    bool there = identity(root_directory, path, &object, &status);
    if (there && known == tree_node(object) && known) return;
    if (known) remove_subtree(known);
    if (there) copy_subtree(parent, name);
}

void tree_repair_range(struct node *n, uint64_t lower, uint64_t upper, bool size) {
    char path[4096];
    struct stat status;
    if (!S_ISREG(n->type) || !tree_path(n, path) || fstatat(root_directory, path, &status, AT_SYMLINK_NOFOLLOW) || status.st_ino != n->object.inode) return;
    int fd = size ? mirror_open(path) : -1;
    if (fd >= 0 && ftruncate(fd, status.st_size)) fatal("%s: %m", path);
    if (fd >= 0) close(fd);
    copy_range(path, lower, upper);
}

void tree_repair_metadata(struct node *n) {
    char path[4096];
    if (tree_path(n, path)) copy_metadata(path);
}

/* ------------------------------------------------------------------ operations */

void operation_trace(const struct operation *o) {
    const struct lockstep_intent *i = &o->intent;
    char path[4096] = "-", parent[4096] = "-", target[4096] = "-";
    struct node *n;
    if (i->object.inode && (n = tree_node(i->object))) tree_path(n, path);
    if (i->parent.inode && (n = tree_node(i->parent))) tree_path(n, parent);
    if (i->target_parent.inode && (n = tree_node(i->target_parent))) tree_path(n, target);
    fprintf(options.trace, "%lu %s pid %d tid %d flags %u object %lu.%u (%s)", o->sequence, kind_name(i->kind), o->pid, i->tid, i->flags, i->object.inode, i->object.generation, path);
    if (i->name_bytes) fprintf(options.trace, " name %s/%s", parent, o->name);
    if (i->target_name_bytes) fprintf(options.trace, " target %s/%s", target, o->target_name);
    fprintf(options.trace, " offset %lu length %lu argument %lu mode %o owner %d group %d block %d -> ", i->offset, i->length, i->argument, i->mode, (int)i->owner, (int)i->group, (int)i->block);
    if (o->lost) fprintf(options.trace, "not done, its owner died\n");
    else
        fprintf(options.trace, "%ld at %lu outcome %lu.%u mode %o %u:%u done at %lu%s\n", (long)i->result, i->actual_offset, i->outcome.inode, i->outcome.generation,
                i->outcome_mode, i->outcome_owner, i->outcome_group, i->done_reserved, i->result_flags ? " contended" : "");
    fflush(options.trace);
}

/* Objects that operations named and the table did not know: those that a repair brought in the end are explained by it. */
struct orphan {
    struct lockstep_object object;
    uint64_t sequence;
    unsigned kind;
    struct orphan *next;
};
static struct orphan *orphans;

static void orphan(const struct operation *o, struct lockstep_object object) {
    for (struct orphan *known = orphans; known; known = known->next)
        if (known->object.inode == object.inode && known->object.generation == object.generation) return;
    struct orphan *new = malloc(sizeof *new);
    *new = (struct orphan){object, o->sequence, o->intent.kind, orphans};
    orphans = new;
}

void tree_report_orphans(bool names_in_doubt) {
    for (struct orphan *o = orphans; o; o = o->next)
        if (!names_in_doubt && !tree_node(o->object))
            difference("#%lu %s: inode %lu generation %u is unknown: its creation was missed", o->sequence, kind_name(o->kind), o->object.inode, o->object.generation);
}

static struct node *named(const struct operation *o, struct lockstep_object object) {
    struct node *n = tree_node(object);
    if (!n) orphan(o, object);
    return n;
}

static void apply_new(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    struct node *parent = named(o, i->parent);
    char path[4096], target[4096] = "";
    if (!parent) return;
    if (!tree_path(parent, path)) {
        conflicts_not_carried_out(o);
        return;
    }
    struct node *old = tree_child(parent, o->name);
    if (old) {
        if (!excused) contradiction(o, "#%lu %s: %s/%s exists in the mirror: its removal was missed", o->sequence, kind_name(i->kind), path, o->name);
        remove_subtree(old);
    }
    mode_t type = i->kind == LOCKSTEP_KIND_CREATE ? S_IFREG : i->kind == LOCKSTEP_KIND_MKDIR ? S_IFDIR : i->kind == LOCKSTEP_KIND_SYMLINK ? S_IFLNK : i->mode & S_IFMT;
    if (!i->outcome.inode) {
        conflicts_not_carried_out(o);
        return;
    }
    struct node *n = tree_node(i->outcome);
    if (n && !excused) contradiction(o, "#%lu %s: %s/%s got the identity of a known object", o->sequence, kind_name(i->kind), path, o->name);
    if (n && n->parent) return;
    if (n) hang(n, parent, o->name);
    else n = insert(i->outcome, type, parent, o->name);
    n->changed = true;
    child_path(parent, o->name, path);
    if (S_ISLNK(type)) memcpy(target, o->payload, i->payload_bytes);
    make(path, type, target, (dev_t)i->argument);
    dress(path, type | (i->outcome_mode & 07777), i->outcome_owner, i->outcome_group);
}

/* What the library saw under the name before it reserved a number may be gone by then, if others work on the same names:
   so it is counted, not judged. */
static void check_hint(const struct operation *o, const struct node *n) {
    const struct lockstep_object *seen = &o->intent.object;
    if (seen->inode && (seen->inode != n->object.inode || seen->generation != n->object.generation)) results.stale++;
}

static void apply_removal(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    struct node *parent = named(o, i->parent);
    struct node *n = parent ? tree_child(parent, o->name) : NULL;
    if (!n) {
        if (!excused) contradiction(o, "#%lu %s: %s is not in the mirror: its creation was missed", o->sequence, kind_name(i->kind), o->name);
        return;
    }
    if (!excused) check_hint(o, n);
    if (n->children && !excused) contradiction(o, "#%lu RMDIR: %s is not empty in the mirror: a removal was missed", o->sequence, o->name);
    remove_subtree(n);
}

static void apply_rename(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    struct node *parent = named(o, i->parent), *target = named(o, i->target_parent);
    struct node *n = parent ? tree_child(parent, o->name) : NULL;
    if (!n || !target) {
        if (!excused) contradiction(o, "#%lu RENAME: %s is not in the mirror: its creation was missed", o->sequence, o->name);
        return;
    }
    if (!excused) check_hint(o, n);
    struct node *old = tree_child(target, o->target_name);
    if (old == n) return; /* onto itself */
    char from[4096], to[4096];
    if (!tree_path(n, from) || !tree_path(target, to)) return;
    if (old && i->argument && !excused) contradiction(o, "#%lu RENAME with flags: %s exists in the mirror", o->sequence, o->target_name);
    if (old) remove_subtree(old);
    child_path(target, o->target_name, to);
    if (renameat(mirror_directory, from, mirror_directory, to)) difference("#%lu RENAME: %s to %s in the mirror: %m", o->sequence, from, to);
    detach(n);
    hang(n, target, o->target_name);
}

static void apply_data(const struct operation *o, struct node *n) {
    const struct lockstep_intent *i = &o->intent;
    char path[4096];
    if (!tree_path(n, path)) return; /* unlinked while open: nobody will see its content */
    int fd = mirror_open(path);
    if (fd < 0) return;
    switch (i->kind) {
    case LOCKSTEP_KIND_WRITE: case LOCKSTEP_KIND_SUBMIT: {
        uint64_t offset = i->flags & LOCKSTEP_FLAG_PREDICTED ? i->actual_offset : i->offset;
        if (pwrite(fd, o->payload, (size_t)i->result, (off_t)offset) != i->result) fatal("%s: writing the mirror: %m", path);
        break;
    }
    case LOCKSTEP_KIND_TRUNCATE:
        if (ftruncate(fd, (off_t)i->length)) fatal("%s: truncating the mirror: %m", path);
        break;
    case LOCKSTEP_KIND_ALLOCATE:
        if (fallocate(fd, (int)i->argument, (off_t)i->offset, (off_t)i->length)) difference("%s: fallocate in the mirror: %m", path);
        break;
    }
    close(fd);
}

void tree_apply(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    if (i->result < 0 || i->kind == LOCKSTEP_KIND_BARRIER) return;
    char path[4096];
    struct node *n;
    switch (i->kind) {
    case LOCKSTEP_KIND_CREATE: case LOCKSTEP_KIND_MKDIR: case LOCKSTEP_KIND_SYMLINK: case LOCKSTEP_KIND_MKNOD:
        apply_new(o, excused);
        return;
    case LOCKSTEP_KIND_UNLINK: case LOCKSTEP_KIND_RMDIR:
        apply_removal(o, excused);
        return;
    case LOCKSTEP_KIND_RENAME:
        apply_rename(o, excused);
        return;
    case LOCKSTEP_KIND_LINK: case LOCKSTEP_KIND_SETXATTR: case LOCKSTEP_KIND_REMOVEXATTR:
        difference("#%lu %s: the rig does not replay this kind", o->sequence, kind_name(i->kind));
        return;
    }
    n = named(o, i->object);
    if (!n) return;
    n->changed = true;
    switch (i->kind) {
    case LOCKSTEP_KIND_CHMOD:
        if (tree_path(n, path) && fchmodat(mirror_directory, path, i->mode & 07777, 0)) difference("%s: chmod in the mirror: %m", path);
        break;
    case LOCKSTEP_KIND_CHOWN:
        if (tree_path(n, path) && fchownat(mirror_directory, path, i->owner, i->group, AT_SYMLINK_NOFOLLOW)) difference("%s: chown in the mirror: %m", path);
        break;
    case LOCKSTEP_KIND_TIMES:
        n->times = true;
        break;
    default:
        apply_data(o, n);
    }
}
