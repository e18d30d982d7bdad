/* Calls larger than one operation carries: 2 MiB, 5 MiB, gathered, appended, at the implicit offset. */
#include "show.h"
#include <sys/uio.h>
static char bytes[5 << 20];
static void test(void) {
    fill(bytes, sizeof bytes, 4);
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, bytes, 2 << 20));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwrite(fd, bytes + 1, sizeof bytes - 1, 12345));
    SHOW(write(fd, bytes, sizeof bytes));
    SHOW(lseek(fd, 0, SEEK_CUR));
    for (int edge = -1; edge <= 1; edge++) SHOW(pwrite(fd, bytes, (512 << 10) + edge, 8 << 20));
    struct iovec parts[3] = {{bytes, 700000}, {bytes + 11, 1000001}, {bytes + 7, 3000000}};
    SHOW(pwritev(fd, parts, 3, 99));
    look("a");
    int end = OPEN(open("b", O_CREAT | O_APPEND | O_WRONLY, 0644));
    SHOW(write(end, "x", 1));
    SHOW(write(end, bytes, 2 << 20));
    SHOW(write(end, bytes, 3 << 20));
    SHOW(lseek(end, 0, SEEK_CUR));
    look("b");
    int durable = OPEN(open("c", O_CREAT | O_DSYNC | O_WRONLY, 0644));
    SHOW(write(durable, bytes, 2 << 20));
    look("c");
}
