/* The answer is an error: the durability point fails with EIO; writes themselves go on. */
#include "show.h"
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "data", 4));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    SHOW(fsync(OPEN(open(".", O_RDONLY | O_DIRECTORY))));
    SHOW(syncfs(fd));
    int durable = OPEN(open("b", O_CREAT | O_DSYNC | O_WRONLY, 0644));
    SHOW(write(durable, "data", 4));
    SHOW(write(fd, "data", 4));
    SHOW(fsync(-1));
}
