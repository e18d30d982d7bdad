/*
 * restless.c: writers that never rest: positioned writes of all sizes, appends, truncations, new files, renames, links,
 * removals, on files of their own and on files of all of them, with an fsync now and then.
 *
 *   restless TREE WRITERS FILES SEED   works in TREE/tree/d0..d7/f0..fFILES-1 and TREE/tree/hot/f0..f3, which were there,
 *                                      and in TREE/new
 *
 *   restless evict DIRECTORY          what is in its files is on the disk and not in memory any more: the copy's reads take long
 *
 *   "pause" on standard input  ->  "paused after N operations": each writer's last call has returned
 *   "go"                       ->  "going"
 *   "end", or its end          ->  exit; code 1 when a call failed in a way that nothing here explains
 *
 * Everything follows from the seed, but not who comes first.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

enum { OWN_NAMES = 24, POOL_NAMES = 12, HOT_FILES = 4, WRITERS_MAX = 16, FILE_BYTES_MAX = 600 << 10, WRITE_BYTES_MAX = 256 << 10 };

static struct shared {
    _Atomic(uint32_t) paused; /* futex word */
    _Atomic(uint32_t) resting, failed;
    _Atomic(uint64_t) operations;
} *shared;

static uint64_t state;
static uint32_t chance(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % below);
}

static int writer;
static char content[WRITE_BYTES_MAX];
static uint64_t stamp;

/* Bytes that no other write carries, and that compress. */
static size_t new_content(size_t bytes) {
    uint64_t mark = ((uint64_t)writer + 1) << 56 | ++stamp;
    for (size_t at = 0; at < bytes; at += 64) memcpy(content + at, &mark, 8);
    return bytes;
}

static size_t some_bytes(void) {
    switch (chance(16)) {
    case 0: return 65536 + chance(WRITE_BYTES_MAX - 65536);
    case 1: return 4096 * (1 + chance(8));
    case 2: case 3: case 4: return 1 + chance(9000);
    default: return 1 + chance(300);
    }
}

/* What names of all can come to while others work on them. */
static void expect(const char *call, const char *path, long result) {
    if (result >= 0) return;
    if (errno == ENOENT || errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR || errno == EISDIR || errno == EINVAL || errno == ELOOP) return;
    dprintf(2, "restless: writer %d: %s %s: %s\n", writer, call, path, strerror(errno));
    atomic_fetch_add(&shared->failed, 1);
}

static char names[4][128];
static const char *own(int slot) { return snprintf(names[slot], 128, "new/w%d/n%u", writer, chance(OWN_NAMES)), names[slot]; }
static const char *pool(int slot) { return snprintf(names[slot], 128, "new/pool/n%u", chance(POOL_NAMES)), names[slot]; }
static const char *directory(int slot) { return snprintf(names[slot], 128, chance(2) ? "new/w%d/d%u" : "new/pool/w%dd%u", writer, chance(4)), names[slot]; }
static const char *inside(int slot) {
    return snprintf(names[slot], 128, chance(2) ? "new/w%d/d%u/f%u" : "new/pool/w%dd%u/f%u", writer, chance(4), chance(4)), names[slot];
}
static const char *any_new(int slot) { return chance(3) == 0 ? pool(slot) : chance(3) == 0 ? inside(slot) : own(slot); }
static const char *there(int slot, uint32_t files) { return snprintf(names[slot], 128, "tree/d%u/f%u", chance(8), chance(files)), names[slot]; }

/* Never cut off nor replaced: what a copy made wrong in it stays wrong. */
static const char *hot(int slot) { return snprintf(names[slot], 128, "tree/hot/f%u", chance(HOT_FILES)), names[slot]; }

static void write_at(const char *path, int flags) {
    int fd = open(path, flags, 0644);
    expect("open", path, fd);
    if (fd < 0) return;
    struct stat status;
    fstat(fd, &status);
    size_t bytes = new_content(some_bytes());
    uint64_t end = (uint64_t)status.st_size;
    if (flags & O_APPEND) {
        if (end < FILE_BYTES_MAX) expect("append", path, write(fd, content, bytes));
        else expect("ftruncate", path, ftruncate(fd, chance(FILE_BYTES_MAX)));
    } else {
        /* Mostly what is there is written over, sometimes a hole comes to be. */
        uint64_t from = chance(5) == 0 || end == 0 ? chance(FILE_BYTES_MAX) : chance((uint32_t)end);
        expect("pwrite", path, pwrite(fd, content, bytes, (off_t)from));
    }
    switch (chance(24)) {
    case 0: expect("fsync", path, fsync(fd)); break;
    case 1: expect("fdatasync", path, fdatasync(fd)); break;
    case 2: expect("ftruncate", path, ftruncate(fd, chance((uint32_t)(end + bytes) % FILE_BYTES_MAX + 1))); break;
    case 3: expect("fchmod", path, fchmod(fd, 0600 + chance(0177))); break;
    }
    close(fd);
}

