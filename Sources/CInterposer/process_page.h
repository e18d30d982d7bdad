/*
 * process_page.h: what belongs to one process and must not survive fork.
 *
 * The page is MADV_WIPEONFORK: a child finds it all zero, whatever kind of fork made it, and then gets its own arena.
 * A child that shares its parent's memory (vfork, CLONE_VM) shares the arena too; that is why intents are taken by
 * compare-and-swap even in a program without threads.
 */
#ifndef LOCKSTEP_PROCESS_PAGE_H
#define LOCKSTEP_PROCESS_PAGE_H

#include "library.h"

struct process_page {
    _Atomic(struct lockstep_arena *) arena;
    _Atomic(uint32_t) arena_number;
    _Atomic(int32_t) pid;
    _Atomic(uint32_t) attaching;     /* futex word: 0, or the thread that attaches */
    _Atomic(uint32_t) attach_failed; /* said once */
    _Atomic(uint32_t) scratch_taken; /* bitmap of the scratch pool */
    _Atomic(uint32_t) pieces_lock;   /* futex word */
    _Atomic(int32_t) watcher;        /* the userfaultfd of this process, plus 1; 0: none yet */
    _Atomic(uint32_t) lines[LINE_CALLS];
};
extern struct process_page *process_page;

#endif
