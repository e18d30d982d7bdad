/* Calls that this version does not carry: on the tree they fail with EOPNOTSUPP; copies are done right; outside as ever. */
#include "show.h"
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif
static char out[PATH_MAX], other[PATH_MAX];
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "0123456789", 10));
    snprintf(out, sizeof out, "%s/a", outside);
    snprintf(other, sizeof other, "%s/b", outside);
    int out_fd = OPEN(open(out, O_CREAT | O_RDWR, 0644));
    SHOW(write(out_fd, "abcdefghij", 10));
    SHOW(link(out, "b"));
    SHOW(mkdir("directory", 0755));
    SHOW(mkfifo("fifo", 0644));
    SHOW(mknod("node", S_IFIFO | 0644, 0));
    SHOW(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT));
    SHOW(renameat2(AT_FDCWD, "a", AT_FDCWD, "directory", RENAME_EXCHANGE));
    SHOW(fallocate(fd, FALLOC_FL_NO_HIDE_STALE, 0, 4));
    struct iovec part = {"atomic", 4};
    SHOW(pwritev2(fd, &part, 1, 0, 0x40)); /* RWF_ATOMIC */
    SHOW(syscall(SYS_setxattrat, fd, "", AT_EMPTY_PATH, "user.x", NULL, 0));
    SHOW(lseek(out_fd, 0, SEEK_SET));
    SHOW(copy_file_range(out_fd, NULL, fd, NULL, 5, 0));
    SHOW(sendfile(fd, out_fd, NULL, 5));
    SHOW(ioctl(fd, FICLONE, out_fd));
    long flags = 0;
    SHOW(ioctl(fd, FS_IOC_SETFLAGS, &flags));
    long version = 1;
    SHOW(ioctl(fd, FS_IOC_SETVERSION, &version));
    /* fallocate by the names of xfs: the kernel takes them for every file. */
    struct space {
        short type, whence;
        long start, count;
        int system;
        unsigned process;
        int pad[4];
    } space = {.start = 2, .count = 4};
    SHOW(ioctl(fd, _IOW('X', 42, struct space), &space));
    SHOW(ioctl(fd, _IOW('X', 43, struct space), &space));
    SHOW(syscall(SYS_ioctl, fd, _IOW('X', 57, struct space), &space));
    SHOW(ioctl(out_fd, _IOW('X', 43, struct space), &space));
    SHOW(syscall(SYS_io_uring_setup, 8, NULL));
    look("a"); look("b"); look("fifo");
    SHOW(link(out, other)); /* outside: as ever */
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(copy_file_range(fd, NULL, out_fd, NULL, 5, 0));
    SHOW(sendfile(out_fd, fd, NULL, 5));
    SHOW(fallocate(out_fd, 0, 0, 100));
    look("a");
}
