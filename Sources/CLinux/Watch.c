#define _GNU_SOURCE
#include "Watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

_Static_assert(LOCKSTEP_WATCH_ATTRIBUTES == FAN_ATTRIB && LOCKSTEP_WATCH_CLOSE_WRITE == FAN_CLOSE_WRITE && LOCKSTEP_WATCH_OPEN == FAN_OPEN
        && LOCKSTEP_WATCH_MOVED_FROM == FAN_MOVED_FROM && LOCKSTEP_WATCH_MOVED_TO == FAN_MOVED_TO && LOCKSTEP_WATCH_CREATE == FAN_CREATE
        && LOCKSTEP_WATCH_DELETE == FAN_DELETE && LOCKSTEP_WATCH_OVERFLOW == FAN_Q_OVERFLOW && LOCKSTEP_WATCH_DIRECTORY == FAN_ONDIR,
    "the kernel's numbers");

int lockstep_watch_open(void)
{
    /* The queue stays bounded (fs.fanotify.max_queued_events): its overflow is an event of its own. */
    int queue = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME | FAN_REPORT_FID, O_RDONLY | O_CLOEXEC);
    return queue < 0 ? -errno : queue;
}

int lockstep_watch_mark(int queue, int which, int directory)
{
    uint64_t mask = which == LOCKSTEP_WATCH_NAMES
        ? FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ATTRIB | FAN_ONDIR
        : FAN_OPEN | FAN_CLOSE_WRITE;
    return fanotify_mark(queue, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, directory, ".") < 0 ? -errno : 0;
}

/* As lockstep_generation decodes it. */
static void decode(struct lockstep_handle *handle)
{
    const unsigned type = (unsigned)handle->type;
    uint32_t inode32;

    handle->inode = 0;
    handle->generation = 0;
    if (type == 1 && handle->bytes == 12) { /* tmpfs: generation, low and high half of the inode; R4: no generation there */
        uint32_t high;
        memcpy(&inode32, handle->value + 4, 4);
        memcpy(&high, handle->value + 8, 4);
        handle->inode = (uint64_t)high << 32 | inode32;
    } else if ((type == 1 || type == 2) && handle->bytes >= 8) {
        memcpy(&inode32, handle->value, 4);
        handle->inode = inode32;
        memcpy(&handle->generation, handle->value + 4, 4);
    } else if ((type == 0x81 || type == 0x82) && handle->bytes >= 12) {
        memcpy(&handle->inode, handle->value, 8);
        memcpy(&handle->generation, handle->value + 8, 4);
    } else if (type >= 0x4d && type <= 0x4f && handle->bytes >= 20) {
        memcpy(&handle->inode, handle->value, 8);
        memcpy(&handle->generation, handle->value + 16, 4);
    }
}

bool lockstep_watch_next(const void *bytes, size_t count, size_t *offset, struct lockstep_watch_event *event)
{
    struct fanotify_event_metadata metadata;

    if (count < sizeof metadata || *offset > count - sizeof metadata)
        return false;
    const uint8_t *start = (const uint8_t *)bytes + *offset;
    memcpy(&metadata, start, sizeof metadata);
    event->mask = metadata.mask;
    event->pid = metadata.pid;
    event->name_bytes = 0;
    event->file_system = 0;
    event->directory.bytes = event->object.bytes = 0;
    if (metadata.vers != FANOTIFY_METADATA_VERSION || metadata.event_len < metadata.metadata_len
        || metadata.metadata_len < sizeof metadata || metadata.event_len > count - *offset) {
        event->mask = FAN_Q_OVERFLOW;
        *offset = count;
        return true;
    }
    *offset += metadata.event_len;
    for (size_t at = metadata.metadata_len; at + sizeof(struct fanotify_event_info_header) <= metadata.event_len;) {
        struct fanotify_event_info_fid info;
        struct file_handle head;
        memcpy(&info.hdr, start + at, sizeof info.hdr);
        if (info.hdr.len < sizeof info.hdr || at + info.hdr.len > metadata.event_len)
            break;
        const size_t fixed = offsetof(struct fanotify_event_info_fid, handle);
        if (info.hdr.info_type <= FAN_EVENT_INFO_TYPE_DFID && info.hdr.len >= fixed + sizeof head) {
            memcpy(&info, start + at, fixed);
            memcpy(&head, start + at + fixed, sizeof head);
            memcpy(&event->file_system, &info.fsid, sizeof event->file_system);
            struct lockstep_handle *handle = info.hdr.info_type == FAN_EVENT_INFO_TYPE_FID ? &event->object : &event->directory;
            size_t after = fixed + sizeof head + head.handle_bytes;
            if (head.handle_bytes <= LOCKSTEP_HANDLE_BYTES_MAX && after <= info.hdr.len) {
                handle->bytes = head.handle_bytes;
                handle->type = head.handle_type;
                memcpy(handle->value, start + at + fixed + sizeof head, head.handle_bytes);
                decode(handle);
                if (info.hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
                    size_t length = strnlen((const char *)start + at + after, info.hdr.len - after);
                    if (length < sizeof event->name) {
                        memcpy(event->name, start + at + after, length);
                        event->name_bytes = (uint32_t)length;
                    }
                }
            }
        }
        at += info.hdr.len;
    }
    return true;
}

