/*
 * WatchDeny.c: opening for writing by programs outside the capture is answered with EPERM.
 *
 *   open(2) --> permission event --> this thread: who calls, and for what? --> FAN_ALLOW or FAN_DENY --> open(2)
 *
 * An event does not say how the file is being opened. Its caller sleeps inside the call meanwhile, and /proc/TID/syscall shows
 * number, arguments and instruction pointer: a call from the library's stub page is covered, one for reading may go on.
 * What can't be told (an open by io_uring's own threads, say) may go on too: reading must always work, and the watch
 * reports and repairs what is written.
 *
 * The kernel waits for an answer without a bound. So the marks lie on the directories of the roots and nowhere else: a daemon
 * that is stopped holds up nobody outside of them, and one that dies nobody at all.
 */
#define _GNU_SOURCE
#include "Watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct answering {
    int queue;
    int pipe;
    const struct lockstep_pids *covered;
    uint64_t stub_page;
    uint64_t *count;
};

int lockstep_deny_open(void)
{
    int queue = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_REPORT_TID | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS,
        O_RDONLY | O_CLOEXEC | O_LARGEFILE);
    return queue < 0 ? -errno : queue;
}

int lockstep_deny_mark(int queue, int directory)
{
    return fanotify_mark(queue, FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, directory, ".") < 0 ? -errno : 0;
}

static bool for_writing(uint64_t flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC); }

/* A member's thread, or one below a member: a static program under the guard makes this call itself. */
static bool is_covered(const struct answering *self, int tid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return true; /* gone: nobody waits for the answer */
    ssize_t count = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    text[count > 0 ? count : 0] = 0;
    const char *line = strstr(text, "\nTgid:");
    int process;
    if (!line || sscanf(line, "\nTgid: %d", &process) != 1)
        return true;
    return lockstep_pids_descends(self->covered, process) != 0;
}

/* Numbers of x86-64, and those of 32-bit programs: in an open, both can only mean an open. */
static bool is_denied(const struct answering *self, int tid)
{
    char path[64], text[256];
    long number;
    uint64_t argument[6], stack, at;

    snprintf(path, sizeof path, "/proc/%d/syscall", tid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t count = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (count <= 0)
        return false;
    text[count] = 0;
    if (sscanf(text, "%ld %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &number, &argument[0],
            &argument[1], &argument[2], &argument[3], &argument[4], &argument[5], &stack, &at) != 9)
        return false;
    if (at >= self->stub_page && at < self->stub_page + 4096)
        return false;
    bool writes;
    switch (number) {
    case SYS_open:
    case 5: writes = for_writing(argument[1]); break;
    case SYS_openat:
    case SYS_open_by_handle_at:
    case 295:
    case 342: writes = for_writing(argument[2]); break;
    case SYS_creat:
    case 8: writes = true; break;
    case SYS_openat2: {
        struct open_how how = {.flags = O_RDONLY};
        struct iovec to = {&how, sizeof how}, from = {(void *)(uintptr_t)argument[2], sizeof how};
        if (process_vm_readv(tid, &to, 1, &from, 1, 0) != (ssize_t)sizeof how)
            return false;
        writes = for_writing(how.flags);
        break;
    }
    default: return false;
    }
    return writes && !is_covered(self, tid);
}

static void report(const struct answering *self, int pid, int descriptor)
{
    struct lockstep_denial denial = {.pid = pid};
    char path[64];

    __atomic_fetch_add(self->count, 1, __ATOMIC_RELAXED);
    if (lockstep_process_name(pid, denial.name, sizeof denial.name) < 0)
        denial.name[0] = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(path, denial.path, sizeof denial.path - 1);
    denial.path[length > 0 ? length : 0] = 0;
    (void)!write(self->pipe, &denial, sizeof denial);
}

static void *answer(void *argument)
{
    const struct answering *self = argument;
    _Alignas(struct fanotify_event_metadata) uint8_t bytes[8192];

    pthread_setname_np(pthread_self(), "watch-deny");
    for (;;) {
        ssize_t count = read(self->queue, bytes, sizeof bytes);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
            poll(NULL, 0, 10); /* the kernel allowed what it had no descriptor for */
            continue;
        }
        if (count <= 0) {
            close(self->queue); /* allows everything from here on */
            return NULL;
        }
        struct fanotify_event_metadata *event = (void *)bytes;
        for (; FAN_EVENT_OK(event, count); event = FAN_EVENT_NEXT(event, count)) {
            if (event->fd < 0)
                continue;
            bool denies = event->pid > 0 && is_denied(self, event->pid);
            if (denies)
                report(self, event->pid, event->fd);
            struct fanotify_response response = {.fd = event->fd, .response = denies ? FAN_DENY : FAN_ALLOW};
            while (write(self->queue, &response, sizeof response) < 0 && errno == EINTR) {}
            close(event->fd);
        }
    }
}

int lockstep_deny_start(int queue, const struct lockstep_pids *covered, uint64_t stub_page, int pipe, uint64_t *count)
{
    struct answering *self = malloc(sizeof *self);
    pthread_t thread;
    if (!self)
        return -ENOMEM;
    *self = (struct answering){.queue = queue, .pipe = pipe, .covered = covered, .stub_page = stub_page, .count = count};
    int error = pthread_create(&thread, NULL, answer, self);
    if (error != 0) {
        free(self);
        return -error;
    }
    pthread_detach(thread);
    return 0;
}

uint64_t lockstep_denied(const uint64_t *count) { return __atomic_load_n(count, __ATOMIC_RELAXED); }
