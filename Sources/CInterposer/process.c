/*
 * process.c: every descendant is covered too, or it is not started.
 *
 *   exec*, posix_spawn   target dynamic, not set-user-id  ->  environment completed: LD_PRELOAD, LOCKSTEP_SOCKET
 *   system, popen        the environment of this process completed; libc starts /bin/sh with it
 *
 * The new program attaches in its own constructor. A static program, one that gains privileges, or one of another
 * machine would not load the library: EPERM and a line.
 */
#define _GNU_SOURCE
#include "library.h"
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT_DEPTH_MAX 5
#define LOADER "/lib64/ld-linux-x86-64.so.2"

/* ------------------------------------------------------------------ can it be covered? */

static long refused(const char *path, const char *why) {
    line(LINE_EXEC, "exec", -1, path, why);
    return -EPERM;
}

static bool gains_privileges(int descriptor, const struct statx *status) {
    char capability[64];
    long user = kernel(SYS_getuid), group = kernel(SYS_getgid);
    /* The loader is in its secure mode, and drops LD_PRELOAD, whenever the ids differ after exec. */
    if ((status->stx_mode & S_ISUID) || ((status->stx_mode & S_ISGID) && (status->stx_mode & S_IXGRP))
        || kernel(SYS_geteuid) != user || kernel(SYS_getegid) != group)
        return true;
    return user != 0
        && kernel(SYS_fgetxattr, descriptor, "security.capability", capability, sizeof capability) > 0;
}

/* An ELF file's own claim: dynamic for this machine? */
static long check_elf(int descriptor, const char *path, const uint8_t *start, const struct statx *status) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)start;
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
        return refused(path, "a program of another machine can't be covered: refused");
    for (unsigned i = 0; i < header->e_phnum && i < 128; i++) {
        Elf64_Phdr segment;
        if (kernel(SYS_pread64, descriptor, &segment, sizeof segment, header->e_phoff + i * sizeof segment)
            != (long)sizeof segment)
            break;
        if (segment.p_type == PT_INTERP)
            return 0;
    }
    struct statx loader;
    if (kernel(SYS_statx, AT_FDCWD, LOADER, 0, STATX_INO, &loader) == 0 && loader.stx_ino == status->stx_ino
        && loader.stx_dev_major == status->stx_dev_major && loader.stx_dev_minor == status->stx_dev_minor)
        return 0; /* the loader itself, started as a command, obeys LD_PRELOAD */
    return refused(path, "a static program can't be covered: refused");
}

static long check_file(int directory, const char *path, int flags, int depth);

static long check_script(const uint8_t *start, long bytes, int depth) {
    char interpreter[256];
    size_t count = 0;
    long at = 2;
    while (at < bytes && (start[at] == ' ' || start[at] == '\t'))
        at++;
    while (at < bytes && count < sizeof interpreter - 1 && start[at] != ' ' && start[at] != '\t' && start[at] != '\n'
           && start[at] != 0)
        interpreter[count++] = (char)start[at++];
    interpreter[count] = 0;
    if (count == 0 || depth >= SCRIPT_DEPTH_MAX)
        return 0; /* the kernel says ENOEXEC or ELOOP */
    return check_file(AT_FDCWD, interpreter, 0, depth + 1);
}

/* 0: go on (also when the kernel will fail by itself); else -errno. Always leaves a descriptor of a tracked file open:
   closing it would drop the process's locks; the exec closes it. */
static long check_file(int directory, const char *path, int flags, int depth) {
    union {
        Elf64_Ehdr elf;
        uint8_t bytes[512];
    } start;
    long descriptor = kernel(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags, 0);
    if (descriptor == -EACCES && kernel(SYS_faccessat, directory, path, X_OK) == 0)
        return refused(path, "a program that can't be read can't be checked: refused");
    if (descriptor < 0)
        return 0;
    struct statx status;
    struct target target;
    long answer = 0, bytes = 0;
    if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS & ~(STATX_CTIME | STATX_MTIME), &status) != 0)
        answer = -EIO;
    else if (S_ISREG(status.stx_mode) && (status.stx_mode & 0111)) {
        memset(&start, 0, sizeof start);
        bytes = kernel(SYS_pread64, descriptor, &start, sizeof start, 0);
        if (bytes > 2 && start.bytes[0] == '#' && start.bytes[1] == '!')
            answer = check_script(start.bytes, bytes, depth); /* set-user-id on a script is ignored by the kernel */
        else if (bytes >= 4 && memcmp(start.bytes, ELFMAG, 4) == 0)
            answer = gains_privileges((int)descriptor, &status)
                ? refused(path, "a program that gains privileges ignores LD_PRELOAD: refused")
                : check_elf((int)descriptor, path, start.bytes, &status);
        else
            answer = -ENOEXEC; /* what the kernel says, unless a foreign interpreter is registered for it */
    }
    if (identify((int)descriptor, &target) == OUTSIDE)
        kernel(SYS_close, descriptor);
    return answer;
}

