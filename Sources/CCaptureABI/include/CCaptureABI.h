/*
 * CCaptureABI.h: the contract between the preload library, the keeper and the daemon. Version 1.
 *
 *   control object   one per module, written by the daemon, mapped read-only by applications
 *   order ring       one per module, one 8-byte word per sequence number, written by everybody
 *   arena            one per process: its intents and their payloads, written by that process and the daemon
 *
 * All three are memfds, allocated in full and sealed against shrinking and growing. They travel by SCM_RIGHTS only:
 * there is no path that somebody could truncate. Everything an application can write (ring, arena) is untrusted input
 * to the daemon: it is copied once, then checked.
 *
 *   ring word, 64 bits:   | lap 32 | arena 20 | intent 8 | state 4 |
 *
 * A captured operation:
 *   1. take an intent in the own arena (bitmap), fill it, copy the payload
 *   2. reserve: advance ring.reserved from n to n+1 by compare-and-swap; the operation's sequence number is n
 *   3. publish: compare-and-swap the word of n from (lap, EMPTY) to (lap, arena, intent, PUBLISHED).
 *      Failure means that the daemon revoked the place (the producer had been stopped): reserve again.
 *   4. make the system call from the captured copy
 *   5. write the result into the intent, `done_reserved` = ring.reserved read now, then `done` = 1 (release)
 *
 * Why a word and not the whole descriptor lies in the ring: a producer stopped in step 2 and revoked must never
 * write into a place that meanwhile belongs to somebody else. With the descriptor (the intent) in the producer's own
 * arena, publication is one atomic word, and a revoked place can be used again at once.
 *
 * Intents and blocks are returned by the daemon, when the operation is done and its batch is in the journal (R5).
 */
#ifndef LOCKSTEP_CAPTURE_ABI_H
#define LOCKSTEP_CAPTURE_ABI_H

#include <stdint.h>

/* Where the library makes its system calls: the guard lets them through by it, and `deny` of the watch knows them by it. */
#define LOCKSTEP_STUB_PAGE 0x200000000000ull

#define LOCKSTEP_ABI_VERSION 1u

/* Swift imports no struct with an _Atomic member; it touches these words through access.h only. Same layout. */
#ifdef __swift__
#define LOCKSTEP_ATOMIC(type) type
#else
#define LOCKSTEP_ATOMIC(type) _Atomic(type)
#endif

#define LOCKSTEP_MAGIC_CONTROL 0x314c5443534b434cull /* "LCKSCTL1" */
#define LOCKSTEP_MAGIC_RING    0x31474e52534b434cull /* "LCKSRNG1" */
#define LOCKSTEP_MAGIC_ARENA   0x31415241534b434cull /* "LCKSARA1" */

/* ------------------------------------------------------------------ limits */

#define LOCKSTEP_ROOTS_MAX          8u
#define LOCKSTEP_PATH_BYTES_MAX     1024u /* of a root, with its terminating zero */
#define LOCKSTEP_NAME_BYTES_MAX     255u
#define LOCKSTEP_EXCLUSIONS_MAX     16u
#define LOCKSTEP_EXCLUSION_BYTES    64u
#define LOCKSTEP_HOT_ENTRIES        8192u
#define LOCKSTEP_LOCK_STRIPES       4096u
#define LOCKSTEP_RING_SLOTS_DEFAULT 65536u /* a power of two */
#define LOCKSTEP_INTENTS            64u
#define LOCKSTEP_BLOCKS             64u
#define LOCKSTEP_BLOCK_BYTES        16384u
#define LOCKSTEP_INLINE_BYTES       1024u
#define LOCKSTEP_MAPPINGS           128u
/* One system call carries at most this much; a larger call is continued, chunk by chunk, the first short one ends it.
   Half of an arena, so that a second operation can be in flight. */
/* Less than half of an arena is free: its process rings, and the daemon makes room, before it has to wait. */
#define LOCKSTEP_ARENA_IS_SHORT(intents_free, blocks_free) \
    (__builtin_popcountll(intents_free) < 32 || __builtin_popcountll(blocks_free) < 32)
#define LOCKSTEP_OPERATION_BYTES_MAX (32u * LOCKSTEP_BLOCK_BYTES)
#define LOCKSTEP_LINK_TARGET_BYTES_MAX 4095u

/* ------------------------------------------------------------------ ring words */

#define LOCKSTEP_STATE_EMPTY     0u /* the place is free, or reserved and not yet published */
#define LOCKSTEP_STATE_PUBLISHED 1u
#define LOCKSTEP_STATE_REVOKED   2u /* by the daemon; the sequence number is skipped */
#define LOCKSTEP_STATE_TAKEN     3u /* by the daemon: its intent was given back, a daemon started again skips it */

