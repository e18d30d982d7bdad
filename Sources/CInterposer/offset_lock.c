/* offset_lock.c: see offset_lock.h. */
#define _GNU_SOURCE
#include "offset_lock.h"
#include <linux/futex.h>
#include <time.h>

void offset_lock(struct offset_lock *lock, const struct lockstep_object *object, const struct capture *capture) {
    uint64_t mixed = (object->inode ^ object->inode >> 12) * 0x9e3779b97f4a7c15ull;
    lock->word = &ring->locks[(mixed >> 40) % LOCKSTEP_LOCK_STRIPES];
    lock->owner = (uint64_t)capture->arena_number << 32 | (uint32_t)thread_id();
    lock->contended = false;

    uint64_t start = 0;
    for (uint32_t round = 0;; round++) {
        uint64_t holder = 0;
        if (__builtin_expect(atomic_compare_exchange_strong(lock->word, &holder, lock->owner), 1))
            break;
        if (holder == lock->owner) { /* a handler of a signal that can't be blocked, inside the locked section */
            lock->contended = true;
            lock->word = NULL;
            break;
        }
        if (round < 64) {
            __builtin_ia32_pause();
            continue;
        }
        uint64_t now = milliseconds_now();
        if (start == 0)
            start = now;
        else if (now - start >= control->lock_bound_milliseconds
                 && atomic_compare_exchange_strong(lock->word, &holder, lock->owner))
            break;
        struct timespec bound = {.tv_nsec = round < 80 ? 50000 : 1000000};
        kernel(SYS_futex, lock->word, FUTEX_WAIT, (uint32_t)holder, &bound, 0, 0);
    }
    FAULT_POINT("locked");
}

bool offset_unlock(struct offset_lock *lock) {
    uint64_t owner = lock->owner;
    if (lock->word && !atomic_compare_exchange_strong(lock->word, &owner, 0))
        lock->contended = true;
    return lock->contended;
}
