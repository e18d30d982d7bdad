/*
 * process.c: every descendant is covered too, or it is not started.
 *
 *   exec*, posix_spawn   target dynamic, not set-user-id  ->  environment completed: LD_PRELOAD, LOCKSTEP_SOCKET
 *   system, popen        the environment of this process completed; libc starts /bin/sh with it
 *
 * The new program attaches in its own constructor. A static program and one that gains privileges would not load the
 * library: left to the guard if it is on (and, for privileges, took none away); else EPERM and a line. One of another
 * machine is always refused.
 */
#define _GNU_SOURCE
#include "process.h"
#include <elf.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/prctl.h>
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
    if (guarded)
        return 0;
    struct statx loader;
    if (kernel(SYS_statx, AT_FDCWD, LOADER, 0, STATX_INO, &loader) == 0 && loader.stx_ino == status->stx_ino
        && loader.stx_dev_major == status->stx_dev_major && loader.stx_dev_minor == status->stx_dev_minor)
        return 0; /* the loader itself, started as a command, obeys LD_PRELOAD */
    return refused(path, "a static program can't be covered: refused");
}

static long check_script(const uint8_t *start, long bytes, bool leaving, int depth) {
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
    return check_file(AT_FDCWD, interpreter, 0, leaving, depth + 1);
}

/* Closing a file of the tree would drop the locks that this process holds on it: when it is about to be replaced, the
   descriptor is left to the exec. A process that stays and spawns a program which it has locked itself is not known. */
static void close_checked(int descriptor, bool leaving) {
    char *path = leaving ? scratch_take() : NULL;
    long bytes = path ? path_of_descriptor(descriptor, path) : 0;
    if (bytes <= 0 || !path_in_tree(path, (size_t)bytes))
        kernel(SYS_close, descriptor);
    scratch_return(path);
}

long check_file(int directory, const char *path, int flags, bool leaving, int depth) {
    if (audited)
        return 0; /* for the auditor to see */
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
    long answer = 0, bytes = 0;
    if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS & ~(STATX_CTIME | STATX_MTIME), &status) != 0)
        answer = -EIO;
    else if (S_ISREG(status.stx_mode) && (status.stx_mode & 0111)) {
        memset(&start, 0, sizeof start);
        bytes = kernel(SYS_pread64, descriptor, &start, sizeof start, 0);
        if (bytes > 2 && start.bytes[0] == '#' && start.bytes[1] == '!')
            answer = check_script(start.bytes, bytes, leaving, depth); /* set-user-id on a script is ignored by the kernel */
        else if (bytes >= 4 && memcmp(start.bytes, ELFMAG, 4) == 0)
            answer = gains_privileges((int)descriptor, &status)
                    && !(guarded && kernel(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
                ? refused(path, "a program that gains privileges ignores LD_PRELOAD: refused")
                : check_elf((int)descriptor, path, start.bytes, &status);
        else
            answer = -ENOEXEC; /* what the kernel says, unless a foreign interpreter is registered for it */
    }
    close_checked((int)descriptor, leaving);
    return answer;
}

/* ------------------------------------------------------------------ the environment of a descendant */

size_t environment_count(char *const envp[]) {
    size_t count = 0;
    while (envp && envp[count])
        count++;
    return count;
}

/* "LD_PRELOAD=a:b c" names the library? */
bool environment_preloads(const char *list) {
    size_t bytes = strlen(library_path);
    for (const char *at = list; (at = strstr(at, library_path)) != NULL; at++)
        if ((at == list || at[-1] == ':' || at[-1] == ' ') && (at[bytes] == 0 || at[bytes] == ':' || at[bytes] == ' '))
            return true;
    return false;
}

/* Copies `envp` into `to` (count + 3 places) with our two variables right; `joined` takes a longer LD_PRELOAD. */
void environment_complete(char *const envp[], const char **to, char *joined, size_t joined_bytes) {
    size_t at = 0;
    const char *preload = environment_preload;
    for (size_t i = 0; envp && envp[i]; i++) {
        if (strncmp(envp[i], "LOCKSTEP_SOCKET=", 16) == 0)
            continue;
        if (strncmp(envp[i], "LD_PRELOAD=", 11) == 0) {
            const char *list = envp[i] + 11;
            if (environment_preloads(list))
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