#define LOCKSTEP_WORD(lap, arena, intent, state) \
    (((uint64_t)(uint32_t)(lap) << 32) | ((uint64_t)((arena) & 0xfffffu) << 12) | ((uint64_t)((intent) & 0xffu) << 4) | (uint64_t)((state) & 0xfu))
#define LOCKSTEP_WORD_LAP(word)    ((uint32_t)((word) >> 32))
#define LOCKSTEP_WORD_ARENA(word)  ((uint32_t)((word) >> 12) & 0xfffffu)
#define LOCKSTEP_WORD_INTENT(word) ((uint32_t)((word) >> 4) & 0xffu)
#define LOCKSTEP_WORD_STATE(word)  ((uint32_t)(word) & 0xfu)
/* Sequence numbers start at 1; 0 means none. With `slots` places: place = n % slots, lap = (uint32_t)(n / slots). */

/* ------------------------------------------------------------------ objects */

/* What R4 calls identity. `generation` is FS_IOC_GETVERSION's (0 on tmpfs, which never reuses an inode number);
   for a path or an O_PATH descriptor the second word of name_to_handle_at's handle (ext4, xfs; btrfs: its own). */
struct lockstep_object {
    uint64_t inode;      /* 0: none */
    uint32_t generation;
    uint32_t root;       /* index into lockstep_control.roots */
};

/* ------------------------------------------------------------------ control object */

/* lockstep_control.data_plane: what the data plane does now; producers wake it accordingly. */
#define LOCKSTEP_DATA_PLANE_AWAKE    0u /* it will look by itself */
#define LOCKSTEP_DATA_PLANE_DOZING   1u /* it looks within milliseconds: wake it for a barrier, or when space is short */
#define LOCKSTEP_DATA_PLANE_SLEEPING 2u /* wake it for anything */

/* lockstep_control.switches */
#define LOCKSTEP_SWITCH_ALL_HOT    1u /* every extent counts as hot: nobody waits for marks */
#define LOCKSTEP_SWITCH_HOLD       2u /* new operations wait (bounded) before they are published */
#define LOCKSTEP_SWITCH_CLOSED     4u /* this incarnation ended: captured operations fail with EIO */
#define LOCKSTEP_SWITCH_IO_URING   8u /* rings of liburing are captured; without it io_uring can't be set up */

#define LOCKSTEP_WAIT_DURABLE 1u /* wait: durable */
#define LOCKSTEP_WAIT_WRITE   2u
#define LOCKSTEP_WAIT_NEVER   3u

#define LOCKSTEP_ON_BOUND_WAIT 1u
#define LOCKSTEP_ON_BOUND_EIO  2u
#define LOCKSTEP_ON_BOUND_KILL 3u

struct lockstep_root {
    uint64_t device;     /* st_dev as stat gives it */
    struct lockstep_object object;
    char name[64];
    char path[LOCKSTEP_PATH_BYTES_MAX]; /* absolute, canonical, no trailing slash */
};

struct lockstep_control {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t bytes_total;               /* of this object */
    uint64_t incarnation[2];            /* random; equal in control object, ring and every arena's header */
    uint32_t ring_slots;
    uint32_t root_count;
    uint32_t exclusion_count;
    uint32_t wait_mode;
    uint32_t wait_bound_milliseconds;   /* of one wait at a durability point, or for space */
    uint32_t on_bound;
    uint32_t lock_bound_milliseconds;   /* of waiting for an offset lock, then it is taken over */
    uint32_t answers_offset;            /* byte offset of uint32_t[ring_slots] */
    uint32_t hot_offset;                /* byte offset of uint64_t[LOCKSTEP_HOT_ENTRIES] */
    int32_t daemon_pid;
    uint32_t reserved0[2];
    /* written while running, each on a line of its own */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) consumed;  /* all sequence numbers below it are free: n is usable while n < consumed + ring_slots */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) drained;   /* the daemon has taken everything below it */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) released;  /* every barrier below it is answered */
    LOCKSTEP_ATOMIC(uint64_t) epoch;
    LOCKSTEP_ATOMIC(uint64_t) lease_until;            /* CLOCK_BOOTTIME, nanoseconds; 0: no lease is in force */
    LOCKSTEP_ATOMIC(uint64_t) marks_durable;          /* modification marks of everything below it are durable */
    _Alignas(64) LOCKSTEP_ATOMIC(uint32_t) data_plane;
    LOCKSTEP_ATOMIC(uint32_t) switches;
    struct lockstep_root roots[LOCKSTEP_ROOTS_MAX];
    /* Names of files that are not replicated: compared with the end of the path ("-shm", "/lock.mdb"). */
    char exclusions[LOCKSTEP_EXCLUSIONS_MAX][LOCKSTEP_EXCLUSION_BYTES];
};

