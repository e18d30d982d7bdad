/*
 * kernel.h: system calls as the library makes them.
 *
 *   wrapper --> kernel(SYS_x, ...) --> kernel_entry --> stub page at 0x200000000000 --> kernel
 *
 * Once attached, every call is made from the stub page, because the guard (a seccomp filter) lets a modifying call
 * through only from there. Before that, and when the library is inert, an instruction of the library itself makes it.
 * Internal functions speak the kernel's language: >= 0 or -errno. Only the outermost wrapper touches errno.
 */
#ifndef LOCKSTEP_KERNEL_H
#define LOCKSTEP_KERNEL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#define STUB_PAGE 0x200000000000ull

typedef long (*kernel_entry_function)(long number, long a, long b, long c, long d, long e, long f);
extern kernel_entry_function kernel_entry;

/* Maps the stub page and makes all further calls from there; false: the address is taken. */
_Bool stub_establish(void);

#define KERNEL_PADDED(number, a, b, c, d, e, f, ...) \
    kernel_entry((long)(number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define kernel(...) KERNEL_PADDED(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* The kernel's answer as libc gives it. */
static inline long returned(long answer) {
    if ((unsigned long)answer > -4096ul) {
        errno = (int)-answer;
        return -1;
    }
    return answer;
}

#define EXPORTED __attribute__((visibility("default")))
/* A further name of the same function: LFS and double-underscore aliases that libc exports too. */
#define ALIAS(name, of) extern __typeof__(of) name __attribute__((alias(#of), visibility("default"), copy(of)))

#endif
