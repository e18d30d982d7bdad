/*
 * CUring.h: a facade over liburing. Its own header stays inside CUring.c, because it can't share an import graph with
 * swift-system's; and liburing 2.3 lacks the futex operation, which this one has (kernel 6.7, probed).
 *
 * One completion follows each prepared operation. A ring belongs to the thread that submits first. Results are zero or
 * positive, or a negated errno. A `prepare` returns -EBUSY when the submission queue is full: submit, then again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lockstep_uring;

struct lockstep_completion {
    uint64_t token;
    int32_t result;
    uint32_t flags;
};

/* `*error` becomes a negated errno when the result is null. */
struct lockstep_uring *lockstep_uring_create(unsigned entries, int *error);
/* Cancels what is in flight and waits for it (up to 5 s), so that memory lent to the kernel is free afterwards. */
void lockstep_uring_destroy(struct lockstep_uring *ring);
bool lockstep_uring_has_futex_wait(const struct lockstep_uring *ring);
/* Operations submitted or prepared whose completion has not been taken. */
unsigned lockstep_uring_in_flight(const struct lockstep_uring *ring);

int lockstep_uring_write(struct lockstep_uring *ring, int descriptor, const void *bytes, uint32_t count, uint64_t offset, uint64_t token);
int lockstep_uring_read(struct lockstep_uring *ring, int descriptor, void *bytes, uint32_t count, uint64_t offset, uint64_t token);
int lockstep_uring_send(struct lockstep_uring *ring, int socket, const void *bytes, uint32_t count, uint64_t token);
int lockstep_uring_receive(struct lockstep_uring *ring, int socket, void *bytes, uint32_t count, uint64_t token);
int lockstep_uring_accept(struct lockstep_uring *ring, int socket, uint64_t token);
int lockstep_uring_connect(struct lockstep_uring *ring, int socket, const void *address, uint32_t bytes, uint64_t token);
int lockstep_uring_poll(struct lockstep_uring *ring, int descriptor, uint32_t events, uint64_t token);
int lockstep_uring_futex_wait(struct lockstep_uring *ring, const void *word, uint32_t expected, uint64_t token);
int lockstep_uring_cancel(struct lockstep_uring *ring, uint64_t target, uint64_t token);
int lockstep_uring_fdatasync(struct lockstep_uring *ring, int descriptor, uint64_t token);

/* Submits everything prepared, then waits until `count` completions are there, the time-out (-1: none) has passed or a
   signal came: 0 in all three cases. */
int lockstep_uring_submit_and_wait(struct lockstep_uring *ring, unsigned count, int64_t timeout_nanoseconds);
/* False: none is there. */
bool lockstep_uring_next(struct lockstep_uring *ring, struct lockstep_completion *completion);
