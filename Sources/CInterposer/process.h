/* process.h: what exec.c and spawn.c share: the check of a program (process.c), the environment it gets, and the files that
   are opened for it (actions.c). */
#ifndef LOCKSTEP_PROCESS_H
#define LOCKSTEP_PROCESS_H

#include "library.h"
#include <spawn.h>

/* Can the program be covered? 0: go on (also when the kernel will fail by itself); else -errno, the line is written.
   `leaving`: this process is replaced by the program. `depth` counts interpreters of scripts. */
long check_file(int directory, const char *path, int flags, bool leaving, int depth);
/* Calls `attempt` for each directory of PATH, as execvp does. */
long search_path(const char *file, long (*attempt)(const char *, void *), void *argument);

size_t environment_count(char *const envp[]);
bool environment_preloads(const char *list);
void environment_complete(char *const envp[], const char **to, char *joined, size_t joined_bytes);

/* Declares `name`: envp with our two variables right, on the stack. */
#define COMPLETED_ENVIRONMENT(envp, name)                        \
    const char *name[environment_count(envp) + 3];               \
    char name##_joined[2048];                                    \
    environment_complete(envp, name, name##_joined, sizeof name##_joined)

/* An action of posix_spawn, as libc keeps it. */
enum { ACTION_OPEN = 2, ACTION_CHDIR = 3, ACTION_FCHDIR = 4 };
struct action {
    int tag;
    union {
        struct {
            int descriptor;
            char *path;
            int flags;
            mode_t mode;
        } open;
        const char *path;
        int descriptor;
        char bytes[24];
    };
};
/* How many may create or truncate. */
size_t actions_changing(const posix_spawn_file_actions_t *actions);
/* Creates and truncates what they would in the tree; afterwards they refer to `space`, as long as the list, and don't.
   0 or -errno. */
long actions_prepare(posix_spawn_file_actions_t *actions, struct action *space);

#endif
