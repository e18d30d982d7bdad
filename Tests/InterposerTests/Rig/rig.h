/*
 * rig.h: the parts of the test rig, an oracle for the preload library: it plays keeper and daemon in one process.
 *
 *   program under liblockstep.so ──ring, arenas──> memory.c ──operations──> rig.c ──in ring order──> tree.c ──> MIRROR
 *                │                                 (checks every word        (queue: waits for        (names by
 *                v                                  and intent, check.c)      `done`, answers)         (parent, name))
 *              ROOT <────────────────────── compare.c: equal, byte for byte? ─────────────────────────────┘
 *
 * Nothing is read from ROOT while the program runs, except the first copy before it starts; what the rig had to read
 * afterwards (operations of killed processes, operations in flight at the same time on the same bytes) is counted as
 * repairs, so that a test can insist on none.
 */
#ifndef LOCKSTEP_RIG_H
#define LOCKSTEP_RIG_H

#include "access.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

/* ------------------------------------------------------------------ options and results */

struct rig_options {
    const char *library;
    const char *root;   /* canonical */
    const char *mirror; /* canonical */
    const char *report; /* file for the JSON line; NULL: stdout */
    FILE *trace;
    uint32_t slots;
    uint32_t revoke_milliseconds;
    uint32_t wait_bound_milliseconds;
    uint32_t timeout_seconds;
    uint32_t hold_answers_milliseconds;
    int answer;       /* LOCKSTEP_ANSWER_OK or _ERROR */
    int expect_exit;
    mode_t umask;     /* of COMMAND */
    int abi_version;  /* announced to processes; another than ours tests their refusal */
    bool kills;       /* processes are killed: operations without `done` are no violation */
    bool close_ring;  /* the incarnation has ended before CMD starts */
    bool io_uring;    /* rings of liburing are captured */
    const char *exclusions[LOCKSTEP_EXCLUSIONS_MAX];
    uint32_t exclusion_count;
};
extern struct rig_options options;

struct rig_results {
    uint64_t operations, barriers, revoked, repairs, undone, stale, violations, differences, processes, mappings_owed;
};
extern struct rig_results results;

/* One line on stderr, starting with "rig: "; counted. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
void difference(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The rig itself can't go on. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_nanoseconds(void);

/* ------------------------------------------------------------------ memory.c: control object, ring, arenas */

struct arena {
    uint32_t number;
    int pid, pidfd;
    struct lockstep_arena *memory;
    bool gone;              /* the process ended, or became another program: `done` can't change any more */
    uint64_t gone_reserved; /* nothing of it has a number from here on */
    uint32_t tracked;       /* intents drained and not yet given back */
    uint64_t intents, blocks; /* bits: those in flight, to see one used twice */
    struct { int tid; uint64_t sequence; struct lockstep_object object; } durable; /* a DURABLE write that owes a barrier */
    struct arena *next;
};
extern struct arena *arenas;

/* One captured operation, copied out of the arena when it was drained. */
struct operation {
    uint64_t sequence;
    struct arena *arena; /* only while it is tracked: the arena of a dead process goes away */
    int pid;
    uint32_t index;
    struct lockstep_intent intent; /* checked; the part after the system call is copied again at `done` */
    uint8_t *payload;
    char name[256], target_name[256];
    uint64_t blocks;
    uint64_t drained_at;
    bool done, lost, answered;     /* lost: its owner died without `done`, whether it took place is unknown */
    struct operation *next;
};

extern struct lockstep_control *control;
extern struct lockstep_ring *ring;
extern int control_read_only, ring_descriptor;

int memory_allocate(const char *name, size_t bytes, void **memory);
void memory_seal(int fd);
void memory_create(struct lockstep_object root_object, uint64_t device);
/* Takes the next place of the ring; NULL: nothing to take now. Revoked places are skipped. */
struct operation *memory_drain(bool at_end);
/* Looks at `done` (and at the owner's life) and copies the results. */
void memory_look(struct operation *operation);
void memory_answer(struct operation *operation);
void memory_set_released(uint64_t below);
/* Waits for the doorbell or 500 µs. */
void memory_doze(void);
bool memory_empty(void);
uint64_t memory_drained(void);

/* ------------------------------------------------------------------ keeper.c: processes come and go */

