/* Calls that this version does not carry: on the tree they fail with EOPNOTSUPP ; copies are done right; outside as ever. */
#include "show.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
static char out[PATH_MAX], other[PATH_MAX];
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "0123456789", 10));
    snprintf(out, sizeof out, "%s/a", outside);
    snprintf(other, sizeof other, "%s/b", outside);
    int out_fd = OPEN(open(out, O_CREAT | O_RDWR, 0644));
    SHOW(write(out_fd, "abcdefghij", 10));
    SHOW(link("a", "b"));
    SHOW(linkat(AT_FDCWD, "a", AT_FDCWD, "b", 0));
    SHOW(link(out, "b"));
    SHOW(link("a", other));
    SHOW(mkfifo("fifo", 0644));
    SHOW(mknod("node", S_IFIFO | 0644, 0));
    SHOW(renameat2(AT_FDCWD, "a", AT_FDCWD, "a", RENAME_EXCHANGE));
    OPEN(open(".", O_TMPFILE | O_RDWR, 0644));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4));
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4));
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    SHOW(setxattr("a", "user.x", "y", 1, 0));
    SHOW(fsetxattr(fd, "user.x", "y", 1, 0));
    SHOW(removexattr("a", "user.x"));
    SHOW(lseek(out_fd, 0, SEEK_SET));
    SHOW(copy_file_range(out_fd, NULL, fd, NULL, 5, 0));
    SHOW(sendfile(fd, out_fd, NULL, 5));
    SHOW(ioctl(fd, FICLONE, out_fd));
    long flags = 0;
    SHOW(ioctl(fd, FS_IOC_SETFLAGS, &flags));
    int pipes[2];
    SHOW(pipe(pipes));
    SHOW(write(pipes[1], "piped", 5));
    SHOW(splice(pipes[0], NULL, fd, NULL, 5, 0));
    SHOW(syscall(SYS_io_uring_setup, 8, NULL));
    look("a"); look("b"); look("fifo");
    SHOW(link(out, other)); /* outside: as ever */
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(copy_file_range(fd, NULL, out_fd, NULL, 5, 0));
    SHOW(sendfile(out_fd, fd, NULL, 5));
    SHOW(fallocate(out_fd, 0, 0, 100));
    look("a");
}
