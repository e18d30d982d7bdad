/* Hard links across the border of the tree: in, out, and a file whose names lie on both sides. */
#include "show.h"
#include <aio.h>
static char out[PATH_MAX], both[PATH_MAX], further[PATH_MAX];
static void test(void) {
    snprintf(out, sizeof out, "%s/file", outside);
    snprintf(both, sizeof both, "%s/both", outside);
    snprintf(further, sizeof further, "%s/further", outside);
    int fd = creat(out, 0640);
    SHOW(write(fd, "from outside", 12));
    SHOW(link(out, "in")); /* open for writing */
    close(fd);
    SHOW(link(out, "in"));
    look("in");
    fd = open("in", O_RDWR);
    SHOW(fsync(fd));
    SHOW(pwrite(fd, "INSIDE", 6, 0));
    close(fd);
    SHOW(link("in", "again"));
    SHOW(link(out, "in"));
    look("again");
    SHOW(symlink("in", further));
    SHOW(link(further, "link"));
    SHOW(unlink(further));
    look("link");
    /* Out: by its inner names it is captured. */
    fd = creat("inside", 0644);
    SHOW(write(fd, "inside", 6));
    SHOW(link("inside", further));
    SHOW(link(further, further));
    SHOW(write(fd, " on", 3));
    close(fd);
    look("inside");
    /* Made before: by the outer name it is refused, also after that name is gone, when the inner one is its only one. */
    fd = open(both, O_RDWR);
    SHOW(pwrite(fd, "BY THE OUTER NAME", 17, 0));
    struct aiocb block = {.aio_fildes = fd, .aio_buf = "BY AIO", .aio_nbytes = 6, .aio_lio_opcode = LIO_WRITE, .aio_sigevent.sigev_notify = SIGEV_NONE};
    struct aiocb *list[] = {&block};
    SHOW(aio_write(&block));
    SHOW(lio_listio(LIO_NOWAIT, list, 1, NULL));
    SHOW(aio_error(&block) == EIO);
    SHOW(aio_return(&block));
    SHOW(unlink(both));
    SHOW(pwrite(fd, "BY NO NAME", 10, 0));
    close(fd);
    look("both");
}