/* ------------------------------------------------------------------ the environment of a descendant */

static size_t environment_count(char *const envp[]) {
    size_t count = 0;
    while (envp && envp[count])
        count++;
    return count;
}

/* "LD_PRELOAD=a:b c" names the library? */
static bool preloads(const char *list) {
    size_t bytes = strlen(library_path);
    for (const char *at = list; (at = strstr(at, library_path)) != NULL; at++)
        if ((at == list || at[-1] == ':' || at[-1] == ' ') && (at[bytes] == 0 || at[bytes] == ':' || at[bytes] == ' '))
            return true;
    return false;
}

/* Copies `envp` into `to` (count + 3 places) with our two variables right; `joined` takes a longer LD_PRELOAD. */
static void environment_complete(char *const envp[], const char **to, char *joined, size_t joined_bytes) {
    size_t at = 0;
    const char *preload = environment_preload;
    for (size_t i = 0; envp && envp[i]; i++) {
        if (strncmp(envp[i], "LOCKSTEP_SOCKET=", 16) == 0)
            continue;
        if (strncmp(envp[i], "LD_PRELOAD=", 11) == 0) {
            const char *list = envp[i] + 11;
            if (preloads(list))
                preload = envp[i];
            else if (*list && strlen(environment_preload) + strlen(list) + 2 < joined_bytes) {
                strcpy(joined, environment_preload);
                strcat(joined, ":");
                strcat(joined, list);
                preload = joined;
            }
            continue;
        }
        to[at++] = envp[i];
    }
    to[at++] = preload;
    to[at++] = environment_socket;
    to[at] = NULL;
}

#define COMPLETED_ENVIRONMENT(envp, name)                        \
    const char *name[environment_count(envp) + 3];               \
    char name##_joined[2048];                                    \
    environment_complete(envp, name, name##_joined, sizeof name##_joined)

/* ------------------------------------------------------------------ exec */

long captured_execve(const char *path, char *const argv[], char *const envp[]) {
    if (!attached())
        return kernel(SYS_execve, path, argv, envp);
    long answer = (uintptr_t)path < 4096 ? 0 : check_file(AT_FDCWD, path, 0, 0);
    if (answer)
        return answer;
    COMPLETED_ENVIRONMENT(envp, completed);
    return kernel(SYS_execve, path, argv, completed);
}

long captured_execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    if (!attached())
        return kernel(SYS_execveat, directory, path, argv, envp, flags);
    char link[DESCRIPTOR_PATH_BYTES];
    long answer;
    if ((flags & AT_EMPTY_PATH) && path && path[0] == 0) {
        descriptor_path(directory, link);
        answer = check_file(AT_FDCWD, link, 0, 0);
    } else
        answer = (uintptr_t)path < 4096 ? 0
            : check_file(directory, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, 0);
    if (answer)
        return answer;
    COMPLETED_ENVIRONMENT(envp, completed);
    return kernel(SYS_execveat, directory, path, argv, completed, flags);
}

/* A file without a format that the kernel knows is a script of /bin/sh, for the p variants. */
static long exec_or_shell(const char *path, char *const argv[], char *const envp[]) {
    long answer = captured_execve(path, argv, envp);
    if (answer != -ENOEXEC)
        return answer;
    size_t count = environment_count(argv);
    const char *shell_argv[count + 3];
    shell_argv[0] = "/bin/sh";
    shell_argv[1] = path;
    for (size_t i = 1; i < count; i++)
        shell_argv[i + 1] = argv[i];
    shell_argv[count ? count + 1 : 2] = NULL;
    return captured_execve("/bin/sh", (char *const *)shell_argv, envp);
}