int lockstep_file_system(int descriptor, uint64_t *id)
{
    struct statfs found;
    if (fstatfs(descriptor, &found) < 0)
        return -errno;
    memcpy(id, &found.f_fsid, sizeof *id);
    return 0;
}

int lockstep_open_handle(int mount, const struct lockstep_handle *handle)
{
    union {
        struct file_handle handle;
        uint8_t space[sizeof(struct file_handle) + LOCKSTEP_HANDLE_BYTES_MAX];
    } u;
    if (handle->bytes > LOCKSTEP_HANDLE_BYTES_MAX)
        return -EINVAL;
    u.handle.handle_bytes = handle->bytes;
    u.handle.handle_type = handle->type;
    memcpy(u.handle.f_handle, handle->value, handle->bytes);
    int descriptor = open_by_handle_at(mount, &u.handle, O_PATH | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

/* ------------------------------------------------------------------ processes */

static int read_proc(int pid, const char *what, char *text, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    ssize_t count = read(descriptor, text, bytes - 1);
    int error = errno;
    close(descriptor);
    if (count < 0)
        return -error;
    text[count] = 0;
    return (int)count;
}

int lockstep_process_parent(int pid, int *parent, uint64_t *started)
{
    char text[1024];
    int count = read_proc(pid, "stat", text, sizeof text);
    if (count < 0)
        return count;
    /* The name is in brackets and may hold anything: what follows begins behind the last one. */
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64, parent, started) != 2)
        return -ESRCH;
    return 0;
}

int lockstep_process_name(int pid, char *name, size_t bytes)
{
    int count = read_proc(pid, "comm", name, bytes);
    if (count < 0)
        return count;
    for (char *at = name; *at; at++) {
        if (*at == '\n')
            *at = 0;
        else if (*at < 0x20 || *at > 0x7e)
            *at = '?';
    }
    return 0;
}

/* A line of /proc/PID/maps: "7f..-7f.. rw-s 00000000 fd:00 1234   /path" */
static bool maps_writable(int pid, uint64_t inode)
{
    char path[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char line[512];
    while (!found && fgets(line, sizeof line, file)) {
        char permissions[8];
        uint64_t number;
        if (sscanf(line, "%*s %7s %*s %*s %" SCNu64, permissions, &number) == 2)
            found = number == inode && permissions[1] == 'w' && permissions[3] == 's';
        while (!strchr(line, '\n') && fgets(line, sizeof line, file)) {}
    }
    fclose(file);
    return found;
}

int lockstep_process_writes(int pid, uint64_t device, uint64_t inode, bool *mapped)
{
    enum { DESCRIPTORS_MAX = 65536 };
    char path[64];
    int seen = 0, result = 0;

    *mapped = maps_writable(pid, inode);
    if (*mapped)
        return 1;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *list = opendir(path);
    if (!list)
        return -errno;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(list))) {
        struct stat status;
        if (entry->d_name[0] == '.' || fstatat(dirfd(list), entry->d_name, &status, 0) < 0)
            continue;
        if (++seen > DESCRIPTORS_MAX) {
            result = -E2BIG;
            break;
        }
        if (status.st_ino != inode || status.st_dev != device)
            continue;
        char what[48], text[512];
        snprintf(what, sizeof what, "fdinfo/%.20s", entry->d_name);
        const char *flags = read_proc(pid, what, text, sizeof text) > 0 ? strstr(text, "flags:") : NULL;
        unsigned value;
        if (flags && sscanf(flags, "flags: %o", &value) == 1 && (value & O_ACCMODE) != O_RDONLY && !(value & O_PATH))
            result = 1;
    }
    closedir(list);
    return result;
}

/* ------------------------------------------------------------------ sets of process ids */

enum { PID_BITS = 1 << 22 }; /* the largest pid_max */

struct lockstep_pids {
    _Atomic uint64_t words[PID_BITS / 64];
};

struct lockstep_pids *lockstep_pids_make(void)
{
    void *memory = mmap(NULL, sizeof(struct lockstep_pids), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void lockstep_pids_set(struct lockstep_pids *pids, int pid, bool isMember)
{
    if (pid <= 0 || pid >= PID_BITS)
        return;
    uint64_t bit = 1ull << (pid & 63);
    if (isMember)
        atomic_fetch_or(&pids->words[pid / 64], bit);
    else
        atomic_fetch_and(&pids->words[pid / 64], ~bit);
}

bool lockstep_pids_has(const struct lockstep_pids *pids, int pid)
{
    if (pid <= 0 || pid >= PID_BITS)
        return false;
    return atomic_load(&pids->words[pid / 64]) >> (pid & 63) & 1;
}

int lockstep_pids_descends(const struct lockstep_pids *pids, int pid)
{
    enum { DEPTH_MAX = 64 };
    for (int depth = 0; depth < DEPTH_MAX && pid > 1; depth++) {
        if (lockstep_pids_has(pids, pid))
            return 1;
        uint64_t started;
        int result = lockstep_process_parent(pid, &pid, &started);
        if (result < 0)
            return result;
    }
    return 0;
}
