/* Files that were there before the program started are written, renamed, truncated and removed like others. */
#include "show.h"
static void test(void) {
    int fd = OPEN(open("d/e/file", O_WRONLY));
    SHOW(pwrite(fd, "EXIST", 5, 0));
    fd = OPEN(open("link", O_WRONLY | O_APPEND));
    SHOW(write(fd, "appended\n", 9));
    SHOW(truncate("large", 100));
    SHOW(rename("d", "empty/d"));
    SHOW(unlink("gone"));
    SHOW(write(OPEN(creat("gone", 0600)), "back", 4));
    SHOW(write(fd, "after the rename\n", 17));
    SHOW(chmod("empty", 0755));
    look("empty/d/e/file"); look("large"); look("gone"); look("link");
}
