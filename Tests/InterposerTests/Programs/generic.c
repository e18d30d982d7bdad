/* syscall() with the numbers of wrapped calls is captured like them. */
#include "show.h"
#include <sys/syscall.h>
#include <sys/uio.h>
static void test(void) {
    int fd = OPEN((int)syscall(SYS_openat, AT_FDCWD, "a", O_CREAT | O_RDWR, 0644));
    SHOW(syscall(SYS_write, fd, "by syscall", 10));
    SHOW(syscall(SYS_pwrite64, fd, "BY", 2, 0));
    struct iovec part = {"vector", 6};
    SHOW(syscall(SYS_writev, fd, &part, 1));
    SHOW(syscall(SYS_ftruncate, fd, 12));
    SHOW(syscall(SYS_fsync, fd));
    SHOW(syscall(SYS_fdatasync, fd));
    SHOW(syscall(SYS_mkdir, "d", 0755));
    SHOW(syscall(SYS_rename, "a", "d/b"));
    SHOW(syscall(SYS_fchmod, fd, 0600));
    SHOW(syscall(SYS_symlink, "d/b", "link"));
    SHOW(syscall(SYS_creat, "c", 0644) >= 0);
    SHOW(syscall(SYS_unlink, "c"));
    SHOW(syscall(SYS_open, "e", O_CREAT | O_WRONLY, 0644) >= 0);
    SHOW(syscall(SYS_getppid) > 0);
    SHOW(syscall(SYS_close, fd));
    SHOW(syscall(SYS_write, fd, "x", 1));
    SHOW(syscall(100000));
    look("d/b"); look("link"); look("e");
}
