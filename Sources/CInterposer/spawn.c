/*
 * spawn.c: posix_spawn, system, popen and wordexp: libc's own, with the program checked and the environment completed before.
 */
#define _GNU_SOURCE
#include "process.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

typedef int (*spawn_function)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                              char *const[], char *const[]);
static struct {
    spawn_function posix_spawn, posix_spawnp;
    int (*addopen)(posix_spawn_file_actions_t *, int, const char *, int, mode_t);
    int (*system)(const char *);
    FILE *(*popen)(const char *, const char *);
    int (*wordexp)(const char *, wordexp_t *, int);
} libc;

void process_attach(void) {
    libc.posix_spawn = (spawn_function)dlsym(RTLD_NEXT, "posix_spawn");
    libc.posix_spawnp = (spawn_function)dlsym(RTLD_NEXT, "posix_spawnp");
    libc.addopen = (int (*)(posix_spawn_file_actions_t *, int, const char *, int, mode_t))
        dlsym(RTLD_NEXT, "posix_spawn_file_actions_addopen");
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
    if (!attached())
        return function(pid, file, actions, attributes, argv, envp);
    long answer = searched ? search_path(file, attempt_check, NULL) : check_file(AT_FDCWD, file, 0, false, 0);
    if (answer == -EPERM)
        return EPERM;
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

/* The child opens inside libc: what would create or truncate in the tree is left to the guard, or refused. */
EXPORTED int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int descriptor, const char *path,
                                              int flags, mode_t mode) {
    inert_attach();
    if (attached() && !guarded && (flags & (O_CREAT | O_TRUNC))) {
        long opened = path_open(AT_FDCWD, path, 0), verdict = OUTSIDE;
        struct target target;
        struct place place;
        if (opened >= 0) {
            verdict = identify((int)opened, &target);
            kernel(SYS_close, opened);
        } else if (place_resolve(AT_FDCWD, path, false, &place) == 0) {
            verdict = place.whole ? OUTSIDE : place_verdict(&place);
            place_release(&place);
        }
        if (verdict != OUTSIDE) {
            line(LINE_SPAWN, "posix_spawn_file_actions_addopen", -1, path,
                 "creation or truncation in the replicated tree: refused");
            return EPERM;
        }
    }
    return libc.addopen(actions, descriptor, path, flags, mode);
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
    if (attached())
        environment_restore();
    return libc.system(command);
}
EXPORTED FILE *popen(const char *command, const char *mode) {
    inert_attach();
    if (attached())
        environment_restore();
    return libc.popen(command, mode);
}
FILE *_IO_popen(const char *, const char *);
ALIAS(_IO_popen, popen);
EXPORTED int wordexp(const char *words, wordexp_t *expanded, int flags) { /* "$(command)" */
    inert_attach();
    if (attached())
        environment_restore();
    return libc.wordexp(words, expanded, flags);
}
