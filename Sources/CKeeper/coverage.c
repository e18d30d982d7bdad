#include "coverage.h"

#include "CCaptureABI.h"
#include "program.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    SCRIPT_LINE_BYTES = 256, /* the kernel's BINPRM_BUF_SIZE: what is longer, it cuts off */
    SCRIPT_DEPTH_MAX = 4,
};

/* ------------------------------------------------------------------ finding */

/* As execvp searches, except that nothing is handed to a shell. */
void coverage_find(const char *name, char program[PATH_MAX]) {
    if (name[0] == 0) refuse(LOCKSTEP_EXIT_NOT_FOUND, "the command's name is empty");
    if (strchr(name, '/') != NULL) {
        if (snprintf(program, PATH_MAX, "%s", name) >= PATH_MAX || access(program, F_OK) != 0)
            refuse(LOCKSTEP_EXIT_NOT_FOUND, "%s: %s", name, strerror(errno == 0 ? ENAMETOOLONG : errno));
        return;
    }
    const char *directories = getenv("PATH");
    if (directories == NULL) directories = "/bin:/usr/bin";
    bool is_forbidden = false;
    for (const char *start = directories; ; ) {
        const char *end = strchrnul(start, ':');
        int bytes = (int)(end - start);
        struct stat status;
        int needed = snprintf(program, PATH_MAX, "%.*s%s%s", bytes, start, bytes > 0 ? "/" : "", name);
        if (needed < PATH_MAX && stat(program, &status) == 0 && S_ISREG(status.st_mode)) {
            if (access(program, X_OK) == 0) return;
            is_forbidden = true;
        }
        if (*end == 0) break;
        start = end + 1;
    }
    if (is_forbidden) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is in PATH, but not executable", name);
    refuse(LOCKSTEP_EXIT_NOT_FOUND, "%s: no such command in PATH", name);
}

/* ------------------------------------------------------------------ one file */

static bool allows_uncovered, allows_privileged; /* because of the guard */
static bool is_covered;

static bool gains_privileges(int file, const struct stat *status) {
    return (status->st_mode & S_ISUID) != 0 || (status->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)
        || fgetxattr(file, "security.capability", NULL, 0) >= 0;
}

/* With privileges of its own the loader ignores LD_PRELOAD (AT_SECURE). */
static void check_privileges(int file, const struct stat *status, const char *path) {
    if (allows_privileged) {
        is_covered &= !gains_privileges(file, status);
        return;
    }
    if ((status->st_mode & S_ISUID) != 0) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is setuid: it cannot be covered", path);
    if ((status->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is setgid: it cannot be covered", path);
    char capability[64];
    if (fgetxattr(file, "security.capability", capability, sizeof capability) >= 0 || errno == ERANGE)
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s has file capabilities: it cannot be covered", path);
    if (errno != ENODATA && errno != ENOTSUP)
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s: its capabilities are unknown: %s", path, strerror(errno));
}

static int open_program(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (file < 0 && errno == ENOENT) refuse(LOCKSTEP_EXIT_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (file < 0 || fstat(file, &status) != 0)
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s cannot be examined: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode)) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is not a program", path);
    if (access(path, X_OK) != 0) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is not executable", path);
    check_privileges(file, &status, path);
    return file;
}

/* ------------------------------------------------------------------ scripts */

static void check(const char *path, int depth, char loaded[PATH_MAX]);

static char *next_word(char **rest) {
    char *word = *rest + strspn(*rest, " \t");
    if (*word == 0) return NULL;
    *rest = word + strcspn(word, " \t");
    if (**rest != 0) *(*rest)++ = 0;
    return word;
}

/* What "#!/usr/bin/env ..." starts; the kernel gives env everything behind its name as one argument. */
static void check_env(char *argument, const char *script, int depth, char loaded[PATH_MAX]) {
    char *words = argument;
    bool splits = false;
    if (strncmp(argument, "-S", 2) == 0) splits = true, words += 2;
    else if (strncmp(argument, "--split-string=", 15) == 0) splits = true, words += 15;
    char *name = splits ? NULL : argument;
    while (splits && (name = next_word(&words)) != NULL) {
        if (strcmp(name, "-u") == 0) next_word(&words);
        else if (strchr(name, '=') == NULL && strcmp(name, "-i") != 0 && strcmp(name, "-") != 0) break;
    }
    if (name == NULL || name[0] == '-' || strpbrk(name, "\"'\\$ \t") != NULL)
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s: its env line cannot be followed", script);
    char program[PATH_MAX];
    coverage_find(name, program);
    check(program, depth + 1, loaded);
}

static void check_script(char *line, const char *script, int depth, char loaded[PATH_MAX]) {
    char *newline = strchr(line, '\n');
    if (newline == NULL && strlen(line) >= SCRIPT_LINE_BYTES - 1)
        refuse(LOCKSTEP_EXIT_UNCOVERED, "%s: its interpreter line is too long", script);
    if (newline != NULL) *newline = 0;
    char *rest = line + 2;
    char *interpreter = next_word(&rest);
    if (interpreter == NULL) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s names no interpreter", script);
    if (depth >= SCRIPT_DEPTH_MAX) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s: too many interpreters of interpreters", script);
    check(interpreter, depth + 1, loaded);
    char *argument = rest + strspn(rest, " \t");
    for (size_t bytes = strlen(argument); bytes > 0 && strchr(" \t\r", argument[bytes - 1]) != NULL; ) argument[--bytes] = 0;
    const char *base = strrchr(interpreter, '/');
    if (strcmp(base == NULL ? interpreter : base + 1, "env") == 0) check_env(argument, script, depth, loaded);
}

/* ------------------------------------------------------------------ everything */

/* `loaded` becomes the program, neither script nor env, that will run in the end. */
static void check(const char *path, int depth, char loaded[PATH_MAX]) {
    char start[SCRIPT_LINE_BYTES];
    int file = open_program(path);
    ssize_t bytes = pread(file, start, sizeof start - 1, 0);
    start[bytes > 0 ? bytes : 0] = 0;
    if (bytes >= 2 && start[0] == '#' && start[1] == '!') {
        close(file);
        check_script(start, path, depth, loaded);
        return;
    }
    char why[160];
    enum program_kind kind = program_kind(file, why, sizeof why);
    if (kind == PROGRAM_FOREIGN || (kind != PROGRAM_DYNAMIC && !allows_uncovered)) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s %s", path, why);
    is_covered &= kind == PROGRAM_DYNAMIC;
    close(file);
    snprintf(loaded, PATH_MAX, "%s", path);
}

static void check_library(const char *library) {
    char why[160];
    int file = open(library, O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse(LOCKSTEP_EXIT_UNCOVERED, "the library %s: %s", library, strerror(errno));
    if (!program_is_library(file, why, sizeof why)) refuse(LOCKSTEP_EXIT_UNCOVERED, "the library %s %s", library, why);
    close(file);
}

bool coverage_check(const char *command, const char *library, bool guarded, bool privileged, char program[PATH_MAX]) {
    char loaded[PATH_MAX];
    allows_uncovered = guarded;
    allows_privileged = guarded && privileged;
    is_covered = true;
    coverage_find(command, program);
    check(program, 0, loaded);
    check_library(library);
    if (is_covered && !program_takes_library(loaded, library))
        refuse(LOCKSTEP_EXIT_UNCOVERED, "the loader does not take %s into %s, or misses a library (see ldd): it cannot be covered",
               library, loaded);
    return is_covered;
}