/* Answer word of a place: | lap 30 | status 2 |. A waiter whose lap has passed finds the answer in its intent. */
#define LOCKSTEP_ANSWER(lap, status)  (((uint32_t)(lap) << 2) | (status))
#define LOCKSTEP_ANSWER_LAP(word)     ((word) >> 2)
#define LOCKSTEP_ANSWER_STATUS(word)  ((word) & 3u)
#define LOCKSTEP_ANSWER_NONE  0u
#define LOCKSTEP_ANSWER_OK    1u
#define LOCKSTEP_ANSWER_ERROR 2u /* the durability point fails with EIO */

/* ------------------------------------------------------------------ order ring */

struct lockstep_ring {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t slots;
    uint64_t incarnation[2];
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) reserved;   /* the next sequence number to be reserved; starts at 1 */
    _Alignas(64) LOCKSTEP_ATOMIC(uint32_t) doorbell;   /* futex word: producers add 1 and wake */
    /* Raised when something has come into a tree by its name, or has left it: what was known of it before is void. */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) border;
    /* Raised by each new writable mapping of a replicated file, after its entry: 0: there never was one. */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) mappings;
    /* Offset locks, striped by inode: 0 or (arena << 32 | tid). Held across the system call of an append or of a
       write at a shared offset, and nothing else; bounded: at the bound the lock is taken over, and the loser, which
       notices when it unlocks, sets LOCKSTEP_RESULT_CONTENDED. */
    _Alignas(4096) LOCKSTEP_ATOMIC(uint64_t) locks[LOCKSTEP_LOCK_STRIPES];
    _Alignas(4096) LOCKSTEP_ATOMIC(uint64_t) words[]; /* [slots] */
};

/* ------------------------------------------------------------------ intents */

enum lockstep_kind {
    LOCKSTEP_KIND_WRITE     = 1,  /* object, offset, length, payload */
    LOCKSTEP_KIND_TRUNCATE  = 2,  /* object, length = new size */
    LOCKSTEP_KIND_CREATE    = 3,  /* parent, name (none: O_TMPFILE), mode; outcome: object, mode, owner */
    LOCKSTEP_KIND_MKDIR     = 4,  /* parent, name, mode; outcome as CREATE */
    LOCKSTEP_KIND_SYMLINK   = 5,  /* parent, name, payload = target; outcome as CREATE */
    LOCKSTEP_KIND_UNLINK    = 6,  /* parent, name, object = what the name was seen to mean */
    LOCKSTEP_KIND_RMDIR     = 7,  /* the same */
    LOCKSTEP_KIND_RENAME    = 8,  /* parent, name, target_parent, target_name, object, argument = renameat2 flags */
    LOCKSTEP_KIND_CHMOD     = 9,  /* object, mode */
    LOCKSTEP_KIND_CHOWN     = 10, /* object, owner, group (0xffffffff: leave) */
    LOCKSTEP_KIND_TIMES     = 11, /* object: its times were set; the daemon reads them when it carries them */
    LOCKSTEP_KIND_BARRIER   = 12, /* object (inode 0: everything); answered */
    LOCKSTEP_KIND_ALLOCATE  = 13, /* object, offset, length, argument = fallocate mode */
    LOCKSTEP_KIND_LINK      = 14, /* object, target_parent, target_name */
    LOCKSTEP_KIND_MKNOD     = 15, /* parent, name, mode, argument = device */
    LOCKSTEP_KIND_SETXATTR  = 16, /* object, name = attribute, payload = value */
    LOCKSTEP_KIND_REMOVEXATTR = 17,
    LOCKSTEP_KIND_CHANGED   = 18, /* object, offset, length: changed by a route whose bytes were not seen; the daemon reads them */
    LOCKSTEP_KIND_SUBMIT    = 19, /* as WRITE, completed asynchronously (AIO) */
};

/* lockstep_intent.flags */
#define LOCKSTEP_FLAG_PREDICTED 1u  /* offset is a prediction (append, implicit offset); actual_offset is the truth */
#define LOCKSTEP_FLAG_APPEND    2u
#define LOCKSTEP_FLAG_DURABLE   4u  /* O_DSYNC, O_SYNC, RWF_DSYNC: a BARRIER of the same producer follows */
#define LOCKSTEP_FLAG_CONTINUED 8u  /* a later chunk of one call; `continues` is the sequence number of its first */

