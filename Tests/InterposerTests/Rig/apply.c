/*
 * apply.c: an operation is carried out in the mirror when it is done, in ring order, with its own payload and its own
 * result: a short write replays as short, a failed one not at all.
 *
 * What contradicts the table (an unlink of an unknown name, a write to an object that was never created) shows that
 * something was missed, and is a difference of its own.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

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

/* O_TMPFILE: its bytes are kept in a file without a name, which may get one later. */
static void apply_nameless(const struct operation *o) {
    const struct lockstep_intent *i = &o->intent;
    if (!i->outcome.inode) {
        difference("#%lu CREATE without a name: not identified", o->sequence);
        return;
    }
    struct node *n = tree_insert(i->outcome, S_IFREG, NULL, NULL);
    n->changed = true;
    n->descriptor = openat(mirror_directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (n->descriptor <= 0 || fchmod(n->descriptor, i->outcome_mode & 07777)) fatal("a file without a name in the mirror: %m");
    if (fchown(n->descriptor, i->outcome_owner, i->outcome_group) && geteuid() == 0) fatal("its owner: %m");
}

/* Nobody has seen it before: it is copied, as the daemon does; if it is elsewhere already, in the end. */
static void apply_entry(const struct operation *o, struct node *target) {
    const struct lockstep_intent *i = &o->intent;
    char path[4096];
    struct lockstep_object object;
    struct stat status;
    if (!target || !tree_path(target, path)) return;
    tree_child_path(target, o->target_name, path);
    if (identity(root_directory, path, &object, &status) && object.inode == i->object.inode && object.generation == i->object.generation) {
        tree_repair_name(target, o->target_name);
        return;
    }
    struct node *old = tree_child(target, o->target_name);
    if (old) mirror_remove(old);
    tree_insert(i->object, i->mode, target, o->target_name)->changed = true;
    mirror_make(path, i->mode, "?", 0);
    conflicts_bytes_unseen(o);
}

static void apply_link(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    struct node *target = named(o, i->target_parent);
    if (i->flags & LOCKSTEP_FLAG_CROSSES) {
        apply_entry(o, target);
        return;
    }
    struct node *n = named(o, i->object);
    char from[4096], to[4096], link[64];
    if (!n || !target || !tree_path(target, to)) return;
    struct node *old = tree_child(target, o->target_name);
    if (old) {
        if (!excused) contradiction(o, "#%lu LINK: %s/%s exists in the mirror: its removal was missed", o->sequence, to, o->target_name);
        mirror_remove(old);
    }
    tree_child_path(target, o->target_name, to);
    snprintf(link, sizeof link, "/proc/self/fd/%d", n->descriptor);
    int result = tree_path(n, from) ? linkat(mirror_directory, from, mirror_directory, to, 0)
        : n->descriptor ? linkat(AT_FDCWD, link, mirror_directory, to, AT_SYMLINK_FOLLOW) : (errno = ENOENT, -1);
    if (result) {
        if (!excused) difference("#%lu LINK: %s in the mirror: %m", o->sequence, to);
        conflicts_not_carried_out(o);
    } else if (n->parent) tree_alias(n, target, o->target_name);
    else tree_hang(n, target, o->target_name);
}

static void apply_new(const struct operation *o, bool excused) {
    const struct lockstep_intent *i = &o->intent;
    if (i->kind == LOCKSTEP_KIND_CREATE && i->name_bytes == 0) {
        apply_nameless(o);
        return;
    }
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
        mirror_remove(old);
    }
    mode_t type = i->kind == LOCKSTEP_KIND_CREATE ? S_IFREG : i->kind == LOCKSTEP_KIND_MKDIR ? S_IFDIR : i->kind == LOCKSTEP_KIND_SYMLINK ? S_IFLNK : i->mode & S_IFMT;
    if (!i->outcome.inode) {
        conflicts_not_carried_out(o);
        return;
    }
    struct node *n = tree_node(i->outcome);
    if (n && !excused) contradiction(o, "#%lu %s: %s/%s got the identity of a known object", o->sequence, kind_name(i->kind), path, o->name);
    if (n && n->parent) return;
    if (n) tree_hang(n, parent, o->name);
    else n = tree_insert(i->outcome, type, parent, o->name);
    n->changed = true;
    tree_child_path(parent, o->name, path);
    if (S_ISLNK(type)) memcpy(target, o->payload, i->payload_bytes);
    mirror_make(path, type, target, (dev_t)i->argument);
    mirror_dress(path, type | (i->outcome_mode & 07777), i->outcome_owner, i->outcome_group);
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
    if (n->children && !excused && !(i->flags & LOCKSTEP_FLAG_CROSSES)) contradiction(o, "#%lu RMDIR: %s is not empty in the mirror: a removal was missed", o->sequence, o->name);
    mirror_remove(n);
}

