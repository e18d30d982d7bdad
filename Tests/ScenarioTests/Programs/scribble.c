/*
 * scribble.c: a program under the capture that scribbles over the order ring, as a stray pointer might.
 *
 *   scribble TREE NOTES HOW      HOW: unannounced | far | back | everything | locks
 *
 * A child writes and flushes one record after the other and notes in NOTES (outside the tree) how many were
 * acknowledged. After some, the parent scribbles, and then writes and flushes itself. Prints what both came to.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "CCaptureABI.h"

static struct lockstep_ring *ring_of_this_process(size_t *bytes) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[5];
        if (!strstr(line, "memfd:lockstep-ring") || sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3) continue;
        if (rights[1] != 'w') continue;
        fclose(maps);
        *bytes = to - from;
        return (struct lockstep_ring *)from;
    }
    return NULL;
}

static const char *outcome(int fd, char byte) {
    if (pwrite(fd, &byte, 1, 0) != 1) return strerrorname_np(errno);
    return fsync(fd) ? strerrorname_np(errno) : "success";
}

int main(int count, char **values) {
    if (count != 4 || chdir(values[1])) return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int noted = open(values[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (noted < 0 || ftruncate(noted, 4096)) return 66;
    _Atomic(uint64_t) *acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, noted, 0);
    int own = open("own", O_CREAT | O_WRONLY, 0644);
    printf("before: %s\n", outcome(own, 'b'));
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open("records", O_CREAT | O_WRONLY, 0644);
        for (uint64_t record = 1;; record++) {
            if (pwrite(fd, &record, sizeof record, (off_t)((record - 1) * sizeof record)) != sizeof record || fsync(fd)) {
                printf("the child: %s\n", strerrorname_np(errno));
                _exit(0);
            }
            *acknowledged = record;
            if (!strcmp(values[3], "locks") && record == 200) {
                printf("the child: success\n");
                _exit(0);
            }
        }
    }
    while (*acknowledged < 50)
        if (waitpid(child, NULL, WNOHANG) == child) return printf("the child ended early\n"), 1;

    size_t bytes = 0;
    struct lockstep_ring *ring = ring_of_this_process(&bytes);
    if (!ring) return printf("no ring is mapped\n"), 1;
    uint64_t reserved = ring->reserved;
    if (!strcmp(values[3], "unannounced")) {
        for (uint64_t n = reserved; n < reserved + 1000; n++)
            ring->words[n % ring->slots] = LOCKSTEP_WORD(n / ring->slots, 0xabcde, n % 64, LOCKSTEP_STATE_PUBLISHED);
        atomic_fetch_add(&ring->reserved, 1000);
    } else if (!strcmp(values[3], "far")) {
        ring->reserved = reserved + (uint64_t)ring->slots * 1000;
    } else if (!strcmp(values[3], "back")) {
        ring->reserved = 3;
    } else if (!strcmp(values[3], "everything")) {
        unsigned char *at = (unsigned char *)ring;
        for (size_t i = 0; i < bytes; i++) at[i] = (unsigned char)(i * 2654435761u >> 13);
    } else if (!strcmp(values[3], "locks")) {
        for (uint32_t i = 0; i < LOCKSTEP_LOCK_STRIPES; i++) ring->locks[i] = 0x1234567800000000u + i;
        int log = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644);
        printf("append: %s\n", write(log, "line\n", 5) == 5 ? "success" : strerrorname_np(errno));
    } else {
        return 64;
    }
    alarm(60);
    printf("after: %s\n", outcome(own, 'a'));
    waitpid(child, NULL, 0);
    printf("acknowledged: %llu\n", (unsigned long long)*acknowledged);
    return 0;
}