#define LOCKSTEP_FLAG_CROSSES   16u /* the border of the tree. LINK: of what was outside, so the daemon tells all of it;
                                       UNLINK, RMDIR: it goes on outside, with all that is in it */

/* lockstep_intent.result_flags */
#define LOCKSTEP_RESULT_CONTENDED 1u /* the offset lock was lost: compare the whole file */

#define LOCKSTEP_NO_BLOCK 0xffffffffu

struct lockstep_intent {
    /* before publication, by the producer */
    uint16_t kind;
    uint16_t flags;
    int32_t tid;
    struct lockstep_object object;
    struct lockstep_object parent;
    struct lockstep_object target_parent;
    uint64_t offset;
    uint64_t length;
    uint64_t argument;
    uint32_t mode;
    uint32_t owner;
    uint32_t group;
    uint32_t block;             /* first payload block, LOCKSTEP_NO_BLOCK: the payload is in the inline bytes */
    uint32_t payload_bytes;
    uint16_t name_bytes;        /* name at inline[0], target name at inline[256]: never with an inline payload */
    uint16_t target_name_bytes;
    uint64_t continues;
    uint64_t local_flushed;     /* BARRIER: the local flush that runs now covers everything done below it */
    int32_t descriptor;         /* the descriptor used, or -1: a hint for finding the path */
    uint32_t pad0;
    /* after the system call, by the producer; `done` last */
    int64_t result;             /* as the kernel gave it: >= 0, or -errno */
    uint64_t actual_offset;
    uint64_t done_reserved;     /* ring.reserved read after the call: operations from there on began later */
    struct lockstep_object outcome;
    uint32_t outcome_mode;
    uint32_t outcome_owner;
    uint32_t outcome_group;
    uint32_t result_flags;
    LOCKSTEP_ATOMIC(uint32_t) done;     /* 0 or 1 */
    /* BARRIER */
    LOCKSTEP_ATOMIC(uint32_t) waiting;  /* 1 while the producer may sleep on the answer word */
    LOCKSTEP_ATOMIC(uint32_t) answer;   /* LOCKSTEP_ANSWER_*: kept for a waiter whose ring place is used again */
    uint32_t pad1;
    uint64_t reserved[7];       /* zero */
};

/* ------------------------------------------------------------------ mappings */

/*
 * A writable shared mapping of a replicated file: a line of a table in the arena of the process that has it. Stores are no
 * calls, so nothing is published: at every durability point the daemon asks the kernel which pages were written.
 *
 *     FREE --mapped--> USED --what was written is published (CHANGED)--> LEAVING --drained >= left--> FREE, or used again
 *
 * The line is USED before the program has the address. A line that is still USED when its process is gone, or whose pages
 * are not there any more: anything may have been written. What a USED line says never changes, but for `armed`.
 */
#define LOCKSTEP_MAPPING_FREE    0u
#define LOCKSTEP_MAPPING_USED    1u
#define LOCKSTEP_MAPPING_LEAVING 2u
/* state: | how often the line was changed 62 | one of the above 2 | */
#define LOCKSTEP_MAPPING_STATE(state) ((uint32_t)(state) & 3u)

struct lockstep_mapping {
    LOCKSTEP_ATOMIC(uint64_t) state;
    uint64_t address;                   /* in that process; page-aligned, as all here */
    uint64_t length;
    uint64_t offset;                    /* in the file */
    struct lockstep_object object;
    LOCKSTEP_ATOMIC(uint64_t) armed;    /* so many bytes from the start are write-protected where not written; raised by the daemon too */
    uint64_t left;                      /* LEAVING: what was written is published below this number */
};

/* ------------------------------------------------------------------ arena */

struct lockstep_arena {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t arena;                     /* its number, 20 bits; unique in the module while it lives */
    uint64_t incarnation[2];
    int32_t pid;                        /* as the keeper's namespace sees it */
    uint32_t pad0;
    uint64_t start_time;                /* /proc/PID/stat field 22 */
    _Alignas(64) LOCKSTEP_ATOMIC(uint64_t) intents_free; /* a 1 bit is free: taken by the process, returned by the daemon */
    LOCKSTEP_ATOMIC(uint64_t) blocks_free;
    LOCKSTEP_ATOMIC(uint32_t) space;            /* futex word: the daemon adds 1 when it returned something and space_waiters != 0 */
    LOCKSTEP_ATOMIC(uint32_t) space_waiters;
    _Alignas(256) struct lockstep_intent intents[LOCKSTEP_INTENTS];
    _Alignas(4096) uint8_t inlines[LOCKSTEP_INTENTS][LOCKSTEP_INLINE_BYTES];
    _Alignas(4096) uint8_t blocks[LOCKSTEP_BLOCKS][LOCKSTEP_BLOCK_BYTES];
    _Alignas(4096) LOCKSTEP_ATOMIC(uint32_t) mappings_used; /* lines from here on never held anything */
    /* Raised after a line became USED, before one that it replaces is FREE: who reads the table looks before and after. */
    LOCKSTEP_ATOMIC(uint32_t) mappings_version;
    _Alignas(64) struct lockstep_mapping mappings[LOCKSTEP_MAPPINGS];
};

