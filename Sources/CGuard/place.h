/*
 * place.h: a path of the caller as a directory that this process holds, and the last name in it.
 *
 * The path was copied; what the caller's other threads do to its memory, or to the names on the way, changes nothing any
 * more. What a path means to the caller and not to an agent is translated: /proc/self, /dev/fd and the like, also behind
 * symbolic links. A path that leads through another magic link (/proc/self/cwd behind a link, say) is not followed.
 */
#ifndef GUARD_PLACE_H
#define GUARD_PLACE_H

#include "caller.h"

#include <linux/limits.h>

struct place {
    int directory;       /* held */
    bool is_process;     /* a directory of procfs: its links are the kernel's to follow */
    char name[PATH_MAX]; /* as the kernel takes it, with slashes at its end */
};

/* `base`: a descriptor that a relative path starts from. `follows`: a symbolic link as the last name is followed. 0 or -errno. */
long place_resolve(struct caller *caller, int base, const char *path, bool follows, struct place *place);
void place_release(struct place *place);

/* "/proc/self/fd/N/NAME", for calls that know no directory. */
void place_path(const struct place *place, char path[PATH_MAX + 64]);

#endif
