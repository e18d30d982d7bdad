/*
 * tree.h: which files the audit is about.
 */
#ifndef OBSERVER_TREE_H
#define OBSERVER_TREE_H

#include <stdbool.h>

enum { TREE_ROOTS_MAX = 8, TREE_EXCLUSIONS_MAX = 16 };

/* A directory, as realpath gives it; without any, everything but what is no disk: /dev, /proc, /run, /sys. False: too many. */
bool tree_add_root(const char *path);
/* The end of a path that is not replicated ("-shm"). */
bool tree_add_exclusion(const char *suffix);

/* An absolute path without links; of a descriptor, with what the kernel appends to a removed name. */
bool tree_holds(const char *path);

#endif
