/*
 * aside.c: runs a function in a short-lived thread that shares everything with its maker but the descriptors: of those it
 * has a copy, which ends with it.
 *
 *   maker, signals blocked --clone--> thread: descriptors 0 to 15 of the copy closed, but one; function, exit
 *      waits <---------------------------------------------------- the kernel clears the word
 *
 * For what must not be seen in the application's own table: a file of the tree that is opened and closed (closing drops
 * POSIX locks only for the table that holds them), and the attaching of a process that has no descriptor left. The kernel
 * and the keeper see the same process; /proc/self/fd is the application's own table,
 * /proc/thread-self/fd the copy.
 */
#define _GNU_SOURCE
#include "library.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#define STACK_BYTES 32768ul
#define FLAGS (CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

struct errand {
    void (*function)(void *);
    void *argument;
    int kept;
};

static void run(struct errand *errand) {
    if (errand->kept < 0 || errand->kept > 15)
        kernel(SYS_close_range, 0, 15, 0);
    else {
        if (errand->kept > 0)
            kernel(SYS_close_range, 0, errand->kept - 1, 0);
        if (errand->kept < 15)
            kernel(SYS_close_range, errand->kept + 1, 15, 0);
    }
    errand->function(errand->argument);
}

static long thread_start(struct errand *errand, char *stack_end, _Atomic(uint32_t) *word) {
    long answer;
    register void *argument __asm__("r12") = errand;
    register void (*function)(struct errand *) __asm__("r13") = run;
    register void *cleared __asm__("r10") = word;
    register long thread_pointer __asm__("r8") = 0; /* without CLONE_SETTLS: the maker's, who waits */
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "xor %%edi, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(answer)
                     : "a"(SYS_clone), "D"(FLAGS), "S"((uintptr_t)stack_end & ~15ul), "d"(word), "r"(cleared),
                       "r"(thread_pointer), "r"(argument), "r"(function), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return answer;
}

bool run_aside(void (*function)(void *), void *argument, int kept) {
    struct errand errand = {function, argument, kept};
    _Atomic(uint32_t) word = 1;
    uint64_t all = ~0ull, before;
    long stack = kernel(SYS_mmap, 0, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kernel(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &before, 8);
    long thread = stack < 0 && stack > -4096 ? stack : thread_start(&errand, (char *)stack + STACK_BYTES, &word);
    for (uint32_t running; thread > 0 && (running = atomic_load(&word)) != 0;) {
        struct timespec bound = {.tv_nsec = 100000000};
        kernel(SYS_futex, &word, FUTEX_WAIT, running, &bound, 0, 0);
    }
    kernel(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, 0, 8);
    if (stack > 0)
        kernel(SYS_munmap, stack, STACK_BYTES);
    return thread > 0;
}
