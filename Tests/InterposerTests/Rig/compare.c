/*
 * compare.c: are ROOT and MIRROR equal? Names, types, sizes, content, modes, owners, link targets; and does the table
 * know each name by the identity that it really has? Modification times: one that lies before the start of the run, or
 * changed without any operation, shows that setting it was missed.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>

bool is_excluded(const char *relative_path) {
    char path[LOCKSTEP_PATH_BYTES_MAX + 4096];
    snprintf(path, sizeof path, "%s/%s", options.root, relative_path);
    size_t bytes = strlen(path);
    for (uint32_t i = 0; i < options.exclusion_count; i++) {
        size_t suffix = strlen(options.exclusions[i]);
        if (suffix <= bytes && !strcmp(path + bytes - suffix, options.exclusions[i])) return true;
    }
    return false;
}

static void compare_content(const char *path) {
    static char a[65536], b[65536];
    int left = openat(root_directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), right = openat(mirror_directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (left < 0 || right < 0) difference("%s: can't be read: %m", path);
    for (off_t at = 0; left >= 0 && right >= 0; ) {
        ssize_t n = pread(left, a, sizeof a, at), m = pread(right, b, sizeof b, at);
        ssize_t common = n < m ? n : m, i = 0;
        while (i < common && a[i] == b[i]) i++;
        if (i < common) {
            difference("%s: content differs from byte %ld on", path, (long)(at + i));
            break;
        }
        if (n != m || n <= 0) break; /* a difference in size is reported by the caller */
        at += n;
    }
    if (left >= 0) close(left);
    if (right >= 0) close(right);
}

/* Names and values of one tree, as a count and a digest. */
static void list_attributes(int directory, const char *path, char *to, size_t bytes) {
    char link[64], names[8192], value[65536];
    int fd = openat(directory, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = listxattr(link, names, sizeof names);
    unsigned long sum = 0;
    unsigned total = 0;
    for (char *name = names; count > 0 && name < names + count; name += strlen(name) + 1) {
        ssize_t n = getxattr(link, name, value, sizeof value);
        unsigned long digest = (unsigned long)n * 1099511628211ul;
        for (const char *c = name; *c; c++) digest = (digest ^ (unsigned char)*c) * 1099511628211ul;
        for (ssize_t at = 0; at < n; at++) digest = (digest ^ (unsigned char)value[at]) * 1099511628211ul;
        sum += digest; /* the order of names is the file system's */
        total++;
    }
    snprintf(to, bytes, "%u attributes, digest %016lx", total, sum);
    close(fd);
}

static void compare_attributes(const char *path) {
    char a[64], b[64];
    list_attributes(root_directory, path, a, sizeof a);
    list_attributes(mirror_directory, path, b, sizeof b);
    if (strcmp(a, b)) difference("%s: %s, in the mirror %s", path, a, b);
}

static bool before(struct timespec a, struct timespec b) { return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec); }

static void compare_directory(struct node *directory, const char *path);

static void compare_name(struct node *parent, const char *path, const char *name) {
    struct lockstep_object object;
    struct stat a, b;
    if (!identity(root_directory, path, &object, &a)) {
        difference("%s: can't be identified: %m", path);
        return;
    }
    struct node *n = parent ? tree_child(parent, name) : tree_root;
    if (fstatat(mirror_directory, path, &b, AT_SYMLINK_NOFOLLOW)) {
        difference("%s: missing in the mirror", path);
        return;
    }
    if ((a.st_mode & S_IFMT) != (b.st_mode & S_IFMT)) {
        difference("%s: type %o, in the mirror %o", path, a.st_mode & S_IFMT, b.st_mode & S_IFMT);
        return;
    }
    if (a.st_mode != b.st_mode) difference("%s: mode %o, in the mirror %o", path, a.st_mode & 07777, b.st_mode & 07777);
    if (a.st_uid != b.st_uid || a.st_gid != b.st_gid) difference("%s: owner %u:%u, in the mirror %u:%u", path, a.st_uid, a.st_gid, b.st_uid, b.st_gid);
    if (!n) difference("%s: not in the table of names", path);
    else if (n->object.inode != object.inode || n->object.generation != object.generation)
        difference("%s: inode %lu generation %u, captured as inode %lu generation %u", path, object.inode, object.generation, n->object.inode, n->object.generation);
    else if (S_ISREG(a.st_mode) && !n->times && (n->first_modification.tv_sec ? !n->changed && (n->first_modification.tv_sec != a.st_mtim.tv_sec || n->first_modification.tv_nsec != a.st_mtim.tv_nsec) : before(a.st_mtim, tree_started)))
        difference("%s: its modification time changed without a captured operation", path);
    compare_attributes(path);
    if (S_ISREG(a.st_mode)) {
        if (a.st_size != b.st_size) difference("%s: %ld bytes, in the mirror %ld", path, (long)a.st_size, (long)b.st_size);
        compare_content(path);
    }
    if (S_ISLNK(a.st_mode)) {
        char left[4096], right[4096];
        ssize_t bytes = readlinkat(root_directory, path, left, sizeof left), there = readlinkat(mirror_directory, path, right, sizeof right);
        if (bytes != there || memcmp(left, right, (size_t)bytes)) difference("%s: points to %.*s, in the mirror to %.*s", path, (int)bytes, left, (int)there, right);
    }
    if (S_ISDIR(a.st_mode) && n) compare_directory(n, path);
}

static void compare_directory(struct node *directory, const char *path) {
    DIR *listing = fdopendir(openat(root_directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!listing) fatal("%s: %m", path);
    char child[8192];
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s%s%s", strcmp(path, ".") ? path : "", strcmp(path, ".") ? "/" : "", entry->d_name);
        if (!is_excluded(child)) compare_name(directory, child, entry->d_name);
    }
    closedir(listing);
    listing = fdopendir(openat(mirror_directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!listing) fatal("mirror of %s: %m", path);
    for (struct dirent *entry; (entry = readdir(listing));) {
        struct stat status;
        snprintf(child, sizeof child, "%s%s%s", strcmp(path, ".") ? path : "", strcmp(path, ".") ? "/" : "", entry->d_name);
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (fstatat(root_directory, child, &status, AT_SYMLINK_NOFOLLOW)) difference("%s: only in the mirror", child);
        else if (is_excluded(child)) difference("%s: is excluded, and was captured", child);
    }
    closedir(listing);
}

void compare_trees(void) { compare_name(NULL, ".", NULL); }
