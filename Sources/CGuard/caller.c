#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIDFD_THREAD O_EXCL /* Linux 6.9 */

/* What the kernel asks for in file systems: it takes these from a thread whose user becomes another one. */
#define CAPABILITY(number) (1ull << (number))
#define FILE_CAPABILITIES (CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_DAC_READ_SEARCH) \
    | CAPABILITY(CAP_FOWNER) | CAPABILITY(CAP_FSETID) | CAPABILITY(CAP_LINUX_IMMUTABLE) | CAPABILITY(CAP_MKNOD) \
    | CAPABILITY(CAP_MAC_OVERRIDE) | CAPABILITY(CAP_SYS_RESOURCE) | CAPABILITY(CAP_SETFCAP))

/* What an agent is itself. */
static struct {
    uid_t user;
    gid_t group;
    int group_count;
    gid_t groups[GROUPS_MAX_KEPT];
    uint64_t permitted, effective;
    struct stat root, names, users;
} own;
static __thread bool is_other;

/* System calls of one thread: libc would change the credentials of all, and the library would note a umask. */
static long plain(long number, long a, long b, long c) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return answer;
}

/* ------------------------------------------------------------------ capabilities */

static void read_capabilities(uint64_t *effective, uint64_t *permitted) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    plain(SYS_capget, (long)&header, (long)data, 0);
    *effective = data[0].effective | (uint64_t)data[1].effective << 32;
    *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static long set_effective(uint64_t effective) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    long answer = plain(SYS_capget, (long)&header, (long)data, 0);
    if (answer != 0) return answer;
    data[0].effective = (uint32_t)effective;
    data[1].effective = (uint32_t)(effective >> 32);
    return plain(SYS_capset, (long)&header, (long)data, 0);
}

/* ------------------------------------------------------------------ preparing */

void caller_prepare(void) {
    own.user = geteuid();
    own.group = getegid();
    own.group_count = getgroups(GROUPS_MAX_KEPT, own.groups);
    read_capabilities(&own.effective, &own.permitted);
    stat("/proc/self/root", &own.root);
    stat("/proc/self/ns/mnt", &own.names);
    stat("/proc/self/ns/user", &own.users);
}

/* A umask of its own. */
long caller_prepare_thread(void) { return unshare(CLONE_FS) == 0 ? 0 : -errno; }

/* ------------------------------------------------------------------ the caller */

struct caller caller_of(int listener, const struct seccomp_notif *notification) {
    return (struct caller){.listener = listener, .id = notification->id, .tid = (pid_t)notification->pid, .thread = -1};
}

void caller_release(struct caller *caller) {
    if (caller->thread >= 0) close(caller->thread);
    caller->thread = -1;
}

