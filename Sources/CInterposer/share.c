/*
 * share.c: vfork and clone, whose child may write in memory that it shares with its parent.
 *
 * A forked process attaches at its first captured call. If that call were made by its own vfork child, the keeper would
 * take the child for the owner of the arena: the child ends, the arena is taken back, and what the parent then writes
 * through it is missed. So the parent attaches before it shares. Both functions return twice, or on another stack: the
 * wrappers leave registers and stack as they found them, and jump.
 */
#define _GNU_SOURCE
#include "library.h"
#include <dlfcn.h>

#define HIDDEN __attribute__((visibility("hidden"), used))

HIDDEN void *libc_vfork;
HIDDEN int (*libc_clone)(int (*)(void *), void *, int, void *, ...);

HIDDEN void share_prepare(void) {
    uint32_t number;
    if (!libc_clone) {
        libc_vfork = dlsym(RTLD_NEXT, "vfork");
        libc_clone = (int (*)(int (*)(void *), void *, int, void *, ...))dlsym(RTLD_NEXT, "clone");
    }
    if (attached())
        arena_of_process(&number);
}

__asm__(".text\n"
        ".globl vfork, __vfork\n"
        ".type vfork, @function\n"
        ".type __vfork, @function\n"
        "vfork:\n"
        "__vfork:\n"
        "    endbr64\n"
        "    sub $8, %rsp\n"
        "    call share_prepare\n"
        "    add $8, %rsp\n"
        "    jmp *libc_vfork(%rip)\n"
        ".size vfork, . - vfork\n"
        ".size __vfork, . - __vfork\n"

        ".globl clone, __clone\n"
        ".type clone, @function\n"
        ".type __clone, @function\n"
        "clone:\n"
        "__clone:\n"
        "    endbr64\n"
        "    test $0x100, %edx\n" /* CLONE_VM */
        "    jz clone_apart\n"
        "    push %rdi\n"
        "    push %rsi\n"
        "    push %rdx\n"
        "    push %rcx\n"
        "    push %r8\n"
        "    push %r9\n"
        "    push %rax\n"
        "    call share_prepare\n"
        "    pop %rax\n"
        "    pop %r9\n"
        "    pop %r8\n"
        "    pop %rcx\n"
        "    pop %rdx\n"
        "    pop %rsi\n"
        "    pop %rdi\n"
        "    jmp *libc_clone(%rip)\n"
        ".size clone, . - clone\n"
        ".size __clone, . - __clone\n");
