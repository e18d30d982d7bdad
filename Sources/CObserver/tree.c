#include "tree.h"

#include <string.h>

static const char *roots[TREE_ROOTS_MAX], *exclusions[TREE_EXCLUSIONS_MAX];
static int root_count, exclusion_count;

static const char *const no_disk[] = {"/dev", "/proc", "/run", "/sys"};
static const char removed[] = " (deleted)";

bool tree_add_root(const char *path) {
    if (root_count == TREE_ROOTS_MAX) return false;
    roots[root_count++] = path;
    return true;
}

bool tree_add_exclusion(const char *suffix) {
    if (exclusion_count == TREE_EXCLUSIONS_MAX) return false;
    exclusions[exclusion_count++] = suffix;
    return true;
}

static bool is_below(const char *path, const char *directory) {
    size_t bytes = strlen(directory);
    if (bytes == 1) return true; /* the root directory */
    return strncmp(path, directory, bytes) == 0 && (path[bytes] == '/' || path[bytes] == 0);
}

static bool ends_with(const char *path, size_t bytes, const char *suffix) {
    size_t suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && memcmp(path + bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

bool tree_holds(const char *path) {
    size_t bytes = strlen(path);
    if (path[0] != '/' || strncmp(path, "/memfd:", 7) == 0) return false; /* a socket, a pipe, memory */
    if (ends_with(path, bytes, removed)) bytes -= sizeof removed - 1;
    for (int index = 0; index < exclusion_count; index++)
        if (ends_with(path, bytes, exclusions[index])) return false;
    for (int index = 0; index < root_count; index++)
        if (is_below(path, roots[index])) return true;
    for (size_t index = 0; root_count == 0 && index < sizeof no_disk / sizeof *no_disk; index++)
        if (is_below(path, no_disk[index])) return false;
    return root_count == 0;
}
