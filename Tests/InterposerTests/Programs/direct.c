/* O_DIRECT: aligned writes of several sizes, a misaligned one fails as ever, together with O_DSYNC. */
#include "show.h"
static void test(void) {
    char *bytes = NULL;
    if (posix_memalign((void **)&bytes, 4096, 1 << 20)) return;
    fill(bytes, 1 << 20, 8);
    int fd = open("a", O_CREAT | O_RDWR | O_DIRECT, 0644);
    if (fd < 0 && errno == EINVAL) { /* a file system without it */
        puts("no O_DIRECT here");
        return;
    }
    SHOW(write(fd, bytes, 4096));
    SHOW(pwrite(fd, bytes, 16384, 8192));
    SHOW(pwrite(fd, bytes + 4096, 512 << 10, 65536));
    SHOW(pwrite(fd, bytes, 1 << 20, 1 << 20));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(ftruncate(fd, 5000));
    int durable = OPEN(open("a", O_RDWR | O_DIRECT | O_DSYNC));
    SHOW(pwrite(durable, bytes, 8192, 4096));
    SHOW(fcntl(durable, F_SETFL, 0));
    SHOW(pwrite(durable, "not aligned", 11, 3));
    look("a");
}
