/*
 * caller.h: the thread whose call is answered, and how to be it for the length of one call.
 *
 * Everything here is read while the kernel holds the caller in its call; caller_is_waiting afterwards says that the
 * number did mean this thread all the time.
 */
#ifndef GUARD_CALLER_H
#define GUARD_CALLER_H

#include "shared.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { GROUPS_MAX_KEPT = 256 };

struct caller {
    int listener;
    uint64_t id;
    pid_t tid;
    int thread;                    /* pidfd of the thread, -1: not opened yet */
    bool identity_read;
    pid_t process;
    uint32_t umask;
    uid_t user;                    /* of the file system, as the group */
    gid_t group;
    uint64_t capabilities;
    int group_count;
    gid_t groups[GROUPS_MAX_KEPT];
};

struct caller caller_of(int listener, const struct seccomp_notif *notification);
void caller_release(struct caller *caller);

bool caller_is_waiting(const struct caller *caller);

/* A duplicate of the caller's descriptor, sharing its offset and flags, or -errno. */
int caller_descriptor(struct caller *caller, int descriptor);
/* Its working directory. */
int caller_directory(struct caller *caller);

/* Its process's number, its credentials; whether it sees the same files under the same names. 0 or -errno. */
long caller_identify(struct caller *caller);
long caller_shares_names(struct caller *caller);
/* "busybox", for people. */
void caller_program(struct caller *caller, char program[GUARD_PROGRAM_BYTES]);

/* Bytes of its memory: the count that could be read, or -errno. */
ssize_t caller_read(const struct caller *caller, const struct iovec *to, const struct iovec *from, size_t count);
ssize_t caller_read_bytes(const struct caller *caller, void *to, uint64_t from, size_t count);
/* A text with its zero: its length, or -errno (ENAMETOOLONG: `limit` bytes hold no zero). */
ssize_t caller_read_text(const struct caller *caller, char *to, uint64_t from, size_t limit);

/* This thread's user, group, groups, capabilities over files and umask become the caller's. 0, or -errno: they can't. */
long caller_become(struct caller *caller);
void caller_become_self(void);

/* Once, before there are threads; then by each of them. */
void caller_prepare(void);
long caller_prepare_thread(void);

#endif
