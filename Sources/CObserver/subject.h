/*
 * subject.h: what a call is about: descriptors, one or two paths, and what of it lies in the tree.
 */
#ifndef OBSERVER_SUBJECT_H
#define OBSERVER_SUBJECT_H

#include "../CGuard/caller.h"

#include <limits.h>
#include <linux/seccomp.h>
#include <stdbool.h>

struct subject {
    int treated;               /* the line of treatments.h: the number of the call, mostly */
    uint64_t count;            /* how many operations of it are in the tree; 0: it is none of ours */
    bool direct, durable;      /* O_DIRECT; O_DSYNC or O_SYNC */
    char path[PATH_MAX + 300]; /* one of them */
};

/* Looks at a call of x86-64 other than exec. `past_library`: it was not made by the preload library. */
void subject_find(struct subject *subject, struct caller *caller, const struct seccomp_data *data, bool past_library);

#endif
