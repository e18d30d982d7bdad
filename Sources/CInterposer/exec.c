/*
 * exec.c: the exec family. What libc makes of execve (PATH, the shell for a file without a format, argument lists) is made
 * here, because libc's own would call its own execve.
 */
#define _GNU_SOURCE
#include "process.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

long captured_execve(const char *path, char *const argv[], char *const envp[]) {
    if (!attached() && !audited)
        return kernel(SYS_execve, path, argv, envp);
    long answer = (uintptr_t)path < 4096 ? 0 : check_file(AT_FDCWD, path, 0, true, 0);
    if (answer)
        return answer;
    COMPLETED_ENVIRONMENT(envp, completed);
    track_leave_all();
    answer = kernel(SYS_execve, path, argv, completed);
    track_return_all();
    return answer;
}

long captured_execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    if (!attached() && !audited)
        return kernel(SYS_execveat, directory, path, argv, envp, flags);
    char link[DESCRIPTOR_PATH_BYTES];
    long answer;
    if ((flags & AT_EMPTY_PATH) && path && path[0] == 0) {
        descriptor_path(directory, link);
        answer = check_file(AT_FDCWD, link, 0, true, 0);
    } else
        answer = (uintptr_t)path < 4096 ? 0
            : check_file(directory, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, true, 0);
    if (answer)
        return answer;
    COMPLETED_ENVIRONMENT(envp, completed);
    track_leave_all();
    answer = kernel(SYS_execveat, directory, path, argv, completed, flags);
    track_return_all();
    return answer;
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
long search_path(const char *file, long (*attempt)(const char *, void *), void *argument) {
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
    return (int)returned(search_path(file, attempt_exec, &arguments));
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
