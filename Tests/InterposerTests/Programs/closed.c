/* The incarnation has ended: nothing in the tree changes any more, outside as ever. */
#include "show.h"
static void test(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/a", outside);
    OPEN(open("a", O_CREAT | O_RDWR, 0644));
    int fd = OPEN(open("existing", O_RDWR));
    SHOW(write(fd, "x", 1));
    SHOW(pwrite(fd, "x", 1, 0));
    SHOW(ftruncate(fd, 0));
    SHOW(unlink("existing"));
    SHOW(rename("existing", "b"));
    SHOW(mkdir("d", 0755));
    SHOW(fsync(fd));
    SHOW(write(OPEN(open(path, O_CREAT | O_RDWR, 0644)), "outside", 7));
    look("existing");
}
