/* fallocate that only reserves, and posix_fallocate: done, or refused with EOPNOTSUPP; never libc's loop of writes. */
#include "show.h"
static void either(const char *call, long result) { printf("%s: %s\n", call, result == 0 || errno == EOPNOTSUPP || result == EOPNOTSUPP ? "done or refused" : strerrorname_np(errno)); }
#define EITHER(call) (errno = 0, either(#call, (call)))
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "0123456789", 10));
    EITHER(fallocate(fd, 0, 0, 100000));
    EITHER(fallocate64(fd, FALLOC_FL_KEEP_SIZE, 0, 200000));
    EITHER(posix_fallocate(fd, 50000, 100000));
    EITHER(posix_fallocate64(fd, 0, 10));
    SHOW(fallocate(-1, 0, 0, 10));
    SHOW(posix_fallocate(-1, 0, 10));
    SHOW(ftruncate(fd, 20));
    look("a");
}
