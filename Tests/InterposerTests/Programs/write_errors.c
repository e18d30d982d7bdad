/* Writes that fail or end short: bad descriptors, addresses and offsets, RLIMIT_FSIZE, SIGXFSZ, read-only descriptors. */
#include "show.h"
#include <signal.h>
#include <sys/resource.h>
static char bytes[1 << 20];
static void caught(int number) { printf("signal %s\n", number == SIGXFSZ ? "SIGXFSZ" : "?"); }
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), read_only = OPEN(open("a", O_RDONLY)), path = OPEN(open("a", O_PATH));
    SHOW(write(-1, "x", 1));
    SHOW(write(9999, "x", 1));
    SHOW(pwrite(-1, "x", 1, 0));
    SHOW(write(read_only, "x", 1));
    SHOW(pwrite(read_only, "x", 1, 0));
    SHOW(write(path, "x", 1));
    SHOW(write(fd, (char *)8, 10));
    SHOW(write(fd, NULL, 10));
    SHOW(pwrite(fd, (char *)8, 100000, 0));
    SHOW(write(fd, (char *)8, 3 << 20));
    SHOW(pwrite(fd, "x", 1, -1));
    SHOW(pwrite(fd, "x", 1, LONG_MIN));
    SHOW(pwrite(fd, "x", 1, LONG_MAX));
    SHOW(write(fd, NULL, 0));
    SHOW(write(read_only, NULL, 0));
    SHOW(lseek(fd, 0, SEEK_CUR));
    look("a");
    signal(SIGXFSZ, caught);
    struct rlimit limit = {100000, 100000};
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    fill(bytes, sizeof bytes, 5);
    SHOW(write(fd, bytes, 99000));
    SHOW(write(fd, bytes, 5000));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(write(fd, bytes, 1));
    SHOW(pwrite(fd, bytes, 10, 99995));
    SHOW(pwrite(fd, bytes, 10, 100000));
    SHOW(ftruncate(fd, 100001));
    SHOW(write(OPEN(open("b", O_CREAT | O_WRONLY, 0644)), bytes, sizeof bytes)); /* a large call ends short */
    SHOW(write(OPEN(open("c", O_CREAT | O_APPEND | O_WRONLY, 0644)), bytes, sizeof bytes));
    look("a"); look("b"); look("c");
}