bool caller_is_waiting(const struct caller *caller) {
    uint64_t id = caller->id;
    return ioctl(caller->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

/* Before Linux 6.9 there are pidfds of processes only: good if the thread has its process's descriptors. */
static int open_process(struct caller *caller) {
    long known = caller_identify(caller);
    if (known != 0) return (int)known;
    int process = (int)syscall(SYS_pidfd_open, caller->process, 0);
    if (process < 0) return -errno;
    if (caller->tid != caller->process && syscall(SYS_kcmp, caller->tid, caller->process, KCMP_FILES, 0, 0) != 0) {
        close(process);
        return -EOPNOTSUPP;
    }
    return process;
}

int caller_descriptor(struct caller *caller, int descriptor) {
    if (caller->thread < 0) {
        caller->thread = (int)syscall(SYS_pidfd_open, caller->tid, PIDFD_THREAD);
        if (caller->thread < 0 && errno == EINVAL) caller->thread = open_process(caller);
        else if (caller->thread < 0) caller->thread = -errno;
        if (caller->thread < 0) {
            int failed = caller->thread;
            caller->thread = -1;
            return failed;
        }
    }
    int duplicate = (int)syscall(SYS_pidfd_getfd, caller->thread, descriptor, 0);
    return duplicate < 0 ? -errno : duplicate;
}

static int open_part(const struct caller *caller, const char *part, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", caller->tid, part);
    int descriptor = open(path, flags | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int caller_directory(struct caller *caller) { return open_part(caller, "cwd", O_PATH | O_DIRECTORY); }

static const char *line_of(const char *text, const char *name) {
    const char *found = strstr(text, name);
    return found == NULL ? NULL : found + strlen(name);
}

/* The last of the four numbers of "Uid:" and "Gid:" is the file system's. */
static uint32_t fourth(const char *text) {
    char *next = (char *)(uintptr_t)text;
    uint32_t number = 0;
    for (int index = 0; index < 4; index++) number = (uint32_t)strtoul(next, &next, 10);
    return number;
}

long caller_identify(struct caller *caller) {
    char text[8192];
    if (caller->identity_read) return 0;
    int status = open_part(caller, "status", O_RDONLY);
    if (status < 0) return status;
    ssize_t bytes = read(status, text, sizeof text - 1);
    close(status);
    if (bytes <= 0) return -ESRCH;
    text[bytes] = 0;
    const char *mask = line_of(text, "\nUmask:\t"), *process = line_of(text, "\nTgid:\t"), *user = line_of(text, "\nUid:\t"),
               *group = line_of(text, "\nGid:\t"), *groups = line_of(text, "\nGroups:\t"), *effective = line_of(text, "\nCapEff:\t");
    if (!mask || !process || !user || !group || !groups || !effective) return -EOPNOTSUPP;
    caller->umask = (uint32_t)strtoul(mask, NULL, 8);
    caller->process = (pid_t)strtol(process, NULL, 10);
    caller->user = fourth(user);
    caller->group = fourth(group);
    caller->capabilities = strtoull(effective, NULL, 16);
    for (char *next = (char *)(uintptr_t)groups, *end; *next != '\n'; next = end) {
        unsigned long number = strtoul(next, &end, 10);
        if (end == next || *end == 0) break;
        if (caller->group_count == GROUPS_MAX_KEPT) return -EOPNOTSUPP;
        caller->groups[caller->group_count++] = (gid_t)number;
        while (*end == ' ') end++;
    }
    caller->identity_read = true;
    return 0;
}

static bool is_same(const struct caller *caller, const char *part, const struct stat *mine) {
    char path[64];
    struct stat theirs;
    snprintf(path, sizeof path, "/proc/%d/%s", caller->tid, part);
    return stat(path, &theirs) == 0 && theirs.st_dev == mine->st_dev && theirs.st_ino == mine->st_ino;
}

long caller_shares_names(struct caller *caller) {
    return is_same(caller, "root", &own.root) && is_same(caller, "ns/mnt", &own.names) ? 0 : -EOPNOTSUPP;
}

void caller_program(struct caller *caller, char program[GUARD_PROGRAM_BYTES]) {
    char path[64];
    memcpy(program, "?", 2);
    if (caller_identify(caller) != 0) return;
    snprintf(path, sizeof path, "/proc/%d/comm", caller->process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t bytes = read(file, program, GUARD_PROGRAM_BYTES);
    close(file);
    program[bytes > 0 ? bytes - 1 : 0] = 0; /* the newline */
    for (char *next = program; *next != 0; next++)
        if ((unsigned char)*next <= 0x20 || *next == 0x7f) *next = '?';
}

/* ------------------------------------------------------------------ its memory */

ssize_t caller_read(const struct caller *caller, const struct iovec *to, const struct iovec *from, size_t count) {
    ssize_t bytes = process_vm_readv(caller->tid, to, 1, from, count, 0);
    return bytes < 0 ? -errno : bytes;
}

ssize_t caller_read_bytes(const struct caller *caller, void *to, uint64_t from, size_t count) {
    struct iovec here = {to, count}, there = {(void *)(uintptr_t)from, count};
    return caller_read(caller, &here, &there, 1);
}

ssize_t caller_read_text(const struct caller *caller, char *to, uint64_t from, size_t limit) {
    size_t filled = 0;
    while (filled < limit) {
        /* To the end of a page at a time: the next one may not be there. */
        size_t part = 4096 - (from + filled) % 4096;
        if (part > limit - filled) part = limit - filled;
        ssize_t bytes = caller_read_bytes(caller, to + filled, from + filled, part);
        if (bytes <= 0) return bytes < 0 ? bytes : -EFAULT;
        const char *end = memchr(to + filled, 0, (size_t)bytes);
        if (end != NULL) return end - to;
        filled += (size_t)bytes;
    }
    return -ENAMETOOLONG;
}

/* ------------------------------------------------------------------ being it */

static bool is_like_self(const struct caller *caller) {
    return caller->user == own.user && caller->group == own.group && caller->group_count == own.group_count
        && memcmp(caller->groups, own.groups, sizeof *own.groups * (size_t)own.group_count) == 0
        && (caller->capabilities & FILE_CAPABILITIES) == (own.effective & FILE_CAPABILITIES);
}

long caller_become(struct caller *caller) {
    long answer = caller_identify(caller);
    if (answer != 0) return answer;
    if (!is_like_self(caller)) {
        if (!is_same(caller, "ns/user", &own.users)) return -EOPNOTSUPP;
        is_other = true;
        answer = plain(SYS_setgroups, caller->group_count, (long)caller->groups, 0);
        if (answer != 0 && caller->group_count == own.group_count
            && memcmp(caller->groups, own.groups, sizeof *own.groups * (size_t)own.group_count) == 0)
            answer = 0;
        plain(SYS_setfsgid, caller->group, 0, 0);
        plain(SYS_setfsuid, caller->user, 0, 0);
        uint64_t effective, permitted;
        read_capabilities(&effective, &permitted);
        if (answer == 0)
            answer = set_effective((caller->capabilities & FILE_CAPABILITIES) | (own.effective & ~FILE_CAPABILITIES));
        /* setfsuid and setfsgid say what was, and never that they failed. */
        if (plain(SYS_setfsuid, -1, 0, 0) != (long)caller->user || plain(SYS_setfsgid, -1, 0, 0) != (long)caller->group)
            answer = -EPERM;
        if (answer != 0) {
            caller_become_self();
            return -EOPNOTSUPP;
        }
    }
    plain(SYS_umask, caller->umask, 0, 0);
    return 0;
}

void caller_become_self(void) {
    if (!is_other) return;
    plain(SYS_setfsuid, own.user, 0, 0);
    plain(SYS_setfsgid, own.group, 0, 0);
    set_effective(own.effective);
    plain(SYS_setgroups, own.group_count, (long)own.groups, 0);
    is_other = false;
}
