/*
 * mapper: stores into mapped files, by each route, and makes them durable, by each way.
 *
 *   mapper load FILE      for ever: "ROUTE VALUE" once VALUE is durable in that route's page of FILE
 *   mapper check FILE     reads those lines, says which pages hold less
 *   mapper dirty FILE     stores to all pages, says so, waits; stores again at SIGUSR1
 *   mapper closed FILE    closes everything it has open, stores, has another process make it durable
 *   mapper wide FILE      scattered stores to 64 MiB, and a file that grows under its mapping
 *   mapper storm FILE     threads of several processes map, store, cut, move, fork, write and punch, each in its own part
 *
 *   parent (maps nothing)  --value--> child (stores by its route) --done--> parent: next value, this one durable, printed
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define NEED(condition) do { if (!(condition)) { fprintf(stderr, "mapper: %s: %s\n", #condition, strerror(errno)); exit(1); } } while (0)

enum { SYNCED, PLAIN, SECOND, UNMAPPED, WOKEN, MOVED, KERNEL, FORKED, REPLACED, CUT, ROUTES };
static const char *const routes[ROUTES] = {"synced", "plain", "second", "unmapped", "woken", "moved", "kernel", "forked", "replaced", "cut"};

static char *map(int fd, unsigned long first, unsigned long pages, int protection) {
    char *memory = mmap(NULL, pages * PAGE, protection, MAP_SHARED, fd, (off_t)(first * PAGE));
    NEED(memory != MAP_FAILED);
    return memory;
}

static void store(char *page, uint64_t value) { *(volatile uint64_t *)page = value; }

/* One value by one route; what is static stays mapped. */
static void put(int route, int fd, uint64_t value) {
    static char *mapped;
    const int both = PROT_READ | PROT_WRITE;
    char *memory;
    int ends[2];
    switch (route) {
    case SYNCED:
        if (!mapped) mapped = map(fd, 0, 16, both);
        store(mapped, value);
        NEED(msync(mapped, PAGE, MS_SYNC) == 0);
        break;
    case PLAIN: case SECOND: /* two mappers of one file */
        if (!mapped) mapped = map(fd, 0, 16, both);
        store(mapped + route * PAGE, value);
        break;
    case UNMAPPED:
        memory = map(fd, UNMAPPED, 1, both);
        store(memory, value);
        NEED(munmap(memory, PAGE) == 0);
        break;
    case WOKEN:
        if (!mapped) mapped = map(fd, WOKEN, 1, PROT_READ);
        NEED(mprotect(mapped, PAGE, both) == 0);
        store(mapped, value);
        NEED(mprotect(mapped, PAGE, PROT_READ) == 0);
        break;
    case MOVED:
        memory = map(fd, MOVED - 1, 1, both);
        memory = mremap(memory, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
        NEED(memory != MAP_FAILED);
        store(memory + PAGE, value);
        if (mapped) NEED(munmap(mapped, 2 * PAGE) == 0);
        mapped = memory;
        break;
    case KERNEL:
        if (!mapped) mapped = map(fd, KERNEL, 1, both);
        NEED(pipe(ends) == 0 && write(ends[1], &value, sizeof value) == sizeof value && read(ends[0], mapped, sizeof value) == sizeof value);
        close(ends[0]);
        close(ends[1]);
        break;
    case FORKED:
        if (!mapped) mapped = map(fd, FORKED, 1, both);
        pid_t child = fork();
        if (child == 0) {
            store(mapped, value);
            _exit(0);
        }
        NEED(waitpid(child, NULL, 0) == child);
        break;
    case REPLACED:
        memory = map(fd, REPLACED, 1, both);
        store(memory, value);
        NEED(mmap(memory, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory && munmap(memory, PAGE) == 0);
        break;
    case CUT: /* of three pages the last, then the middle one; the first stays until the next time */
        memory = map(fd, CUT, 3, both);
        store(memory + 2 * PAGE, value);
        NEED(munmap(memory + 2 * PAGE, PAGE) == 0);
        store(memory, value);
        NEED(munmap(memory + PAGE, PAGE) == 0);
        if (mapped) NEED(munmap(mapped, PAGE) == 0);
        mapped = memory;
        break;
    }
}

static void make_durable(int fd, uint64_t value) {
    switch (value % 5) {
    case 0: NEED(fsync(fd) == 0); break;
    case 1: NEED(fdatasync(fd) == 0); break;
    case 2: NEED(syncfs(fd) == 0); break;
    case 3: sync(); break;
    default: { /* a durable write to the same file */
        static int durable = -1;
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (durable < 0) durable = open(path, O_WRONLY | O_DSYNC);
        NEED(pwrite(durable, &value, sizeof value, 15 * PAGE) == sizeof value);
    }
    }
}

static void load(const char *path) {
    int order[ROUTES][2], done[ROUTES][2];
    int fd = open(path, O_CREAT | O_RDWR, 0644);
    NEED(fd >= 0 && ftruncate(fd, 16 * PAGE) == 0);
    for (int route = 0; route < ROUTES; route++) {
        NEED(pipe(order[route]) == 0 && pipe(done[route]) == 0);
        if (fork() != 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t value; read(order[route][0], &value, sizeof value) == sizeof value;) {
            put(route, fd, value);
            NEED(write(done[route][1], "", 1) == 1);
        }
        exit(0);
    }
    for (uint64_t value = 0;; value++)
        for (int route = 0; route < ROUTES; route++) {
            char byte;
            uint64_t next = value + 1;
            NEED(value == 0 || read(done[route][0], &byte, 1) == 1);
            /* The next one is stored, and mappings come and go, while this one is made durable. */
            NEED(write(order[route][1], &next, sizeof next) == sizeof next);
            if (value == 0) continue;
            if (route != SYNCED) make_durable(fd, value + (uint64_t)route);
            printf("%s %lu\n", routes[route], value);
            fflush(stdout);
        }
}

static int check(const char *path) {
    uint64_t durable[ROUTES] = {0}, value, held;
    char name[32];
    int lost = 0, fd = open(path, O_RDONLY);
    NEED(fd >= 0);
    while (scanf("%31s %lu", name, &value) == 2)
        for (int route = 0; route < ROUTES; route++)
            if (strcmp(name, routes[route]) == 0 && value > durable[route]) durable[route] = value;
    for (int route = 0; route < ROUTES; route++) {
        NEED(pread(fd, &held, sizeof held, (off_t)(route * PAGE)) == sizeof held);
        printf("%s: %lu durable, %lu held%s\n", routes[route], durable[route], held, held < durable[route] ? ": LOST" : "");
        lost += held < durable[route];
    }
    return lost ? 1 : 0;
}

static int fill(const char *path, unsigned long pages, char **memory) {
    int fd = open(path, O_CREAT | O_RDWR, 0644);
    NEED(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
    *memory = map(fd, 0, pages, PROT_READ | PROT_WRITE);
    return fd;
}

static char *held;
static void store_again(int signal) {
    for (unsigned long page = 0; page < 64; page += 3) store(held + page * PAGE + 128, 100 + (uint64_t)signal);
    memset(held + 17 * PAGE, 'a', PAGE);
}

static void dirty(const char *path) {
    char *memory;
    fill(path, 64, &memory);
    held = memory;
    signal(SIGUSR1, store_again);
    for (unsigned long page = 0; page < 64; page++) store(memory + page * PAGE, page + 1);
    NEED(write(1, "stored\n", 7) == 7);
    for (;;) pause();
}

static void closed(const char *path) {
    char *memory, text[32];
    int ends[2];
    fill(path, 8, &memory);
    NEED(pipe(ends) == 0);
    if (fork() == 0) {
        int own = open(path, O_RDONLY);
        NEED(own >= 0 && read(ends[0], text, 1) == 1 && fsync(own) == 0);
        exit(0);
    }
    for (int number = 3; number < 1024; number++)
        if (number != ends[1]) close(number);
    store(memory + 3 * PAGE, 7);
    NEED(write(ends[1], "", 1) == 1);
    NEED(wait(NULL) > 0);
    store(memory + 4 * PAGE, 8); /* without a descriptor of anything: and left so */
}

static void wide(const char *path) {
    char *memory;
    int fd = fill(path, 16384, &memory);
    for (unsigned long page = 0; page < 16384; page += 7) store(memory + page * PAGE, page + 1);
    NEED(msync(memory, 16384 * PAGE, MS_SYNC) == 0);
    for (unsigned long page = 0; page < 16384; page += 501) store(memory + page * PAGE + 64, page + 2);
    NEED(munmap(memory + 8192 * PAGE, 8192 * PAGE) == 0 && fsync(fd) == 0);
    char *longer = mremap(memory, 8192 * PAGE, 32768 * PAGE, MREMAP_MAYMOVE);
    NEED(longer != MAP_FAILED && ftruncate(fd, 32768 * PAGE) == 0);
    store(longer + 30000 * PAGE, 3);
    NEED(fdatasync(fd) == 0);
    store(longer + 30001 * PAGE, 4);
    NEED(msync(longer, 32768 * PAGE, MS_SYNC) == 0);
}

enum { PROCESSES = 3, THREADS = 3, PART = 32, STEPS = 150 };
static int storm_file;

static void *storm_thread(void *argument) {
    unsigned part = (unsigned)(uintptr_t)argument, seed = part * 7919 + 1;
    unsigned long first = part * PART;
    char *memory = map(storm_file, first, PART, PROT_READ | PROT_WRITE), *other = NULL;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned page = (unsigned)rand_r(&seed) % (PART / 2), what = (unsigned)rand_r(&seed) % 10;
        store(memory + page * PAGE + step % 500 * 8, step);
        switch (what) {
        case 0: NEED(msync(memory, PART / 2 * PAGE, MS_SYNC) == 0); break;
        case 1: NEED(fdatasync(storm_file) == 0); break;
        case 2: /* the upper half goes, and comes back */
            NEED(munmap(memory + PART / 2 * PAGE, PART / 2 * PAGE) == 0);
            store(memory + page * PAGE, step);
            NEED(munmap(memory, PART / 2 * PAGE) == 0);
            memory = map(storm_file, first, PART, PROT_READ | PROT_WRITE);
            break;
        case 3:
            memory = mremap(memory, PART * PAGE, PART / 2 * PAGE, 0);
            NEED(memory != MAP_FAILED);
            store(memory + PAGE, step);
            memory = mremap(memory, PART / 2 * PAGE, PART * PAGE, MREMAP_MAYMOVE);
            NEED(memory != MAP_FAILED);
            break;
        case 4:
            other = map(storm_file, first + PART - 2, 1, PROT_READ);
            NEED(mprotect(other, PAGE, PROT_READ | PROT_WRITE) == 0);
            store(other, step);
            NEED(munmap(other, PAGE) == 0);
            break;
        case 5: {
            pid_t child = fork();
            if (child == 0) {
                store(memory + page * PAGE + 3000, step);
                _exit(0);
            }
            NEED(child > 0 && waitpid(child, NULL, 0) == child);
            break;
        }
        case 6: NEED(pwrite(storm_file, "written", 7, (off_t)((first + page) * PAGE + 100)) == 7); break;
        case 7: NEED(madvise(memory + page * PAGE, PAGE, MADV_REMOVE) == 0); break;
        case 8: NEED(mmap(memory + (PART - 1) * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, storm_file, (off_t)((first + PART - 1) * PAGE))
                     == memory + (PART - 1) * PAGE);
            store(memory + (PART - 1) * PAGE, step);
            break;
        default: break;
        }
        if (what == 8) { /* two mappings now: one again */
            NEED(munmap(memory, PART * PAGE) == 0);
            memory = map(storm_file, first, PART, PROT_READ | PROT_WRITE);
        }
    }
    return NULL;
}

static void storm(const char *path) {
    storm_file = open(path, O_CREAT | O_RDWR, 0644);
    NEED(storm_file >= 0 && ftruncate(storm_file, PROCESSES * THREADS * PART * PAGE) == 0);
    for (unsigned process = 0; process < PROCESSES; process++) {
        if (fork() != 0) continue;
        pthread_t threads[THREADS];
        for (unsigned thread = 0; thread < THREADS; thread++)
            NEED(pthread_create(&threads[thread], NULL, storm_thread, (void *)(uintptr_t)(process * THREADS + thread)) == 0);
        for (unsigned thread = 0; thread < THREADS; thread++) pthread_join(threads[thread], NULL);
        exit(0);
    }
    for (int status; wait(&status) > 0;) NEED(status == 0);
}

int main(int count, char **arguments) {
    if (count != 3) return 64;
    const char *what = arguments[1], *path = arguments[2];
    if (strcmp(what, "load") == 0) load(path);
    else if (strcmp(what, "check") == 0) return check(path);
    else if (strcmp(what, "dirty") == 0) dirty(path);
    else if (strcmp(what, "closed") == 0) closed(path);
    else if (strcmp(what, "wide") == 0) wide(path);
    else if (strcmp(what, "storm") == 0) storm(path);
    else return 64;
    return 0;
}
