/*
 * offset_lock.h: appends and writes at a shared offset, one at a time per file (striped by inode).
 *
 * The only lock that is held across a system call. It lies in the ring, so that processes share it; it is bounded (a
 * stopped owner loses it), and an owner that lost it says so: the daemon then compares the file.
 */
#ifndef LOCKSTEP_OFFSET_LOCK_H
#define LOCKSTEP_OFFSET_LOCK_H

#include "library.h"

struct offset_lock {
    _Atomic(uint64_t) *word;
    uint64_t owner;
    bool contended;     /* nested in a signal handler, or taken over by somebody else */
};
void offset_lock(struct offset_lock *lock, const struct lockstep_object *object, const struct capture *capture);
/* Gives the lock back; true when it had been lost meanwhile. */
bool offset_unlock(struct offset_lock *lock);

#endif