/* Calls `attempt` for each directory of PATH, as execvp does: EACCES is remembered, "not there" goes on. */
static long search(const char *file, long (*attempt)(const char *, void *), void *argument) {
    if (strchr(file, '/'))
        return attempt(file, argument);
    const char *list = getenv("PATH");
    if (!list)
        list = "/bin:/usr/bin";
    size_t file_bytes = strlen(file);
    if (file_bytes == 0)
        return -ENOENT;
    if (file_bytes > LOCKSTEP_NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    bool denied = false;
    for (;;) {
        const char *end = strchrnul(list, ':');
        size_t bytes = (size_t)(end - list);
        char path[4096];
        if (bytes + file_bytes + 2 <= sizeof path) {
            memcpy(path, list, bytes);
            path[bytes] = '/';
            memcpy(path + bytes + (bytes > 0), file, file_bytes + 1);
            long answer = attempt(path, argument);
            if (answer == -EACCES)
                denied = true;
            else if (answer != -ENOENT && answer != -ENOTDIR && answer != -ESTALE && answer != -ENODEV
                     && answer != -ETIMEDOUT)
                return answer;
        }
        if (*end == 0)
            return denied ? -EACCES : -ENOENT;
        list = end + 1;
    }
}

struct exec_arguments {
    char *const *argv, *const *envp;
};

static long attempt_exec(const char *path, void *argument) {
    const struct exec_arguments *arguments = argument;
    return exec_or_shell(path, arguments->argv, arguments->envp);
}

EXPORTED int execve(const char *path, char *const argv[], char *const envp[]) {
    return (int)returned(captured_execve(path, argv, envp));
}
EXPORTED int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }
EXPORTED int execvpe(const char *file, char *const argv[], char *const envp[]) {
    struct exec_arguments arguments = {argv, envp};
    return (int)returned(search(file, attempt_exec, &arguments));
}
EXPORTED int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }
EXPORTED int execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    return (int)returned(captured_execveat(directory, path, argv, envp, flags));
}
EXPORTED int fexecve(int descriptor, char *const argv[], char *const envp[]) {
    return execveat(descriptor, "", argv, envp, AT_EMPTY_PATH);
}

/* The argument list of execl and its like, on the stack: twice through, once to count. */
#define ARGUMENT_LIST(first, list)                   \
    size_t count = 1;                                \
    va_start(list, first);                           \
    while (va_arg(list, const char *))               \
        count++;                                     \
    va_end(list);                                    \
    const char *argv[count + 1];                     \
    va_start(list, first);                           \
    argv[0] = first;                                 \
    for (size_t i = 1; i <= count; i++)              \
        argv[i] = va_arg(list, const char *)

EXPORTED int execl(const char *path, const char *first, ...) {
    va_list list;
    if (!first)
        return execve(path, (char *[]){NULL}, environ);
    ARGUMENT_LIST(first, list);
    va_end(list);
    return execve(path, (char *const *)argv, environ);
}
EXPORTED int execlp(const char *file, const char *first, ...) {
    va_list list;
    if (!first)
        return execvpe(file, (char *[]){NULL}, environ);
    ARGUMENT_LIST(first, list);
    va_end(list);
    return execvpe(file, (char *const *)argv, environ);
}
EXPORTED int execle(const char *path, const char *first, ...) {
    va_list list;
    ARGUMENT_LIST(first, list);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, (char *const *)argv, envp);
}

/* ------------------------------------------------------------------ posix_spawn, system, popen */

typedef int (*spawn_function)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                              char *const[], char *const[]);
static struct {
    spawn_function posix_spawn, posix_spawnp;
    int (*addopen)(posix_spawn_file_actions_t *, int, const char *, int, mode_t);
    int (*system)(const char *);
    FILE *(*popen)(const char *, const char *);
} libc;

void process_attach(void) {
    libc.posix_spawn = (spawn_function)dlsym(RTLD_NEXT, "posix_spawn");
    libc.posix_spawnp = (spawn_function)dlsym(RTLD_NEXT, "posix_spawnp");
    libc.addopen = (int (*)(posix_spawn_file_actions_t *, int, const char *, int, mode_t))
        dlsym(RTLD_NEXT, "posix_spawn_file_actions_addopen");
    libc.system = (int (*)(const char *))dlsym(RTLD_NEXT, "system");
    libc.popen = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "popen");
}

static void inert_attach(void) {
    if (!libc.popen)
        process_attach();
}

static long attempt_check(const char *path, void *argument) {
    (void)argument;
    long answer = kernel(SYS_faccessat, AT_FDCWD, path, X_OK);
    return answer ? answer : check_file(AT_FDCWD, path, 0, 0);
}

static int spawn(spawn_function function, bool searched, pid_t *pid, const char *file,
                 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const argv[],
                 char *const envp[]) {
    if (!attached())
        return function(pid, file, actions, attributes, argv, envp);
    long answer = searched ? search(file, attempt_check, NULL) : check_file(AT_FDCWD, file, 0, 0);
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

/* The child opens inside libc: what would create or truncate in the tree is refused. */
EXPORTED int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int descriptor, const char *path,
                                              int flags, mode_t mode) {
    inert_attach();
    if (attached() && (flags & (O_CREAT | O_TRUNC))) {
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
    if (preload && preloads(preload))
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
