/* pwritev2 with its flags: durable, at the end in spite of the offset, at the offset in spite of O_APPEND. */
#include "show.h"
#include <sys/uio.h>
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif
static long put(int fd, const char *text, off_t offset, int flags) {
    struct iovec parts[] = {{(char *)text, strlen(text) / 2}, {(char *)text + strlen(text) / 2, strlen(text) - strlen(text) / 2}};
    return pwritev2(fd, parts, 2, offset, flags);
}
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), at_end = OPEN(open("a", O_WRONLY | O_APPEND));
    SHOW(put(fd, "0123456789", 0, 0));
    SHOW(put(fd, "appended", 2, RWF_APPEND));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(put(fd, "appended at -1", -1, RWF_APPEND));
    SHOW(lseek(fd, 0, SEEK_CUR));
    look("a");
    SHOW(put(at_end, "AT 3", 3, RWF_NOAPPEND));
    SHOW(put(at_end, "AT THE END", 3, 0));
    SHOW(lseek(at_end, 5, SEEK_SET));
    SHOW(put(at_end, "AT 5", -1, RWF_NOAPPEND));
    SHOW(lseek(at_end, 0, SEEK_CUR));
    SHOW(put(at_end, "neither", 0, RWF_NOAPPEND | RWF_APPEND));
    look("a");
    SHOW(put(fd, "durable", 1, RWF_DSYNC));
    SHOW(put(fd, "durable at the end", 1, RWF_SYNC | RWF_APPEND));
    SHOW(put(fd, "without waiting", 1, RWF_NOWAIT) != 0);
    SHOW(put(fd, "unknown", 1, 0x40000000));
    SHOW(put(OPEN(open("a", O_RDONLY)), "read-only", 0, RWF_APPEND));
    int dsync = OPEN(open("b", O_CREAT | O_WRONLY | O_DSYNC, 0644));
    static char large[2000000];
    fill(large, sizeof large, 3);
    struct iovec all = {large, sizeof large};
    SHOW(pwritev2(dsync, &all, 1, 1000, RWF_APPEND));
    SHOW(pwritev2(dsync, &all, 1, -1, 0));
    SHOW(lseek(dsync, 0, SEEK_CUR));
    look("b");
}
