/* truncate and ftruncate: up, down, to the same size, through links, and how they fail. */
#include "show.h"
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "0123456789", 10));
    SHOW(ftruncate(fd, 5));
    look("a");
    SHOW(ftruncate(fd, 100000));
    look("a");
    SHOW(write(fd, "at ten", 6));
    SHOW(ftruncate64(fd, 12));
    look("a");
    SHOW(truncate("a", 7));
    SHOW(truncate("a", 7));
    SHOW(truncate64("a", 9));
    look("a");
    SHOW(symlink("a", "link"));
    SHOW(truncate("link", 3));
    look("a");
    SHOW(ftruncate(fd, 0));
    SHOW(write(fd, "behind a hole", 13));
    look("a");
    SHOW(truncate("a", -1));
    SHOW(ftruncate(fd, -1));
    SHOW(ftruncate(-1, 0));
    SHOW(truncate("missing", 0));
    SHOW(truncate(".", 0));
    SHOW(truncate((char *)8, 0));
    SHOW(ftruncate(OPEN(open("a", O_RDONLY)), 0));
    SHOW(ftruncate(OPEN(open(".", O_RDONLY)), 0));
    look("a");
}
