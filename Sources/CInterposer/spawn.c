/*
 * spawn.c: posix_spawn, system, popen and wordexp: libc's own, with the program checked, the environment completed and
 * the files of its actions created (actions.c) before.
 */
#define _GNU_SOURCE
#include "process.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

typedef int (*spawn_function)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                              char *const[], char *const[]);
static struct {
    spawn_function posix_spawn, posix_spawnp;
    int (*system)(const char *);
    FILE *(*popen)(const char *, const char *);
    int (*wordexp)(const char *, wordexp_t *, int);
} libc;

void process_attach(void) {
    libc.posix_spawn = (spawn_function)dlsym(RTLD_NEXT, "posix_spawn");
    libc.posix_spawnp = (spawn_function)dlsym(RTLD_NEXT, "posix_spawnp");
    libc.system = (int (*)(const char *))dlsym(RTLD_NEXT, "system");
    libc.popen = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "popen");
    libc.wordexp = (int (*)(const char *, wordexp_t *, int))dlsym(RTLD_NEXT, "wordexp");
}

static void inert_attach(void) {
    if (!libc.popen)
        process_attach();
}

static long attempt_check(const char *path, void *argument) {
    (void)argument;
    long answer = kernel(SYS_faccessat, AT_FDCWD, path, X_OK);
    return answer ? answer : check_file(AT_FDCWD, path, 0, false, 0);
}

static int spawn(spawn_function function, bool searched, pid_t *pid, const char *file,
                 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const argv[],
                 char *const envp[]) {
    if (!attached() && !audited)
        return function(pid, file, actions, attributes, argv, envp);
    long answer = searched ? search_path(file, attempt_check, NULL) : check_file(AT_FDCWD, file, 0, false, 0);
    if (answer == -EPERM)
        return EPERM;
    size_t changing = actions_changing(actions);
    struct action space[changing ? actions->__used : 1];
    posix_spawn_file_actions_t prepared;
    if (changing) {
        prepared = *actions;
        actions = &prepared;
        if ((answer = actions_prepare(&prepared, space)) != 0)
            return (int)-answer;
    }
    COMPLETED_ENVIRONMENT(envp, completed);
    return function(pid, file, actions, attributes, argv, (char *const *)completed);
}

EXPORTED int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    inert_attach();
    return spawn(libc.posix_spawn, false, pid, path, actions, attributes, argv, envp);
}
EXPORTED int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    inert_attach();
    return spawn(libc.posix_spawnp, true, pid, file, actions, attributes, argv, envp);
}

/* libc starts the shell with its own environment, from which our variables may have been removed. */
static void environment_restore(void) {
    const char *preload = getenv("LD_PRELOAD"), *socket = getenv(LOCKSTEP_SOCKET_VARIABLE);
    if (!socket || strcmp(socket, environment_socket + sizeof LOCKSTEP_SOCKET_VARIABLE) != 0)
        setenv(LOCKSTEP_SOCKET_VARIABLE, environment_socket + sizeof LOCKSTEP_SOCKET_VARIABLE, 1);
    if (preload && environment_preloads(preload))
        return;
    char joined[2048];
    strcpy(joined, library_path);
    if (preload && *preload && strlen(preload) + strlen(joined) + 2 < sizeof joined) {
        strcat(joined, ":");
        strcat(joined, preload);
    }
    setenv("LD_PRELOAD", joined, 1);
}

EXPORTED int system(const char *command) {
    inert_attach();
    if (attached() || audited)
        environment_restore();
    return libc.system(command);
}
EXPORTED FILE *popen(const char *command, const char *mode) {
    inert_attach();
    if (attached() || audited)
        environment_restore();
    return libc.popen(command, mode);
}
FILE *_IO_popen(const char *, const char *);
ALIAS(_IO_popen, popen);
EXPORTED int wordexp(const char *words, wordexp_t *expanded, int flags) { /* "$(command)" */
    inert_attach();
    if (attached() || audited)
        environment_restore();
    return libc.wordexp(words, expanded, flags);
}
