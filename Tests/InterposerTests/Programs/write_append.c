/* O_APPEND: write at the end, whatever the offset; Linux appends even for pwrite; F_SETFL later; two appenders. */
#include "show.h"
#include <sys/uio.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_APPEND | O_RDWR, 0644));
    SHOW(write(fd, "one ", 4));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(write(fd, "two ", 4));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwrite(fd, "appended all the same ", 22, 0));
    SHOW(lseek(fd, 0, SEEK_CUR));
    struct iovec parts[] = {{"three ", 6}, {"four ", 5}};
    SHOW(writev(fd, parts, 2));
    SHOW(pwritev(fd, parts, 2, 1));
    int other = OPEN(open("a", O_WRONLY));
    SHOW(pwrite(other, "ONE", 3, 0));
    SHOW(lseek(other, 0, SEEK_END));
    SHOW(write(other, "five ", 5));
    SHOW(write(fd, "six ", 4));
    SHOW(ftruncate(fd, 10));
    SHOW(write(fd, "after the cut ", 14));
    look("a");
    SHOW(fcntl(fd, F_SETFL, 0)); /* no longer */
    SHOW(pwrite(fd, "TWO", 3, 4));
    SHOW(fcntl(other, F_SETFL, O_APPEND)); /* from now on */
    SHOW(pwrite(other, "seven ", 6, 0));
    SHOW(lseek(other, 2, SEEK_SET));
    SHOW(write(other, "eight ", 6));
    look("a");
    static char large[300000];
    fill(large, sizeof large, 2);
    SHOW(write(other, large, sizeof large));
    look("a");
    int both = OPEN(open("b", O_CREAT | O_APPEND | O_WRONLY, 0644)), same = OPEN(open("b", O_APPEND | O_WRONLY));
    pid_t child = fork();
    for (int i = 0; i < 50; i++) write(child ? both : same, child ? "parent\n" : "child..\n" + 1, 7);
    if (!child) _exit(0);
    ended("appender", child);
    struct stat status;
    fstat(both, &status);
    printf("both appended %ld bytes\n", (long)status.st_size);
    SHOW(unlink("b")); /* their order is not the same in each run */
}
