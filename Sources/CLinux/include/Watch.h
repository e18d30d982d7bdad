/*
 * Watch.h: who writes into a file system, by fanotify and /proc (Watch.c), and the answers of `--watch deny` (WatchDeny.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happened, as FAN_* has it. */
#define LOCKSTEP_WATCH_ATTRIBUTES  0x00000004u
#define LOCKSTEP_WATCH_CLOSE_WRITE 0x00000008u
#define LOCKSTEP_WATCH_OPEN        0x00000020u
#define LOCKSTEP_WATCH_MOVED_FROM  0x00000040u
#define LOCKSTEP_WATCH_MOVED_TO    0x00000080u
#define LOCKSTEP_WATCH_CREATE      0x00000100u
#define LOCKSTEP_WATCH_DELETE      0x00000200u
#define LOCKSTEP_WATCH_OVERFLOW    0x00004000u
#define LOCKSTEP_WATCH_DIRECTORY   0x40000000u

#define LOCKSTEP_HANDLE_BYTES_MAX 128
/* A file by its handle: what open_by_handle_at takes, and what it says (as lockstep_generation has it). */
struct lockstep_handle {
    uint32_t bytes; /* 0: none */
    int32_t type;
    uint8_t value[LOCKSTEP_HANDLE_BYTES_MAX];
    uint64_t inode;
    uint32_t generation;
};

struct lockstep_watch_event {
    uint64_t mask;
    uint64_t file_system; /* as lockstep_file_system */
    int32_t pid;
    uint32_t name_bytes;
    char name[256];
    struct lockstep_handle directory; /* that holds the name */
    struct lockstep_handle object;
};

/* Two queues, because the one must hear of directories and the other must not: every listing opens one. */
#define LOCKSTEP_WATCH_NAMES 0 /* create, delete, move, attributes */
#define LOCKSTEP_WATCH_BYTES 1 /* open, close after writing */
int lockstep_watch_open(void);
int lockstep_watch_mark(int queue, int which, int directory);
/* The event at `*offset` of what was read; false: no further one. An event of another version, or one that its length
   contradicts, counts as an overflow: nothing is known then. */
bool lockstep_watch_next(const void *bytes, size_t count, size_t *offset, struct lockstep_watch_event *event);
int lockstep_file_system(int descriptor, uint64_t *id);
/* An O_PATH descriptor; `mount`: any descriptor on that file system. */
int lockstep_open_handle(int mount, const struct lockstep_handle *handle);

/* ------------------------------------------------------------------ processes */

/* The process that started `pid`, and when `pid` itself began, in ticks after the boot. */
int lockstep_process_parent(int pid, int *parent, uint64_t *started);
/* The program's name as the kernel has it (up to 15 bytes), printable ASCII only. */
int lockstep_process_name(int pid, char *name, size_t bytes);
/* 1: the process has the file open, or mapped and shared, for writing (`*mapped` says which); 0: it has not; -E2BIG: it has
   more descriptors than were looked at. */
int lockstep_process_writes(int pid, uint64_t device, uint64_t inode, bool *mapped);

/* A set of process ids that one thread changes and others ask, without a lock. */
struct lockstep_pids;
struct lockstep_pids *lockstep_pids_make(void);
void lockstep_pids_set(struct lockstep_pids *pids, int pid, bool isMember);
bool lockstep_pids_has(const struct lockstep_pids *pids, int pid);
/* A member, or below one. 1, 0, or negative when the process is gone before that is known. */
int lockstep_pids_descends(const struct lockstep_pids *pids, int pid);

/* ------------------------------------------------------------------ deny */

int lockstep_deny_open(void);
int lockstep_deny_mark(int queue, int directory);
/* What was denied, as it is written to a pipe: one message each. */
struct lockstep_denial {
    int32_t pid;
    char name[16]; /* of the program */
    char path[1000];
};
/* Starts the thread that answers. It takes no lock, allocates nothing and opens nothing but files of /proc. Each denial is
   written to `pipe`, which must not block; `*count` counts also those for which there was no room. */
int lockstep_deny_start(int queue, const struct lockstep_pids *covered, uint64_t stub_page, int pipe, uint64_t *count);
uint64_t lockstep_denied(const uint64_t *count);
