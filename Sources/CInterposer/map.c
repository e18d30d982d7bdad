/*
 * map.c: mappings of files of the tree.
 *
 *   private                    allowed: no store reaches the file
 *   shared, writable           refused (EACCES): stores are not seen; excluded names pass
 *   shared, read-only, from a descriptor open for writing
 *                              mapped from a read-only re-open, so that mprotect can't make it writable later
 *
 * The re-open must not be closed in this process: closing any descriptor of a file drops the process's POSIX locks on
 * it. So a short-lived child that shares the memory, but not the descriptor table, opens, maps and ends.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

struct reopened_map {
    char path[DESCRIPTOR_PATH_BYTES];
    void *address;
    size_t bytes;
    int protection, flags;
    off_t offset;
    long answer;
};

static long map_in_child(void *argument) {
    struct reopened_map *map = argument;
    long descriptor = kernel(SYS_openat, AT_FDCWD, map->path, O_RDONLY | O_CLOEXEC, 0);
    map->answer = descriptor;
    if (descriptor >= 0)
        map->answer = kernel(SYS_mmap, map->address, map->bytes, map->protection, map->flags, descriptor, map->offset);
    return 0;
}

/* vfork with a stack of its own: the caller is suspended until the child has ended. */
static long run_in_child(long (*function)(void *), void *argument, char *stack_end) {
    long answer;
    register void *argument_register __asm__("r12") = argument;
    register long (*function_register)(void *) __asm__("r13") = function;
    register long zero8 __asm__("r8") = 0;
    register long zero10 __asm__("r10") = 0;
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
                     : "a"(SYS_clone), "D"(CLONE_VM | CLONE_VFORK), "S"(((uintptr_t)stack_end & ~15ul)), "d"(0),
                       "r"(zero10), "r"(zero8), "r"(argument_register), "r"(function_register), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return answer;
}

static long map_reopened(struct reopened_map *map, int descriptor) {
    descriptor_path(descriptor, map->path);
    map->answer = -EACCES;
    char *stack = scratch_take();
    if (!stack)
        return -ENOMEM;
    uint64_t all = ~0ull, before;
    kernel(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &before, 8);
    long child = run_in_child(map_in_child, map, stack + PATH_BYTES);
    if (child > 0)
        kernel(SYS_wait4, child, 0, __WCLONE, 0); /* without an exit signal: the application's own waits never see it */
    kernel(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, 0, 8);
    scratch_return(stack);
    return child < 0 ? child : map->answer;
}

long captured_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    int type = flags & MAP_TYPE;
    if (!attached() || (flags & MAP_ANONYMOUS) || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
        return kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    struct target target;
    long verdict = identify_regular(descriptor, &target);
    if (verdict == OUTSIDE || verdict < 0)
        return verdict < 0 ? -EACCES : kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    if (type == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
        return -EOPNOTSUPP;
    long open_flags = kernel(SYS_fcntl, descriptor, F_GETFL);
    if ((open_flags & O_ACCMODE) != O_RDWR)
        return kernel(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
    if (protection & PROT_WRITE) {
        line(LINE_MAP, "mmap", descriptor, NULL, "a writable shared mapping of a replicated file: refused");
        return -EACCES;
    }
    struct reopened_map map = {.address = address, .bytes = bytes, .protection = protection, .flags = flags,
                               .offset = offset};
    return map_reopened(&map, descriptor);
}

EXPORTED void *mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    long answer = captured_mmap(address, bytes, protection, flags, descriptor, offset);
    if (flags & MAP_FIXED)
        payload_replaced();
    return (void *)returned(answer);
}
ALIAS(mmap64, mmap);
ALIAS(__mmap, mmap);
