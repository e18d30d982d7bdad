/*
 * shared.h: what keeper and agents share, a sealed memfd made by the keeper; it outlives an agent process.
 *
 * One slot per agent thread. The kernel itself writes a received notification into it (the slot is the buffer of
 * SECCOMP_IOCTL_NOTIF_RECV), so that no moment exists in which one was received and is not recorded:
 *
 *     free --kernel--> received --> executing --> executed --answered--> free
 *                         |             |             |
 *     agent dies:     executed by   answered EIO   answered with
 *                     the next one                 its result
 */
#ifndef GUARD_SHARED_H
#define GUARD_SHARED_H

#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
    GUARD_THREADS_MAX = 128,
    GUARD_COUNTS_MAX = 64,         /* the last one counts what finds no place */
    GUARD_PROGRAM_BYTES = 16,
    GUARD_NOTIFICATION_BYTES = 192, /* the kernel says how much it writes: at least sizeof(struct seccomp_notif) */
    GUARD_SOCKET = 3,              /* descriptors of an agent process: to the keeper, and this memory */
    GUARD_MEMORY = 4,
};

enum guard_state { GUARD_RECEIVED = 0, GUARD_EXECUTING = 1, GUARD_EXECUTED = 2 };

struct guard_slot {
    union {
        struct seccomp_notif notification; /* id 0: free */
        uint8_t bytes[GUARD_NOTIFICATION_BYTES];
    };
    _Atomic(uint32_t) state;
    _Atomic(int64_t) result;
};

struct guard_count {
    _Atomic(uint32_t) used;
    int32_t number;                /* of the call; -1: several */
    char program[GUARD_PROGRAM_BYTES];
    _Atomic(uint64_t) captured, refused;
};

struct guard_shared {
    _Atomic(uint32_t) rung;        /* the agent has told the keeper that counts changed */
    _Atomic(uint32_t) mapped;      /* somebody may have a read-only shared mapping that mprotect could make writable */
    struct guard_count counts[GUARD_COUNTS_MAX];
    struct guard_slot slots[GUARD_THREADS_MAX];
};

#endif