static void apply_exchange(const struct operation *o, struct node *n, struct node *parent, struct node *other, struct node *target, bool excused) {
    char from[4096], to[4096];
    if (!other) {
        if (!excused) contradiction(o, "#%lu RENAME_EXCHANGE: %s is not in the mirror: its creation was missed", o->sequence, o->target_name);
        return;
    }
    if (!tree_path(n, from) || !tree_path(other, to)) return;
    if (renameat2(mirror_directory, from, mirror_directory, to, RENAME_EXCHANGE)) difference("#%lu RENAME_EXCHANGE: %s and %s in the mirror: %m", o->sequence, from, to);
    tree_detach(n);
    tree_detach(other);
    tree_hang(n, target, o->target_name);
    tree_hang(other, parent, o->name);
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
    if (old == n || (old && old->object.inode == n->object.inode && old->object.generation == n->object.generation)) return; /* onto itself */
    char from[4096], to[4096];
    if (!tree_path(n, from) || !tree_path(target, to)) return;
    if (i->argument == RENAME_EXCHANGE) {
        apply_exchange(o, n, parent, old, target, excused);
        return;
    }
    if (old && i->argument && !excused) contradiction(o, "#%lu RENAME with flags: %s exists in the mirror", o->sequence, o->target_name);
    if (old) mirror_remove(old);
    tree_child_path(target, o->target_name, to);
    if (renameat(mirror_directory, from, mirror_directory, to)) difference("#%lu RENAME: %s to %s in the mirror: %m", o->sequence, from, to);
    tree_detach(n);
    tree_hang(n, target, o->target_name);
}

static void apply_data(const struct operation *o, struct node *n) {
    const struct lockstep_intent *i = &o->intent;
    char path[4096];
    bool has_name = tree_path(n, path);
    if (!has_name && !n->descriptor) return; /* unlinked while open: nobody will see its content */
    int fd = has_name ? mirror_open(path) : dup(n->descriptor);
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

static void apply_attribute(const struct operation *o, struct node *n) {
    const struct lockstep_intent *i = &o->intent;
    char path[4096], link[64];
    bool has_name = tree_path(n, path);
    int fd = has_name ? openat(mirror_directory, path, O_PATH | O_NOFOLLOW | O_CLOEXEC) : n->descriptor ? dup(n->descriptor) : -1;
    if (fd < 0) {
        if (has_name) difference("%s: can't be opened in the mirror: %m", path);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (i->kind == LOCKSTEP_KIND_SETXATTR ? setxattr(link, o->name, o->payload, i->payload_bytes, (int)i->argument) : removexattr(link, o->name))
        difference("%s: attribute %s in the mirror: %m", path, o->name);
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
    case LOCKSTEP_KIND_LINK:
        apply_link(o, excused);
        return;
    }
    n = named(o, i->object);
    if (!n) return;
    tree_note(i->object, i->kind == LOCKSTEP_KIND_TIMES);
    switch (i->kind) {
    case LOCKSTEP_KIND_CHMOD:
        if (tree_path(n, path) ? fchmodat(mirror_directory, path, i->mode & 07777, 0) : n->descriptor && fchmod(n->descriptor, i->mode & 07777)) difference("%s: chmod in the mirror: %m", path);
        break;
    case LOCKSTEP_KIND_CHOWN:
        if (tree_path(n, path) ? fchownat(mirror_directory, path, i->owner, i->group, AT_SYMLINK_NOFOLLOW) : n->descriptor && fchown(n->descriptor, i->owner, i->group)) difference("%s: chown in the mirror: %m", path);
        break;
    case LOCKSTEP_KIND_SETXATTR: case LOCKSTEP_KIND_REMOVEXATTR:
        apply_attribute(o, n);
        break;
    case LOCKSTEP_KIND_TIMES:
        break;
    default:
        apply_data(o, n);
    }
}
