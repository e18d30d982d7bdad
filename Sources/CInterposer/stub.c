/*
 * stub.c: the page from which all system calls are made.
 *
 *   0x200000000000   endbr64; number and arguments into the kernel's registers; syscall; ret
 *
 * The address is a constant so that the guard's filter can compare the instruction pointer with it.
 */
#define _GNU_SOURCE
#include "kernel.h"
#include <string.h>
#include <sys/mman.h>

static const uint8_t stub_code[30] = {
    0xf3, 0x0f, 0x1e, 0xfa,       /* endbr64 */
    0x48, 0x89, 0xf8,             /* mov rax, rdi   number */
    0x48, 0x89, 0xf7,             /* mov rdi, rsi   a */
    0x48, 0x89, 0xd6,             /* mov rsi, rdx   b */
    0x48, 0x89, 0xca,             /* mov rdx, rcx   c */
    0x4d, 0x89, 0xc2,             /* mov r10, r8    d */
    0x4d, 0x89, 0xc8,             /* mov r8, r9     e */
    0x4c, 0x8b, 0x4c, 0x24, 0x08, /* mov r9, [rsp+8] f */
    0x0f, 0x05,                   /* syscall */
    0xc3,                         /* ret */
};

static long inline_entry(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return answer;
}

kernel_entry_function kernel_entry = inline_entry;

_Bool stub_establish(void) {
    long page = kernel(SYS_mmap, STUB_PAGE, 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != (long)STUB_PAGE) {
        if (page > 0)
            kernel(SYS_munmap, page, 4096);
        return 0;
    }
    memcpy((void *)STUB_PAGE, stub_code, sizeof stub_code);
    if (kernel(SYS_mprotect, STUB_PAGE, 4096, PROT_READ | PROT_EXEC) != 0)
        return 0;
    kernel_entry = (kernel_entry_function)STUB_PAGE;
    return 1;
}
