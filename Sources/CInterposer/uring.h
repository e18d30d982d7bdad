/*
 * uring.h: io_uring of programs that use liburing.
 *
 *   program: get_sqe, prep_*, peek, for_each_cqe       (inline in liburing's header: they touch the library's memory only)
 *                 |                          ^
 *         entries | facade                   | completions
 *                 v                          |
 *   io_uring_submit: each entry is parsed    __io_uring_get_cqe and the like: what the kernel has completed is moved here,
 *      |  uring_entry.c, uring_submit.c      |  when its intent is ended and, if durable, answered     uring_events.c
 *      v                                     |
 *   the kernel's ring: mapped by the library alone, its system calls made by the library alone
 *
 * Each entry of the program becomes exactly one of the kernel's, so waiting, eventfd and epoll are the kernel's. One that is carried
 * out at submission becomes a no-op, which takes the result along. An entry that can't change a replicated file goes as it is.
 */
#ifndef LOCKSTEP_URING_H
#define LOCKSTEP_URING_H

#define LIBURING_INTERNAL /* io_uring_get_sqe is a function too */
#include "flights.h"
#include <liburing.h>

/* A registered file. What it means is asked at each use; it has no number that would have to stay open. */
struct uring_file {
    int number;     /* by which it was registered; it may mean something else since, or nothing */
    int path;       /* of a regular file or a directory: O_PATH, else -1 */
    int flags;      /* of the open file, then */
};

struct uring {
    _Atomic(uint32_t) state;
    _Atomic(uint32_t) submitting, reaping;  /* locks: 0, or the thread that holds it */
    int descriptor;
    struct facade *facade;
    size_t facade_bytes;
    unsigned entries, completions;          /* powers of two */
    unsigned concluding;                    /* completions taken, whose answers are waited for */
    /* the kernel's */
    void *ring, *entry_memory;
    size_t ring_bytes, entry_bytes;
    unsigned *entry_head, *entry_tail, *entry_flags, *completion_head, *completion_tail;
    struct io_uring_sqe *given;
    const struct io_uring_cqe *completed;
    struct uring_file *files;
    unsigned file_count;
};
/* Hidden: not whole. */
enum { URING_FREE, URING_HIDDEN, URING_OPEN, URING_CLOSING };

/* What the program's struct io_uring points to. */
struct facade {
    unsigned entry_head, entry_tail, entry_mask, entry_count, entry_flags, entry_dropped;
    unsigned completion_head, completion_tail, completion_mask, completion_count, completion_overflow;
};

/* ------------------------------------------------------------------ uring.c */

/* NULL: not made by this process. A line, then. */
struct uring *uring_of(const struct io_uring *given);
struct uring *uring_next(unsigned *index);
/* 0 or -errno. */
long uring_make(unsigned entries, struct io_uring *given, struct io_uring_params *parameters);
void uring_end(struct io_uring *given);
/* Bounded; signals wait from here to the unlocking. False: somebody else holds it. */
bool uring_lock(_Atomic(uint32_t) *lock, struct capture *signals);
void uring_unlock(_Atomic(uint32_t) *lock, const struct capture *signals);

/* ------------------------------------------------------------------ uring_entry.c */

/* What becomes of an entry. */
enum way {
    WAY_KERNEL,     /* as it is */
    WAY_WRITE,      /* captured, written by the kernel */
    WAY_FSYNC,      /* its barrier, flushed by the kernel */
    WAY_HERE,       /* carried out by the submitter */
    WAY_REFUSED,    /* `error` is its result */
};
struct examined {
    enum way way;
    long error;
    bool can_be_here;       /* whichever the way */
    bool is_bound_late;     /* behind others of a chain the kernel may look its number up when it means another file */
    int descriptor;         /* of a registered file too: one that can be looked at */
    struct writing w;       /* WAY_WRITE; w.target of WAY_FSYNC */
    struct iovec single;
    const struct iovec *vector;
    int count;
    struct source source;
};
void uring_examine(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x);
/* What it does, done now. */
long uring_carry_out(struct uring *ring, const struct io_uring_sqe *entry);
/* Whether the opcode is one that is captured, or can't change a file: what a probe says. */
bool uring_knows(unsigned opcode);

/* ------------------------------------------------------------------ uring_submit.c, uring_events.c */

/* Entries taken, or -errno. */
long uring_submit(struct uring *ring, struct io_uring *given);
/* Waits for so many completions in the facade. 0 or -errno: -ETIME, -EINTR. */
long uring_wait(struct uring *ring, unsigned wanted, const struct __kernel_timespec *timeout, const sigset_t *signals);
static inline unsigned uring_ready(const struct uring *ring) {
    return io_uring_smp_load_acquire(&ring->facade->completion_tail) - io_uring_smp_load_acquire(&ring->facade->completion_head);
}

/* ------------------------------------------------------------------ uring_files.c */

/* -errno, or what the kernel says. `files` NULL: a table of nothing. */
long uring_files_register(struct uring *ring, const int *files, unsigned count);
long uring_files_update(struct uring *ring, unsigned offset, const int *files, unsigned count);
long uring_files_unregister(struct uring *ring);
/* Ends what is kept of them, when the ring ends. */
void uring_files_forget(struct uring *ring);
const struct uring_file *uring_file(const struct uring *ring, const struct io_uring_sqe *entry);

#endif
