/*
 * contenders.c: four writers on the same files, of which one is killed or stopped at a labelled instruction of the
 * preload library (a build with planted faults). The others must go on: each of their durability points is timed.
 *
 *   contenders run DIRECTORY NOTES kill|stop|none LABEL:PASSAGE [hold]
 *   contenders verify DIRECTORY NOTES
 *
 * A round of a writer: its region of one shared file, a line at the end of one shared file, a file of its own replaced by
 * rename, a directory that comes and goes, a name that all of them make, move and remove; then an fsync of each.
 * NOTES is a file outside the replicated tree where writers note the rounds whose fsyncs returned. `run` prints a line
 * for what happened; with `hold` it waits for the end of its standard input while the first writer is stopped. `verify`
 * looks every acknowledged round up.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 4, REGIONS = 40, REGION_BYTES = 6000, LINE_BYTES = 24, ROUNDS_AFTER = 8, ROUNDS_MAX = 4000 };

/* In NOTES, shared by all. */
struct notes {
    _Atomic(uint32_t) rounds[WRITERS + 1];  /* acknowledged */
    _Atomic(uint32_t) until[WRITERS + 1];   /* a writer ends after so many */
    _Atomic(uint64_t) longest[WRITERS + 1]; /* microseconds of one durability point */
};
static struct notes *notes;
static char self[4096];
static int number;

static uint64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void map_notes(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *notes)) perror(path), exit(66);
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (notes == MAP_FAILED) perror(path), exit(71);
}

static void must(bool success, const char *call) {
    if (success) return;
    dprintf(2, "contenders: writer %d: %s: %s\n", number, call, strerror(errno));
    _exit(1);
}

static void durable(int fd, const char *call) {
    uint64_t begin = microseconds();
    must(fsync(fd) == 0, call);
    uint64_t took = microseconds() - begin;
    if (took > atomic_load(&notes->longest[number])) atomic_store(&notes->longest[number], took);
}

static int writer(void) {
    char bytes[REGION_BYTES], own[32], other[32], directory[32], moved[32], line[LINE_BYTES + 1];
    snprintf(own, sizeof own, "own-%d", number);
    snprintf(other, sizeof other, "own-%d.new", number);
    snprintf(directory, sizeof directory, "dir-%d", number);
    snprintf(moved, sizeof moved, "dir-%d.moved", number);
    int shared = open("shared", O_CREAT | O_RDWR, 0644), log = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644), here = open(".", O_RDONLY | O_DIRECTORY);
    must(shared >= 0 && log >= 0 && here >= 0, "open");
    for (uint32_t round = atomic_load(&notes->rounds[number]) + 1; round <= ROUNDS_MAX; round++) {
        snprintf(bytes, sizeof bytes, "%d %u ", number, round);
        for (int at = 32; at + 32 <= REGION_BYTES; at += 32) memcpy(bytes + at, bytes, 32);
        must(pwrite(shared, bytes, sizeof bytes, (off_t)((round % REGIONS) * (WRITERS + 1) + (uint32_t)number) * REGION_BYTES) == REGION_BYTES, "pwrite");
        /* Where the others write too, behind all regions. */
        must(pwrite(shared, bytes, 700, REGIONS * (WRITERS + 1) * REGION_BYTES + (off_t)(round % 16) * 300) == 700, "pwrite, common");
        snprintf(line, sizeof line, "%-3d%-*u\n", number, LINE_BYTES - 4, round);
        must(write(log, line, LINE_BYTES) == LINE_BYTES, "append");
        int fd = open(other, O_CREAT | O_TRUNC | O_WRONLY, 0644);
        must(fd >= 0 && write(fd, bytes, 32 + round * 97 % 5000) > 0, "write, own");
        durable(fd, "fsync, own");
        must(close(fd) == 0 && rename(other, own) == 0, "rename, own");
        if (round % 2) must(mkdir(directory, 0755) == 0 || errno == EEXIST, "mkdir"), must(rename(directory, moved) == 0, "rename, directory");
        else must(rmdir(moved) == 0 || errno == ENOENT, "rmdir");
        fd = open("contested", O_CREAT | O_WRONLY, 0644);
        must(fd >= 0 && pwrite(fd, bytes, 100, (off_t)number * 100) == 100 && close(fd) == 0, "contested");
        if (round % 3 == 0) must(unlink("contested") == 0 || errno == ENOENT, "unlink, contested");
        if (round % 5 == 0) must(rename("contested", "moved") == 0 || errno == ENOENT, "rename, contested");
        durable(shared, "fsync, shared");
        durable(log, "fsync, log");
        durable(here, "fsync, directory");
        atomic_store(&notes->rounds[number], round);
        if (round >= atomic_load(&notes->until[number])) return 0;
    }
    return 0;
}

static pid_t start(int which, const char *fault, char *directory, char *path) {
    pid_t child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char name[8];
    snprintf(name, sizeof name, "%d", which);
    if (fault) setenv("LOCKSTEP_FAULT", fault, 1);
    execl(self, self, "writer", directory, path, name, NULL);
    _exit(126);
}

static bool ended_well(pid_t child, const char *who) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    printf("%s: %s %d\n", who, WIFEXITED(status) ? "exit code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return false;
}

