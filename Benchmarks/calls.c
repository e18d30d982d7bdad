/* calls TREE OUTSIDE CALLS: what a call costs its caller. Prints lines "NAME NANOSECONDS", the median of CALLS calls each.
   `calls` runs it plain and captured in turns. Nothing here flushes: what a durability point costs is the link's matter. */
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 8192, BLOCKS = 512, CHILDREN = 16, CALLS_OF_CHILD = 48 };
extern char **environ;
static char block[BLOCK], small[128];

struct state {
    const char *path;
    int descriptor;
    unsigned turn;
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void expect(int true_one, const char *what) {
    if (!true_one)
        err(1, "%s", what);
}

static void write_block(struct state *state) {
    expect(pwrite(state->descriptor, block, BLOCK, (off_t)(state->turn++ % BLOCKS) * BLOCK) == BLOCK, "pwrite");
}
static void append(struct state *state) { expect(write(state->descriptor, small, sizeof small) == sizeof small, "write"); }
static void open_write_close(struct state *state) {
    int descriptor = open(state->path, O_WRONLY | O_CREAT, 0644);
    expect(descriptor >= 0 && write(descriptor, small, sizeof small) == sizeof small && close(descriptor) == 0, state->path);
}
static void run_true(struct state *state) {
    char *arguments[] = {"true", NULL};
    pid_t child;
    int status;
    (void)state;
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) || waitpid(child, &status, 0) != child || status)
        errx(1, "/bin/true did not run");
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static uint64_t median(uint64_t *times, int count) {
    qsort(times, (size_t)count, sizeof *times, ascending);
    return times[count / 2];
}

static void measure(void (*call)(struct state *), struct state *state, uint64_t *times, int count) {
    for (int i = 0; i < count; i++) {
        uint64_t start = now();
        call(state);
        times[i] = now() - start;
    }
}

static int opened(const char *path, int flags) {
    int descriptor = open(path, flags | O_CREAT | O_WRONLY, 0644);
    expect(descriptor >= 0, path);
    return descriptor;
}
static int with_blocks(const char *path) {
    int descriptor = opened(path, 0);
    for (int i = 0; i < BLOCKS; i++)
        expect(pwrite(descriptor, block, BLOCK, (off_t)i * BLOCK) == BLOCK, path);
    return descriptor;
}

/* Each child is new: its first call attaches it, and its memory is cold. */
static void measure_children(const char *name, const char *path) {
    uint64_t *times = mmap(NULL, CHILDREN * CALLS_OF_CHILD * sizeof *times, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(times != MAP_FAILED, "mmap");
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        expect(child >= 0, "fork");
        if (child == 0) {
            struct state state = {path, opened(path, 0), (unsigned)i * CALLS_OF_CHILD};
            measure(write_block, &state, times + i * CALLS_OF_CHILD, CALLS_OF_CHILD);
            _exit(0);
        }
    }
    for (int i = 0, status; i < CHILDREN; i++)
        if (wait(&status) < 0 || status)
            errx(1, "a child failed");
    printf("%s %llu\n", name, (unsigned long long)median(times, CHILDREN * CALLS_OF_CHILD));
    munmap(times, CHILDREN * CALLS_OF_CHILD * sizeof *times);
}

int main(int count, char *arguments[]) {
    if (count != 4 || atoi(arguments[3]) < 10)
        errx(64, "calls TREE OUTSIDE CALLS, at least 10");
    int calls = atoi(arguments[3]);
    char tree[3][4096], outside[4096];
    for (int i = 0; i < 3; i++)
        snprintf(tree[i], sizeof tree[i], "%s/calls.%d", arguments[1], i);
    snprintf(outside, sizeof outside, "%s/calls", arguments[2]);
    struct {
        const char *name;
        void (*call)(struct state *);
        struct state state;
        int calls;
    } measured[] = {
        {"pwrite-8k", write_block, {tree[0], with_blocks(tree[0]), 0}, calls},
        {"append-128", append, {tree[1], opened(tree[1], O_APPEND), 0}, calls},
        {"open-write-close", open_write_close, {tree[2], -1, 0}, calls},
        {"outside-pwrite-8k", write_block, {outside, with_blocks(outside), 0}, calls},
        {"exec-true", run_true, {NULL, -1, 0}, calls / 10},
    };
    uint64_t *times = calloc((size_t)calls, sizeof *times);
    for (unsigned i = 0; i < sizeof measured / sizeof *measured; i++) {
        measure(measured[i].call, &measured[i].state, times, measured[i].calls);
        printf("%s %llu\n", measured[i].name, (unsigned long long)median(times, measured[i].calls));
    }
    measure_children("forked-16-pwrite-8k", tree[0]);
    measure_children("forked-16-outside-pwrite-8k", outside);
    return 0;
}
