/* Opens, writes and closes a file ROUNDS times (20,000 unless said); the process must not grow. */
#include "show.h"
#include <unistd.h>
static long resident(void) { /* pages of its own: not of files and shared memory */
    long size = 0, all = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld %ld", &size, &all, &shared) != 3) return -1;
    fclose(f);
    return all - shared;
}
static void test(void) {
    long rounds = getenv("ROUNDS_OF_CYCLES") ? atol(getenv("ROUNDS_OF_CYCLES")) : 20000, begin = 0, wrong = 0;
    for (long i = 0; i < rounds; i++) {
        if (i == rounds / 4) begin = resident();
        char name[16];
        snprintf(name, sizeof name, "f%ld", i % 100);
        int fd = open(name, O_CREAT | O_WRONLY | (i % 10 ? 0 : O_TRUNC), 0644);
        wrong += fd < 0 || write(fd, name, 3) != 3 || close(fd) || (i % 500 == 0 && unlink(name));
    }
    long grown = resident() - begin;
    printf("wrong %ld, grown: %s\n", wrong, begin > 0 && grown < 64 ? "no" : "yes");
    if (grown >= 64) fprintf(stderr, "grown by %ld pages\n", grown);
    look("f1"); look("f99");
}
