/* process.h: what exec.c and spawn.c share: the check of a program (process.c) and the environment it gets. */
#ifndef LOCKSTEP_PROCESS_H
#define LOCKSTEP_PROCESS_H

#include "library.h"

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

#endif
