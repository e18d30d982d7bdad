/*
 * mirror.c: copies from ROOT into the mirror: the whole of it before the program starts, and repairs once it has ended.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct timespec tree_started;

int mirror_open(const char *path) {
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

void mirror_dress(const char *path, mode_t mode, uid_t owner, gid_t group) {
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
    if (!fstatat(root_directory, path, &status, AT_SYMLINK_NOFOLLOW)) mirror_dress(path, status.st_mode, status.st_uid, status.st_gid);
}

void mirror_make(const char *path, mode_t mode, const char *target, dev_t device) {
    int result;
    if (S_ISDIR(mode)) result = mkdirat(mirror_directory, path, 0700);
    else if (S_ISLNK(mode)) result = symlinkat(target, mirror_directory, path);
    else result = mknodat(mirror_directory, path, (mode & S_IFMT) | 0600, device);
    if (result) difference("%s: can't be made in the mirror: %m", path);
}

static void copy_subtree(struct node *parent, const char *name) {
    char path[4096], target[4096] = "";
    if (parent) tree_child_path(parent, name, path);
    else strcpy(path, ".");
    struct lockstep_object object;
    struct stat status;
    if (!identity(root_directory, path, &object, &status)) fatal("%s: %m", path);
    if (parent && is_excluded(path)) return;
    struct node *n = parent ? tree_node(object) : NULL;
    struct lockstep_object still;
    struct stat unused;
    char old[4096];
    if (n && n->parent && !S_ISDIR(status.st_mode) && tree_path(n, old) && identity(root_directory, old, &still, &unused) && still.inode == object.inode && still.generation == object.generation) {
        if (linkat(mirror_directory, old, mirror_directory, path, 0)) difference("%s: linking %s in the mirror: %m", old, path);
        n = tree_alias(n, parent, name);
    } else if (n && n->parent) { /* known under another name */
        if (tree_path(n, old) && renameat(mirror_directory, old, mirror_directory, path)) difference("%s: moving to %s in the mirror: %m", old, path);
        tree_detach(n);
        tree_hang(n, parent, name);
    } else if (n) {
        tree_hang(n, parent, name);
    } else
        n = tree_insert(object, status.st_mode, parent, name);
    if (!parent) tree_root = n;
    n->first_modification = status.st_mtim;
    struct stat there;
    if (parent && fstatat(mirror_directory, path, &there, AT_SYMLINK_NOFOLLOW)) {
        if (S_ISLNK(status.st_mode)) {
            ssize_t bytes = readlinkat(root_directory, path, target, sizeof target - 1);
            target[bytes > 0 ? bytes : 0] = 0;
        }
        mirror_make(path, status.st_mode, target, status.st_rdev);
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
    mirror_dress(path, status.st_mode, status.st_uid, status.st_gid);
}

void tree_first_copy(void) {
    clock_gettime(CLOCK_REALTIME_COARSE, &tree_started);
    copy_subtree(NULL, NULL);
}

/* Takes a name away, with everything below it; the nodes stay known, since descriptors may still be open. */
void mirror_remove(struct node *n) {
    while (n->children) mirror_remove(n->children);
    char path[4096];
    if (tree_path(n, path) && unlinkat(mirror_directory, path, S_ISDIR(n->type) ? AT_REMOVEDIR : 0)) difference("%s: can't be removed from the mirror: %m", path);
    tree_detach(n);
}

void tree_repair_name(struct node *parent, const char *name) {
    char path[4096];
    if (!tree_path(parent, path)) return;
    tree_child_path(parent, name, path);
    struct node *known = tree_child(parent, name);
    struct lockstep_object object;
    struct stat status;
    bool there = identity(root_directory, path, &object, &status);
    if (there && known == tree_node(object) && known) return;
    if (known) mirror_remove(known);
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