void keeper_listen(void);
/* Looks at connections and pidfds. */
void keeper_poll(void);
const char *keeper_socket_name(void);
void arena_retire_unused(void);

/* ------------------------------------------------------------------ check.c: is what producers wrote well-formed? */

/* Before use. False: not to be replayed at all. */
bool check_intent(const struct lockstep_intent *intent, const uint8_t *inlines, uint64_t sequence, struct arena *arena);
/* Once done. */
void check_result(const struct operation *operation, uint64_t reserved);
const char *kind_name(unsigned kind);

/* ------------------------------------------------------------------ tree.c: identities and names */

struct node {
    struct lockstep_object object;
    mode_t type;
    struct node *parent; /* NULL: the root, or without a name */
    char *name;          /* NULL: without a name */
    struct node *children, *sibling;
    struct node *next_in_bucket;
    int descriptor;      /* in the mirror, of a file that was made without a name; 0: none */
    bool times;          /* a TIMES intent succeeded */
    bool changed;        /* some intent named it */
    struct timespec first_modification;
};
extern struct node *tree_root;
extern int mirror_directory, root_directory;
extern struct timespec tree_started;

/* One with a name, if there is one: a file has a node for each of its names. */
struct node *tree_node(struct lockstep_object object);
/* What an operation on the object means for all of them. */
void tree_note(struct lockstep_object object, bool times);
/* A further name of the file. */
struct node *tree_alias(const struct node *node, struct node *parent, const char *name);
struct node *tree_child(const struct node *parent, const char *name);
/* Path relative to the root, "." for the root itself; false: no name. `to` has 4096 bytes. */
bool tree_path(const struct node *node, char *to);
void tree_child_path(const struct node *parent, const char *name, char *to);
struct node *tree_insert(struct lockstep_object object, mode_t type, struct node *parent, const char *name);
void tree_hang(struct node *node, struct node *parent, const char *name);
void tree_detach(struct node *node);
/* Identity of a name on disk: inode and generation (name_to_handle_at); false: absent. */
bool identity(int directory, const char *name, struct lockstep_object *object, struct stat *status);

/* ------------------------------------------------------------------ mirror.c: copies from ROOT, and the mirror's files */

void tree_first_copy(void);
/* Copies what ROOT has under this name over what the mirror has. */
void tree_repair_name(struct node *parent, const char *name);
void tree_repair_range(struct node *node, uint64_t lower, uint64_t upper, bool size);
void tree_repair_metadata(struct node *node);
int mirror_open(const char *path);
void mirror_make(const char *path, mode_t mode, const char *target, dev_t device);
void mirror_dress(const char *path, mode_t mode, uid_t owner, gid_t group);
/* Takes a name away, with everything below it. */
void mirror_remove(struct node *node);

/* ------------------------------------------------------------------ apply.c: operations */

/* Carries out one operation that is done, in ring order; `excused`: it conflicts with one in flight at the same time. */
void tree_apply(const struct operation *operation, bool excused);
/* At the end, after the repairs: `names_in_doubt`: it is not known of each name operation whether it took place. */
void tree_report_orphans(bool names_in_doubt);
void operation_trace(const struct operation *operation);

/* ------------------------------------------------------------------ conflicts.c: what has to be read from ROOT at the end */

/* Remembers the operation's window; true: it was in flight together with another that shares names or bytes. */
bool conflicts_note(const struct operation *operation);
/* The operation may have taken place or not: read it at the end. */
void conflicts_lost(const struct operation *operation);
/* Stored through a mapping, and told by nobody: the process is gone. */
void conflicts_mapped(const struct lockstep_mapping *mapping);
/* Its directory has no name in the mirror, or the new object could not be identified, because of a conflict. */
void conflicts_not_carried_out(const struct operation *operation);
/* What came from outside, and is not where it came to any more: all of it is read in the end. */
void conflicts_bytes_unseen(const struct operation *o);
/* The operation contradicts the table: a difference, unless one that comes later in the ring turns out to conflict with it. */
void contradiction(const struct operation *operation, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool conflicts_in_names(void);
void conflicts_repair(void);

/* ------------------------------------------------------------------ compare.c */

/* Reports each difference between ROOT and MIRROR. */
void compare_trees(void);
bool is_excluded(const char *relative_path);
#endif
