/*
 * CLinux.h: what Swift cannot import directly, because it is variadic, behind a feature macro, missing from glibc 2.36,
 * or a structure that the importer does not understand. Each function is one system call, or one checksum.
 *
 * A result is zero or positive, or a negated errno; the global errno is not part of the contract.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ checksums (Checksum.c) */

/* CRC-32C (Castagnoli), as RFC 3720 has it; begin with 0, continue with the previous value. */
uint32_t lockstep_crc32c(uint32_t crc, const void *bytes, size_t count);
/* The same by a table: what a processor without SSE 4.2 gets. Public for the test that compares both. */
uint32_t lockstep_crc32c_portable(uint32_t crc, const void *bytes, size_t count);
/* 64 bits by folding 128-bit products: see Checksum.c for the definition that an independent reader needs. */
uint64_t lockstep_fold64(uint64_t seed, const void *bytes, size_t count);

/* ------------------------------------------------------------------ files */

/* `resolve`: RESOLVE_* of linux/openat2.h, repeated here because glibc 2.36 has no header for it. */
#define LOCKSTEP_RESOLVE_NO_XDEV       0x01u
#define LOCKSTEP_RESOLVE_NO_MAGICLINKS 0x02u
#define LOCKSTEP_RESOLVE_NO_SYMLINKS   0x04u
#define LOCKSTEP_RESOLVE_BENEATH       0x08u
int lockstep_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

struct lockstep_status {
    uint64_t device; /* as st_dev */
    uint64_t special_device; /* as st_rdev */
    uint64_t inode;
    uint64_t size;
    uint64_t blocks; /* of 512 bytes */
    int64_t modified_nanoseconds;
    uint32_t mode; /* with the file type */
    uint32_t links;
    uint32_t owner;
    uint32_t group;
    uint32_t mount_root; /* 1: the root of a mount */
    uint32_t pad;
    int64_t changed_nanoseconds; /* 0 unless asked for */
};
/* Everything but times: asking ext4 for a time makes the next write dirty the inode. */
#define LOCKSTEP_STATUS_NO_TIMES 0x70fu
#define LOCKSTEP_STATUS_ALL      0x74fu
#define LOCKSTEP_STATUS_CHANGED  0x7cfu /* and the time of the last change of anything */
#define LOCKSTEP_AT_EMPTY_PATH   0x1000
#define LOCKSTEP_O_PATH          010000000
#define LOCKSTEP_STATUS_INODE    0x101u /* type and inode */
/* statx; `flags`: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. An empty or null path with AT_EMPTY_PATH means the descriptor. */
int lockstep_statx(int directory, const char *path, int flags, uint32_t mask, struct lockstep_status *status);

/* Design R4. FS_IOC_GETVERSION; 0 on tmpfs, which never reuses an inode number. */
int lockstep_generation_of_descriptor(int descriptor, uint32_t *generation);
/* By name_to_handle_at, for a path (a symbolic link is not followed) or, with an empty path, any descriptor, O_PATH too.
   ext4, xfs, btrfs: agrees with GETVERSION; tmpfs: 0; a file system with another handle: -EOPNOTSUPP. */
int lockstep_generation(int directory, const char *path, uint32_t *generation);

int lockstep_renameat2(int directory, const char *path, int target_directory, const char *target, uint32_t flags);
int lockstep_fallocate(int descriptor, int mode, int64_t offset, int64_t count);
int lockstep_syncfs(int descriptor);
/* Extended attributes; glibc's module for Swift has no sys/xattr.h. The path is followed; results are byte counts. */
int64_t lockstep_list_attributes(const char *path, char *list, size_t count);
int64_t lockstep_get_attribute(const char *path, const char *name, void *value, size_t count);
int lockstep_set_attribute(const char *path, const char *name, const void *value, size_t count);
int lockstep_remove_attribute(const char *path, const char *name);
int lockstep_ioctl_pointer(int descriptor, uint64_t request, void *argument);
int lockstep_ioctl_integer(int descriptor, uint64_t request, uint64_t argument);
/* Opens O_WRONLY|O_DSYNC, with O_DIRECT where the file system takes it: `*direct` says. `flags` are added. */
int lockstep_open_flushed(int directory, const char *path, int flags, uint32_t mode, bool *direct);

/* ------------------------------------------------------------------ memory */

/* A memfd of exactly `bytes`, allocated in full, sealed against shrinking, growing and further seals; close-on-exec. */
int lockstep_memfd_create(const char *name, uint64_t bytes);
/* 1 if the descriptor is a memfd that can neither shrink nor grow, else 0. */
int lockstep_memfd_is_sealed(int descriptor);

/* Shared futexes. `wait` returns 0 when woken, -EAGAIN if the word differs, -ETIMEDOUT, -EINTR; no time-out: -1. */
int lockstep_futex_wait(const void *word, uint32_t expected, int64_t timeout_nanoseconds);
int lockstep_futex_wake(const void *word, int count);

/* ------------------------------------------------------------------ pages of another process (Pages.c) */

/* Of a mapping that is write-protected asynchronously by a userfaultfd (Linux 6.7); addresses are that process's. */
struct lockstep_pages {
    uint64_t start, end, categories;
};
/* /proc/PID/pagemap: needs the right to read that process's memory map. Descriptor or -errno. */
int lockstep_pagemap_open(int pid);
/* Finds the pages in [start, end) that were written since they were protected, and protects them anew: the number of
   ranges, and how far it looked. -EPERM: something there is not write-protected so. -ESRCH: the process is gone. */
int lockstep_pages_written(int pagemap, uint64_t start, uint64_t end, struct lockstep_pages *found, int count, uint64_t *looked);
/* Protects all pages in [start, end). 0 or -errno. */
int lockstep_pages_protect(int pagemap, uint64_t start, uint64_t end);
/* 1: a mapping is there that is write-protected so; 0: none. */
int lockstep_page_is_tracked(int pagemap, uint64_t address);

/* ------------------------------------------------------------------ processes and sockets */

int lockstep_pidfd_open(int pid);
int lockstep_pidfd_send_signal(int pidfd, int signal);
int lockstep_gettid(void);

#define LOCKSTEP_DESCRIPTORS_MAX 4
/* One message with up to four descriptors. Never raises SIGPIPE. The result is the number of bytes. */
int64_t lockstep_send_message(int socket, const void *bytes, size_t count, const int *descriptors, int descriptor_count);
/* The descriptors are close-on-exec; `*descriptor_count` says how many came. A message or a set of descriptors that
   did not fit is -EMSGSIZE, and what came is closed. `flags`: MSG_DONTWAIT. */
int64_t lockstep_receive_message(int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count, int flags);
int lockstep_peer_credentials(int socket, int *pid, uint32_t *user, uint32_t *group);

#include "Sockets.h"
#include "Watch.h"
