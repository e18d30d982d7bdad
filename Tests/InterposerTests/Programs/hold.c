/* Answers are held for 30 ms: each durability point takes at least that long, none returns before its answer. */
#include "show.h"
#include <time.h>
static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
static long started;
#define WAITS(call) (started = milliseconds(), SHOW(call), printf("  waited: %s\n", milliseconds() - started >= 29 ? "yes" : "no"))
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), directory = OPEN(open(".", O_RDONLY | O_DIRECTORY)), read_only, durable = OPEN(open("b", O_CREAT | O_DSYNC | O_WRONLY, 0644));
    SHOW(write(fd, "data", 4));
    WAITS(fsync(fd));
    WAITS(fdatasync(fd));
    read_only = OPEN(open("a", O_RDONLY));
    WAITS(fsync(read_only));
    WAITS(fsync(directory));
    WAITS(syncfs(fd));
    WAITS((sync(), 0));
    WAITS(write(durable, "data", 4));
    WAITS(pwrite(durable, "data", 4, 10));
    WAITS(fsync(fd)); /* nothing new: all the same */
}
