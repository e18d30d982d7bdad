#include "filter.h"

#include "../CGuard/guarded_calls.h"
#include "../CInterposer/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1ul << 5)
#endif

/* The address behind the syscall instruction of the stub page. */
#define STUB_RETURN (STUB_PAGE + 29)

#define X32_BIT 0x40000000u
#define NAMELESS_FILE (O_TMPFILE & ~O_DIRECTORY)

enum test { ALWAYS, MAPS, PROTECTS, CONTROLS, OPENS_0, OPENS_1, OPENS_2, TESTS };
#define OPENS(n) (OPENS_0 + (n))

static const struct {
    int number;
    enum test test;
} calls[] = {
#define GUARDED(number, name, test) {number, test},
    GUARDED_CALLS(GUARDED)
#undef GUARDED
};
enum { CALLS = sizeof calls / sizeof *calls };

/* What changes a file through ioctl. The kernel looks at 32 bits. */
static const unsigned controls[] = {
    FICLONE, FICLONERANGE, FIDEDUPERANGE, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FS_IOC_ENABLE_VERITY,
    _IOW('f', 4, long),                                     /* EXT4_IOC_SETVERSION_OLD */
    _IOWR('f', 15, char[40]), _IO('f', 17), _IO('f', 9),    /* EXT4_IOC_MOVE_EXT, _SWAP_BOOT, _MIGRATE */
    _IOW('X', 40, char[48]), _IOW('X', 42, char[48]), _IOW('X', 41, char[48]), _IOW('X', 43, char[48]),
    _IOW('X', 57, char[48]),                                /* FS_IOC_RESVSP, _RESVSP64, _UNRESVSP, _UNRESVSP64, _ZERO_RANGE */
    _IOWR('X', 109, char[192]), _IOW('X', 129, char[40]),   /* XFS_IOC_SWAPEXT, _EXCHANGE_RANGE */
};
enum { CONTROL_COUNT = sizeof controls / sizeof *controls };

/*
 *     arch, x32 --foreign--> notify
 *     number: a chain of comparisons, not found --> allow (the kernel remembers this per number and runs no filter)
 *     the test of its arguments --does not hold--> allow
 *     instruction pointer: the stub --> allow, else notify (audited: notify)
 *
 * Written from the end, so that each jump knows where it leads; `at` counts instructions before the end.
 */
enum { INSTRUCTIONS_MAX = 240 }; /* jumps carry 8 bits */

struct program {
    struct sock_filter code[INSTRUCTIONS_MAX];
    int start; /* code[start] is the first instruction */
};

static void put(struct program *p, unsigned short operation, unsigned k, int yes, int no) {
    int here = --p->start;
    p->code[here] = (struct sock_filter){.code = operation, .k = k,
        .jt = (unsigned char)(yes < 0 ? 0 : yes - here - 1), .jf = (unsigned char)(no < 0 ? 0 : no - here - 1)};
}
static void put_load(struct program *p, size_t offset) { put(p, BPF_LD | BPF_W | BPF_ABS, (unsigned)offset, -1, -1); }
static void put_equal(struct program *p, unsigned k, int yes, int no) { put(p, BPF_JMP | BPF_JEQ | BPF_K, k, yes, no); }
static void put_any_bit(struct program *p, unsigned k, int yes, int no) { put(p, BPF_JMP | BPF_JSET | BPF_K, k, yes, no); }
static size_t argument(int number) { return offsetof(struct seccomp_data, args) + 8 * (size_t)number; }

static bool observes;

void filter_observe(void) { observes = true; }

static void build(struct program *p) {
    int tests[TESTS];
    p->start = INSTRUCTIONS_MAX;
    put(p, BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF, -1, -1);
    int notify = p->start;
    put(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, -1, -1);
    int allow = p->start;

    put_equal(p, (unsigned)STUB_RETURN, allow, notify);
    put_load(p, offsetof(struct seccomp_data, instruction_pointer));
    put_equal(p, (unsigned)(STUB_RETURN >> 32), p->start, notify);
    put_load(p, offsetof(struct seccomp_data, instruction_pointer) + 4);
    tests[ALWAYS] = observes ? notify : p->start;

    for (int number = 0; number <= 2; number++) {
        put_any_bit(p, O_CREAT | O_TRUNC | NAMELESS_FILE, tests[ALWAYS], allow);
        put_load(p, argument(number));
        tests[OPENS(number)] = p->start;
    }
    put_any_bit(p, MAP_ANONYMOUS, allow, tests[ALWAYS]);
    put_any_bit(p, MAP_SHARED, p->start, allow); /* MAP_SHARED_VALIDATE has the bit too */
    put_load(p, argument(3));
    tests[MAPS] = p->start;
    /* Of its own text, or, for an audit, by a wrapper. */
    if (observes) put_equal(p, (unsigned)(STUB_RETURN >> 32), notify, allow);
    put_equal(p, 0, notify, observes ? p->start : allow);
    put_load(p, offsetof(struct seccomp_data, instruction_pointer) + 4);
    put_any_bit(p, PROT_WRITE, p->start, allow);
    put_load(p, argument(2));
    tests[PROTECTS] = p->start;
    for (int index = CONTROL_COUNT - 1; index >= 0; index--)
        put_equal(p, controls[index], tests[ALWAYS], index == CONTROL_COUNT - 1 ? allow : p->start);
    put_load(p, argument(1));
    tests[CONTROLS] = p->start;

    for (int index = CALLS - 1; index >= 0; index--)
        put_equal(p, (unsigned)calls[index].number, tests[calls[index].test], index == CALLS - 1 ? allow : p->start);
    if (observes) {
        put_equal(p, SYS_execve, notify, p->start);
        put_equal(p, SYS_execveat, notify, p->start);
    }
    put(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, notify, p->start);
    put_load(p, offsetof(struct seccomp_data, nr));
    put_equal(p, AUDIT_ARCH_X86_64, p->start, notify);
    put_load(p, offsetof(struct seccomp_data, arch));
}
_Static_assert(CALLS + CONTROL_COUNT + 30 < INSTRUCTIONS_MAX, "the program fits, and so do its jumps");

int filter_install(_Bool *no_new_privileges) {
    static struct program program;
    build(&program);
    struct sock_fprog given = {.len = (unsigned short)(INSTRUCTIONS_MAX - program.start), .filter = program.code + program.start};
    const unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    *no_new_privileges = false;
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &given);
    if (listener < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
        *no_new_privileges = true;
        listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &given);
    }
    return (int)listener;
}