static int run(char **values, bool hold) {
    const char *how = values[4], *where = values[5];
    bool stops = !strcmp(how, "stop"), kills = !strcmp(how, "kill"), well = true;
    char fault[64];
    snprintf(fault, sizeof fault, "%s:%s", where, how);
    for (int w = 0; w <= WRITERS; w++) atomic_store(&notes->until[w], stops || kills ? ROUNDS_MAX : ROUNDS_AFTER);
    pid_t writers[WRITERS];
    for (int w = 0; w < WRITERS; w++) writers[w] = start(w, w == 0 && (stops || kills) ? fault : NULL, values[2], values[3]);
    alarm(120);
    if (stops || kills) {
        int status = 0;
        waitpid(writers[0], &status, WUNTRACED);
        if (WIFSTOPPED(status) != stops || WIFSIGNALED(status) != kills) printf("the first writer never came to %s: status %x\n", where, status), well = false;
        /* What the others do from now on they do beside it. */
        for (int w = 1; w < WRITERS; w++) atomic_store(&notes->longest[w], 0);
        for (int w = 1; w < WRITERS; w++) atomic_store(&notes->until[w], atomic_load(&notes->rounds[w]) + ROUNDS_AFTER);
    }
    for (int w = 1; w < WRITERS; w++) well &= ended_well(writers[w], "another writer");
    uint64_t longest = 0;
    for (int w = 1; w < WRITERS; w++) longest = atomic_load(&notes->longest[w]) > longest ? atomic_load(&notes->longest[w]) : longest;
    printf("longest flush of the others: %llu us\n", (unsigned long long)longest);
    fflush(stdout);
    if (hold) {
        char byte;
        while (read(0, &byte, 1) > 0) {}
    }
    if (stops) {
        atomic_store(&notes->until[0], 0);
        kill(writers[0], SIGCONT);
        well &= ended_well(writers[0], "the stopped writer");
    } else if (!kills) {
        well &= ended_well(writers[0], "the first writer");
    }
    /* Nothing is stuck: others come and write, one of them in the first one's place. */
    atomic_store(&notes->until[WRITERS], 3);
    atomic_store(&notes->until[0], atomic_load(&notes->rounds[0]) + 3);
    pid_t later[2] = {start(WRITERS, NULL, values[2], values[3]), start(0, NULL, values[2], values[3])};
    well &= ended_well(later[0], "a later writer") & ended_well(later[1], "a later writer in its place");
    printf("%s\n", well ? "well" : "not well");
    return !well;
}

/* The round that stands at the beginning of these bytes, of that writer; 0: none. */
static uint32_t round_of(const char *bytes, int who) {
    int found = -1;
    unsigned round = 0;
    return sscanf(bytes, "%d %u", &found, &round) == 2 && found == who ? round : 0;
}

static int verify(void) {
    int wrong = 0, fd = open("shared", O_RDONLY), log = open("log", O_RDONLY), looked = 0;
    if (fd < 0 || log < 0) return perror("shared or log"), 1;
    static uint8_t seen[WRITERS + 1][ROUNDS_MAX + 1];
    char line[LINE_BYTES + 1] = "", bytes[REGION_BYTES + 1] = "";
    while (read(log, line, LINE_BYTES) == LINE_BYTES) {
        int who = atoi(line), round = atoi(line + 3);
        if (who < 0 || who > WRITERS || round < 1 || round > ROUNDS_MAX || line[LINE_BYTES - 1] != '\n') printf("log: a line is torn\n"), wrong++;
        else seen[who][round]++;
    }
    for (int w = 0; w <= WRITERS; w++) {
        uint32_t acknowledged = atomic_load(&notes->rounds[w]);
        for (uint32_t round = 1; round <= acknowledged; round++, looked++)
            /* The first writer's unfinished round is written once more in its place. */
            if (seen[w][round] == 0 || seen[w][round] > (w == 0 ? 2 : 1)) printf("log: writer %d, round %u of %u: %u lines\n", w, round, acknowledged, seen[w][round]), wrong++;
        for (uint32_t back = 0; back < REGIONS && back < acknowledged; back++, looked++) {
            uint32_t expected = acknowledged - back;
            memset(bytes, 0, sizeof bytes);
            pread(fd, bytes, REGION_BYTES, (off_t)((expected % REGIONS) * (WRITERS + 1) + (uint32_t)w) * REGION_BYTES);
            uint32_t round = round_of(bytes, w), last = round_of(bytes + REGION_BYTES / 32 * 32 - 32, w);
            if (round < expected || round % REGIONS != expected % REGIONS || last != round)
                printf("shared: writer %d, acknowledged round %u: rounds %u and %u stand there\n", w, expected, round, last), wrong++;
        }
        if (acknowledged == 0) continue;
        char own[32];
        snprintf(own, sizeof own, "own-%d", w);
        int file = open(own, O_RDONLY);
        memset(bytes, 0, sizeof bytes);
        if (file < 0 || read(file, bytes, 32) < 32 || round_of(bytes, w) < acknowledged) printf("%s: round %u stands there, %u was acknowledged\n", own, round_of(bytes, w), acknowledged), wrong++;
        close(file);
    }
    printf("%d looked up, %d wrong\n", looked, wrong);
    return wrong != 0;
}

int main(int count, char **values) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    if (count < 4 || readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 64;
    map_notes(values[3]);
    if (chdir(values[2])) return perror(values[2]), 66;
    if (!strcmp(values[1], "writer") && count == 5) return number = atoi(values[4]), writer();
    if (!strcmp(values[1], "verify")) return verify();
    if (!strcmp(values[1], "run") && count >= 6) return run(values, count == 7);
    return 64;
}
