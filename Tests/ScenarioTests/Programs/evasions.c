/*
 * evasions.c ROUTE DIRECTORY: writes into DIRECTORY by a route that no wrapper of the preload library sees. Prints "wrote"
 * or "refused ERRNO"; exit code 0 for both. Linked statically too, where the route allows it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *directory;
static char path[4096];

static long raw(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return answer;
}
#define RAW_PADDED(number, a, b, c, d, e, f, ...) raw((long)(number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define RAW(...) RAW_PADDED(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static char *in(const char *name) {
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}
static int report(long answer) {
    if (answer < 0) printf("refused %s\n", strerrorname_np((int)-answer));
    else puts("wrote");
    return 0;
}
static int opened(const char *name) {
    int file = open(in(name), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0) perror(path), exit(2);
    return file;
}

static int inline_calls(void) {
    long file = RAW(SYS_open, in("inline"), O_RDWR | O_CREAT | O_TRUNC, 0640);
    if (file < 0) return report(file);
    RAW(SYS_write, file, "inline ", 7);
    struct iovec vector[2] = {{"two", 3}, {"parts", 5}};
    RAW(SYS_writev, file, vector, 2);
    RAW(SYS_pwrite64, file, "IN", 2, 0);
    RAW(SYS_pwritev2, file, vector, 2, 4000, 0, 0);
    RAW(SYS_ftruncate, file, 3000);
    RAW(SYS_fallocate, file, 0, 2990, 100);
    RAW(SYS_fchmod, file, 0604);
    return report(RAW(SYS_fsync, file));
}

static int names(void) {
    char other[4200];
    long answer = RAW(SYS_mkdir, in("made"), 0750);
    if (answer < 0) return report(answer);
    RAW(SYS_creat, in("made/one"), 0644);
    snprintf(other, sizeof other, "%s/made/two", directory);
    RAW(SYS_rename, in("made/one"), other);
    RAW(SYS_symlink, "two", in("made/link"));
    RAW(SYS_mkdirat, AT_FDCWD, in("made/gone"), 0700);
    RAW(SYS_rmdir, in("made/gone"));
    RAW(SYS_open, in("made/unlinked"), O_CREAT | O_WRONLY, 0600);
    RAW(SYS_unlink, in("made/unlinked"));
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 5}};
    RAW(SYS_utimensat, AT_FDCWD, in("made/two"), times, 0);
    RAW(SYS_chmod, in("made/link"), 0611); /* through the link */
    RAW(SYS_truncate, in("made/two"), 4097);
    if (chdir(in("made")) != 0) return 2;
    int here = open(".", O_RDONLY | O_DIRECTORY);
    long file = RAW(SYS_openat, AT_FDCWD, "relative", O_CREAT | O_WRONLY, 0666);
    RAW(SYS_write, file, "cwd", 3);
    file = RAW(SYS_openat, here, "../from", O_CREAT | O_WRONLY, 0666);
    return report(RAW(SYS_write, file, "dirfd", 5));
}

static int interrupt_calls(void) {
#ifdef NO_INTERRUPT
    return report(-ENOSYS);
#else
    int file = opened("int80");
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(low, "int80");
    long answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(4), "b"(file), "c"(low), "d"(5) : "memory", "r8", "r9", "r10", "r11");
    return report((int)answer);
#endif
}

static int ring_calls(void) {
    struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    int file = opened("ring");
    long ring = RAW(SYS_io_uring_setup, 4, &parameters);
    if (ring < 0) return report(ring);
    char *rings = (char *)RAW(SYS_mmap, NULL, parameters.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry =
        (struct io_uring_sqe *)RAW(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    *entry = (struct io_uring_sqe){.opcode = IORING_OP_WRITE, .fd = file, .addr = (uintptr_t)"ring", .len = 4};
    *(unsigned *)(void *)(rings + parameters.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(void *)(rings + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
    return report(RAW(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS));
}

static int map_calls(void) {
    int file = opened("mapped");
    if (ftruncate(file, 4096) != 0) return 2;
    long address = RAW(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (address < 0 && address > -4096) return report(address);
    strcpy((char *)address, "mapped");
    return report(0);
}

/* Read-only at first. */
static int protect_calls(void) {
    int file = opened("protected");
    if (ftruncate(file, 4096) != 0) return 2;
    long address = RAW(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (address < 0 && address > -4096) return report(address);
    long answer = RAW(SYS_mprotect, address, 4096, PROT_READ | PROT_WRITE);
    if (answer == 0) strcpy((char *)address, "protected");
    return report(answer);
}

#ifndef STATIC
/* The environment is emptied by a call that the library does not see. */
static int cleared_calls(void) {
    if (fork() == 0) {
        char *const arguments[] = {"sh", "-c", "echo cleared > \"$0\"", in("cleared"), NULL}, *const environment[] = {NULL};
        RAW(SYS_execve, "/bin/sh", arguments, environment);
        _exit(3);
    }
    int status;
    wait(&status);
    return report(status == 0 ? 0 : -ECHILD);
}

static int second_calls(void) {
    int file = opened("second");
    void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    ssize_t (*second)(int, const void *, size_t) = libc ? (ssize_t (*)(int, const void *, size_t))dlsym(libc, "write") : NULL;
    if (second == NULL) return puts(dlerror()), 2;
    return report(second(file, "second", 6) < 0 ? -EIO : 0);
}

static int looked_up_calls(void) {
    int file = opened("looked-up");
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    ssize_t (*found)(int, const void *, size_t) = libc ? (ssize_t (*)(int, const void *, size_t))dlsym(libc, "write") : NULL;
    if (found == NULL) return 2;
    return report(found(file, "looked up", 9) < 0 ? -EIO : 0);
}

ssize_t __write_nocancel(int, const void *, size_t);
static int uncancelled_calls(void) {
    int file = opened("nocancel");
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    ssize_t (*found)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(libc, "__write_nocancel");
    if (found == NULL) return puts("no __write_nocancel"), 2;
    return report(found(file, "nocancel", 8) < 0 ? -EIO : 0);
}
#endif

static int vfork_calls(void) {
    int file = opened("vforked");
    if (vfork() == 0) {
        RAW(SYS_write, file, "vforked", 7);
        RAW(SYS_exit_group, 0);
    }
    return report(0);
}

static int reused_calls(void) {
    int file = opened("first"), number = 50;
    RAW(SYS_dup2, file, number);
    RAW(SYS_write, number, "first", 5);
    RAW(SYS_close, number);
    int pipes[2];
    if (pipe(pipes) != 0) return 2;
    RAW(SYS_dup2, pipes[1], number);
    if (RAW(SYS_write, number, "pipe", 4) != 4) return 2; /* outside: goes on */
    long other = RAW(SYS_open, in("other"), O_WRONLY | O_CREAT, 0600);
    RAW(SYS_dup2, other, number);
    return report(RAW(SYS_write, number, "other", 5));
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        int (*route)(void);
    } routes[] = {
        {"inline", inline_calls}, {"names", names}, {"int80", interrupt_calls}, {"io_uring", ring_calls}, {"mmap", map_calls}, {"mprotect", protect_calls},
        {"vfork", vfork_calls}, {"reuse", reused_calls},
#ifndef STATIC
        {"cleared", cleared_calls}, {"dlmopen", second_calls}, {"dlsym", looked_up_calls},
        {"nocancel", uncancelled_calls},
#endif
    };
    if (count != 3) return 64;
    directory = arguments[2];
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t index = 0; index < sizeof routes / sizeof *routes; index++)
        if (strcmp(routes[index].name, arguments[1]) == 0) return routes[index].route();
    return 64;
}
