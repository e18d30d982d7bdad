/* No answer within the bound: the durability point fails with EIO, in time, and the program goes on. */
#include "show.h"
#include <time.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "data", 4));
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    SHOW(fsync(fd));
    clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    printf("in time: %s\n", seconds >= 0.25 && seconds < 1.5 ? "yes" : "no");
    SHOW(write(fd, "data", 4));
}