/* Many small writes all over one file: some meet the moment in which the copy reads it. */
static void sprinkle(const char *path) {
    int fd = open(path, O_WRONLY);
    expect("open", path, fd);
    if (fd < 0) return;
    struct stat status;
    fstat(fd, &status);
    for (int i = 0; i < 24 && status.st_size > 0; i++)
        expect("pwrite", path, pwrite(fd, content, new_content(64 + chance(200)), chance((uint32_t)status.st_size)));
    close(fd);
}

static void operate(uint32_t files) {
    const char *one, *other;
    switch (chance(28)) {
    case 0: case 1: case 2: case 3: write_at(there(0, files), O_WRONLY); break;
    default: sprinkle(chance(2) ? there(0, files) : hot(0)); break;
    case 8: case 9: write_at(any_new(0), O_WRONLY | O_CREAT); break;
    case 10: write_at(any_new(0), O_WRONLY | O_CREAT | O_APPEND); break;
    case 11: write_at(any_new(0), O_WRONLY | O_CREAT | O_TRUNC); break;
    case 12: one = any_new(0), expect("unlink", one, unlink(one)); break;
    case 13: one = any_new(0), other = any_new(1), expect("rename", one, rename(one, other)); break;
    case 14: one = directory(0), other = directory(1), expect("rename", one, rename(one, other)); break;
    case 15: one = directory(0), expect("mkdir", one, mkdir(one, 0755)); break;
    case 16: one = directory(0), expect("rmdir", one, rmdir(one)); break;
    case 17: one = any_new(0), expect("symlink", one, symlink("somewhere/else", one)); break;
    case 18: /* the way databases replace a file: a file that was there gets another identity */
        snprintf(names[1], 128, "new/w%d/replacing", writer);
        write_at(names[1], O_WRONLY | O_CREAT | O_TRUNC);
        one = there(0, files), expect("rename", one, rename(names[1], one));
        break;
    case 19: one = there(0, files), expect("truncate", one, truncate(one, chance(FILE_BYTES_MAX))); break;
    }
}

static void futex_wait(_Atomic(uint32_t) *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0); }
static void futex_wake(_Atomic(uint32_t) *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

static void work(uint32_t files) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char path[64];
    snprintf(path, sizeof path, "new/w%d", writer);
    mkdir(path, 0755);
    for (;;) {
        if (atomic_load(&shared->paused)) {
            atomic_fetch_add(&shared->resting, 1);
            futex_wake(&shared->resting);
            while (atomic_load(&shared->paused)) futex_wait(&shared->paused, 1);
            atomic_fetch_sub(&shared->resting, 1);
        }
        operate(files);
        atomic_fetch_add(&shared->operations, 1);
        usleep(2000); /* or what is replayed and settled grows from round to round */
    }
}

static int evict_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)walk;
    if (type != FTW_F) return 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) return 0;
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

int main(int count, char **values) {
    if (count == 3 && !strcmp(values[1], "evict")) return sync(), nftw(values[2], evict_one, 16, FTW_PHYS);
    if (count != 5) return fprintf(stderr, "restless TREE WRITERS FILES SEED\n"), 64;
    uint32_t writers = (uint32_t)atoi(values[2]), files = (uint32_t)atoi(values[3]);
    if (chdir(values[1]) || writers == 0 || writers > WRITERS_MAX || files == 0) return perror(values[1]), 66;
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mkdir("new", 0755);
    mkdir("new/pool", 0755);
    pid_t children[WRITERS_MAX];
    for (uint32_t i = 0; i < writers; i++)
        if ((children[i] = fork()) == 0) {
            writer = (int)i;
            state = strtoull(values[4], NULL, 10) * 0x9e3779b97f4a7c15ull + i + 1;
            for (int turn = 0; turn < 10; turn++) chance(2);
            work(files);
        }
    char line[64];
    printf("going\n");
    while (fgets(line, sizeof line, stdin) && strcmp(line, "end\n")) {
        if (!strcmp(line, "pause\n")) {
            atomic_store(&shared->paused, 1);
            for (uint32_t resting; (resting = atomic_load(&shared->resting)) < writers;) futex_wait(&shared->resting, resting);
            printf("paused after %llu operations\n", (unsigned long long)atomic_load(&shared->operations));
        } else if (!strcmp(line, "go\n")) {
            atomic_store(&shared->paused, 0);
            futex_wake(&shared->paused);
            while (atomic_load(&shared->resting)) sched_yield();
            printf("going\n");
        }
    }
    for (uint32_t i = 0; i < writers; i++) kill(children[i], SIGKILL);
    for (uint32_t i = 0; i < writers; i++) waitpid(children[i], NULL, 0);
    return atomic_load(&shared->failed) ? 1 : 0;
}