/* ------------------------------------------------------------------ messages (SOCK_SEQPACKET, AF_UNIX) */

#define LOCKSTEP_SOCKET_VARIABLE  "LOCKSTEP_SOCKET"  /* name of the keeper's abstract socket, without the leading zero */

enum lockstep_message_type {
    /* keeper and daemon; the daemon listens at NODE_DIRECTORY/capture.sock */
    LOCKSTEP_MESSAGE_HELLO    = 1, /* keeper: abi_version, pid; [control, ring] when it holds some from before */
    LOCKSTEP_MESSAGE_WELCOME  = 2, /* daemon: arena = first number, count; [control read-write, ring] */
    LOCKSTEP_MESSAGE_REFUSED  = 3, /* daemon or keeper: code (exit code), text */
    LOCKSTEP_MESSAGE_ARENA    = 4, /* keeper: arena, pid, start_time; [arena, pidfd]. Sent before the process gets it */
    LOCKSTEP_MESSAGE_RETIRED  = 5, /* daemon: arena: its number may be used again */
    LOCKSTEP_MESSAGE_GUARD    = 6, /* keeper: code = 1 the guard is on, 0 off; text = why */
    LOCKSTEP_MESSAGE_GUARDED  = 7, /* keeper: arena = place in its table, start_time = calls captured, count = refused, text = program, blank, call */
    /* process and keeper */
    LOCKSTEP_MESSAGE_ATTACH   = 16, /* process: abi_version */
    LOCKSTEP_MESSAGE_ATTACHED = 17, /* keeper: arena, code = LOCKSTEP_ATTACHED_*; [control read-only, ring, arena], audited: none */
};

#define LOCKSTEP_ATTACHED_GUARDED 1 /* the guard is on */
#define LOCKSTEP_ATTACHED_AUDITED 2 /* by `lockstep audit`: nothing is captured, every call is the kernel's own */

/* What an audited process gives as the sixth argument of a call that has fewer: it came to the library by this route, not by
   a wrapper of the call's own name. */
#define LOCKSTEP_AUDITED_STDIO 0x6f696474736b636cull
#define LOCKSTEP_AUDITED_AIO   0x6f69612d736b636cull

struct lockstep_message {
    uint32_t type;
    uint32_t abi_version;
    uint32_t arena;
    uint32_t count;
    int32_t pid;
    int32_t code;
    uint64_t start_time;
    char text[256];
};

/* ------------------------------------------------------------------ exit codes of run, of the keeper and of the library */

#define LOCKSTEP_EXIT_USAGE       64
#define LOCKSTEP_EXIT_NO_INPUT    66  /* directory missing */
#define LOCKSTEP_EXIT_UNAVAILABLE 69  /* daemon not running */
#define LOCKSTEP_EXIT_OS          71  /* the system refused something, e.g. port taken */
#define LOCKSTEP_EXIT_CANT_CREATE 73  /* not writable */
#define LOCKSTEP_EXIT_BOUND       75  /* a bound expired; try again */
#define LOCKSTEP_EXIT_PROTOCOL    76  /* wrong ABI version, scribbled ring */
#define LOCKSTEP_EXIT_REFUSED     77  /* the state forbids it */
#define LOCKSTEP_EXIT_CONFIG      78  /* links or mounts that lead out of the tree */
#define LOCKSTEP_EXIT_UNCOVERED   126 /* the program can't be covered (static, setuid, stub address taken, self-test failed) */
#define LOCKSTEP_EXIT_NOT_FOUND   127 /* no such program */

#ifndef __cplusplus
_Static_assert(sizeof(struct lockstep_object) == 16, "ABI");
_Static_assert(sizeof(struct lockstep_intent) == 256, "ABI");
_Static_assert(sizeof(struct lockstep_mapping) == 64, "ABI");
_Static_assert(sizeof(struct lockstep_message) == 288, "ABI");
#endif

#endif
