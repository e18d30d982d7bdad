/*
 * ending.c: fork, and the end of a process, as far as mappings are concerned. Everything else that a forked child needs it
 * makes at its first captured call; a mapping is stored to without one.
 *
 *     fork     handlers, ours before all others: a child registers its mappings before any other code runs in it
 *     _Fork, clone without CLONE_VM   run no handlers: wrapped
 *     _exit, the end of main, exec    what was written is told, so that nothing is owed when the process is gone
 */
#define _GNU_SOURCE
#include "map.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

extern int (*libc_clone)(int (*)(void *), void *, int, void *, ...) __attribute__((visibility("hidden")));
int __cxa_atexit(void (*function)(void *), void *argument, void *library);

static __thread bool held;
static uint64_t signals; /* of the one that holds the lock */
static pid_t (*libc_fork_alone)(void);

void fork_prepare(void) {
    held = attached() && pieces_exist();
    if (!held)
        return;
    uint64_t before;
    pieces_lock(&before);
    signals = before;
    track_fork(true);
}

void fork_parent(void) {
    if (!held)
        return;
    uint64_t before = signals;
    track_fork(false);
    held = false;
    pieces_unlock(&before);
}

void fork_child(void) {
    track_forget_parent();
    if (!held)
        return;
    held = false;
    track_forked();
    pieces_unlock(&signals);
}

long forked(long answer) {
    if (answer == 0)
        fork_child();
    else
        fork_parent();
    return answer;
}

static void end(void *nothing) {
    (void)nothing;
    track_leave_all();
}

/* clone with memory of its own: the child begins here. Its maker holds the lock, so there is one at a time. */
static struct {
    int (*function)(void *);
    void *argument;
} apart;

static int apart_child(void *nothing) {
    (void)nothing;
    fork_child();
    int status = apart.function(apart.argument);
    track_leave_all(); /* libc ends it by a call of its own */
    return status;
}

/* From share.c, as libc declares it. With other thread-local storage the child can't find what is its own: it goes without the
   mappings. */
__attribute__((visibility("hidden"), used)) int clone_apart(int (*function)(void *), void *stack, int flags, void *argument,
                                                            void *parent_tid, void *tls, void *child_tid) {
    share_prepare();
    if (flags & CLONE_SETTLS)
        return libc_clone(function, stack, flags, argument, parent_tid, tls, child_tid);
    fork_prepare();
    if (!held)
        return libc_clone(function, stack, flags, argument, parent_tid, tls, child_tid);
    apart.function = function;
    apart.argument = argument;
    int answer = libc_clone(function ? apart_child : NULL, stack, flags, NULL, parent_tid, tls, child_tid);
    int error = errno;
    fork_parent();
    errno = error;
    return answer;
}

void ending_attach(void) {
    libc_fork_alone = (pid_t (*)(void))dlsym(RTLD_NEXT, "_Fork");
    /* The loader's own handler, which takes all libraries down, is set after ours, and therefore runs before it: no code of
       the program runs behind this one. A destructor of this library would come too early for other libraries'. */
    if (pthread_atfork(fork_prepare, fork_parent, fork_child) != 0 || __cxa_atexit(end, NULL, NULL) != 0)
        line_exit(LOCKSTEP_EXIT_OS, "no fork or exit handler can be set", "");
}

EXPORTED pid_t _Fork(void) {
    if (!libc_fork_alone)
        libc_fork_alone = (pid_t (*)(void))dlsym(RTLD_NEXT, "_Fork");
    fork_prepare();
    return (pid_t)forked(libc_fork_alone());
}

EXPORTED _Noreturn void _exit(int status) {
    track_leave_all();
    for (;;)
        kernel(SYS_exit_group, status);
}
ALIAS(_Exit, _exit);
