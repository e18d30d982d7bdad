/*
 * tree.c: identities (inode, generation), and the names of the tree: object -> node, (parent, name) -> node.
 *
 * Nodes are never freed: an object that lost its name may still be written by an open descriptor.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/vfs.h>

#define BUCKETS 65536u
#define TMPFS_MAGIC 0x01021994

struct node *tree_root;
int mirror_directory, root_directory;
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
    struct node *found = NULL;
    for (struct node *n = buckets[bucket(object)]; n; n = n->next_in_bucket)
        if (n->object.inode == object.inode && n->object.generation == object.generation && (!found || n->parent)) found = n;
    return found;
}

void tree_note(struct lockstep_object object, bool times) {
    for (struct node *n = buckets[bucket(object)]; n; n = n->next_in_bucket)
        if (n->object.inode == object.inode && n->object.generation == object.generation) {
            n->changed = true;
            n->times = n->times || times;
        }
}

struct node *tree_alias(const struct node *node, struct node *parent, const char *name) {
    struct node *alias = tree_insert(node->object, node->type, parent, name);
    alias->times = node->times;
    alias->changed = node->changed;
    alias->first_modification = node->first_modification;
    return alias;
}

struct node *tree_child(const struct node *parent, const char *name) {
    for (struct node *n = parent->children; n; n = n->sibling)
        if (!strcmp(n->name, name)) return n;
    return NULL;
}

void tree_detach(struct node *n) {
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

void tree_hang(struct node *n, struct node *parent, const char *name) {
    n->parent = parent;
    n->name = strdup(name);
    n->sibling = parent->children;
    parent->children = n;
}

struct node *tree_insert(struct lockstep_object object, mode_t type, struct node *parent, const char *name) {
    struct node *n = calloc(1, sizeof *n);
    n->object = object;
    n->type = type & S_IFMT;
    n->next_in_bucket = buckets[bucket(object)];
    buckets[bucket(object)] = n;
    if (parent) tree_hang(n, parent, name);
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

void tree_child_path(const struct node *parent, const char *name, char *to) {
    if (!tree_path(parent, to)) fatal("no path for the parent of %s", name);
    if (strlen(to) + strlen(name) + 2 > 4096) fatal("path too long");
    strcat(strcat(to, "/"), name);
}
