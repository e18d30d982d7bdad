/*
 * payload.c: the bytes that an application hands over, read as the kernel would read them: what can't be read is EFAULT
 * or a short count, and never a SIGSEGV in the application.
 *
 *   page known as readable --------------------------------------------> memcpy
 *   not known: MADV_POPULATE_READ of the pages that are read anyway --> remembered, memcpy
 *   not readable: process_vm_readv of oneself ------------------------> the readable start of the bytes
 *
 * Asked for every write, the kernel's word would cost as much as half of a write. A page stays known until the program
 * unmaps or protects something; what libc itself unmaps is memory that no correct program hands over.
 */
#define _GNU_SOURCE
#include "library.h"
#include <linux/mman.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define PAGE 4096ul
#define ADDRESS_END (1ull << 47)

/* Sixteen pages per entry: | times forgotten 29 | group / KNOWN_GROUPS 19 | a bit per page 16 |. One word each, so that
   no two threads make up a third thing. 256 MiB are known at most. */
#define KNOWN_GROUPS 4096u
static _Atomic(uint64_t) known[KNOWN_GROUPS];
static _Atomic(uint64_t) times_forgotten = 1;

static uint64_t group_tag(uint64_t group, uint64_t times) { return times << 35 | (group / KNOWN_GROUPS) << 16; }

/* Bits of the pages first..last that lie in the group. */
static uint64_t group_bits(uint64_t group, uint64_t first, uint64_t last) {
    uint64_t low = first > group * 16 ? first - group * 16 : 0, high = last < group * 16 + 15 ? last - group * 16 : 15;
    return (2ull << high) - (1ull << low);
}

static bool pages_known(uint64_t first, uint64_t last, uint64_t times) {
    for (uint64_t group = first / 16; group <= last / 16; group++) {
        uint64_t word = atomic_load_explicit(&known[group % KNOWN_GROUPS], memory_order_relaxed);
        uint64_t bits = group_bits(group, first, last);
        if ((word & ~0xffffull) != group_tag(group, times) || (word & bits) != bits)
            return false;
    }
    return true;
}

static void pages_remember(uint64_t first, uint64_t last, uint64_t times) {
    for (uint64_t group = first / 16; group <= last / 16; group++) {
        _Atomic(uint64_t) *entry = &known[group % KNOWN_GROUPS];
        uint64_t tag = group_tag(group, times), word = atomic_load_explicit(entry, memory_order_relaxed);
        uint64_t bits = (word & ~0xffffull) == tag ? word & 0xffff : 0;
        atomic_store_explicit(entry, tag | bits | group_bits(group, first, last), memory_order_relaxed);
    }
}

static void pages_forget(void) { atomic_fetch_add_explicit(&times_forgotten, 1, memory_order_relaxed); }

bool payload_plausible(const void *bytes, size_t count) {
    uintptr_t start = (uintptr_t)bytes;
    return start < ADDRESS_END && count < ADDRESS_END && start + count <= ADDRESS_END;
}

bool payload_readable(const void *bytes, size_t count) {
    if (count == 0)
        return true;
    if (!payload_plausible(bytes, count))
        return false;
    uint64_t first = (uintptr_t)bytes / PAGE, last = ((uintptr_t)bytes + count - 1) / PAGE;
    /* Read before the question is asked: what is unmapped meanwhile makes the answer worth nothing. */
    uint64_t times = atomic_load(&times_forgotten);
    if (__builtin_expect(pages_known(first, last, times), 1))
        return true;
    /* EINVAL: a kernel, or a kind of memory, that does not know the question. */
    long answer = kernel(SYS_madvise, first * PAGE, (last - first + 1) * PAGE, MADV_POPULATE_READ);
    if (answer == 0)
        pages_remember(first, last, times);
    return answer == 0;
}

size_t payload_copy(void *to, const void *from, size_t count) {
    if (__builtin_expect(payload_readable(from, count), 1)) {
        memcpy(to, from, count);
        return count;
    }
    struct iovec own = {to, count}, theirs = {(void *)from, count};
    long got = kernel(SYS_process_vm_readv, kernel(SYS_getpid), &own, 1, &theirs, 1, 0);
    if (got == -ENOSYS || got == -EPERM) { /* forbidden to this process: then only the addresses are checked */
        if ((uintptr_t)from < PAGE || !payload_plausible(from, count))
            return 0;
        memcpy(to, from, count);
        return count;
    }
    return got > 0 ? (size_t)got : 0;
}

long payload_text(const char *text, size_t limit) {
    size_t bytes = 0;
    while (bytes < limit) {
        size_t piece = PAGE - ((uintptr_t)text + bytes) % PAGE;
        if (piece > limit - bytes)
            piece = limit - bytes;
        if (!payload_readable(text + bytes, piece))
            return -EFAULT;
        size_t found = strnlen(text + bytes, piece);
        bytes += found;
        if (found < piece)
            break;
    }
    return (long)bytes;
}

/* ------------------------------------------------------------------ what takes pages away */

long passed_munmap(void *address, size_t bytes) {
    long answer = mapping_munmap(address, bytes);
    pages_forget();
    return answer;
}

long passed_mprotect(void *address, size_t bytes, int protection) {
    long answer = mapping_mprotect(address, bytes, protection);
    if (!(protection & PROT_READ))
        pages_forget();
    return answer;
}

long passed_pkey_mprotect(void *address, size_t bytes, int protection, int key) {
    long answer = kernel(SYS_pkey_mprotect, address, bytes, protection, key);
    if (!(protection & PROT_READ))
        pages_forget();
    return answer;
}

long passed_mremap(void *address, size_t before, size_t bytes, int flags, void *fixed) {
    long answer = mapping_mremap(address, before, bytes, flags, fixed);
    pages_forget();
    return answer;
}

long passed_shmdt(const void *address) {
    long answer = kernel(SYS_shmdt, address);
    pages_forget();
    return answer;
}

void payload_replaced(void) { pages_forget(); }

EXPORTED int munmap(void *address, size_t bytes) { return (int)returned(passed_munmap(address, bytes)); }
EXPORTED int mprotect(void *address, size_t bytes, int protection) {
    return (int)returned(passed_mprotect(address, bytes, protection));
}
EXPORTED int pkey_mprotect(void *address, size_t bytes, int protection, int key) {
    return (int)returned(passed_pkey_mprotect(address, bytes, protection, key));
}
EXPORTED void *mremap(void *address, size_t before, size_t bytes, int flags, ...) {
    va_list list;
    va_start(list, flags);
    void *fixed = va_arg(list, void *); /* looked at by the kernel when the flags say so */
    va_end(list);
    return (void *)returned(passed_mremap(address, before, bytes, flags, fixed));
}
EXPORTED int shmdt(const void *address) { return (int)returned(passed_shmdt(address)); }
