/* open and openat without a mode and with flags that are not constant become __open_2 and __openat_2. */
#include "show.h"
static volatile int flags_write = O_WRONLY, flags_truncate = O_WRONLY | O_TRUNC;
static void test(void) {
    SHOW(write(OPEN(creat("a", 0644)), "creat made this", 15));
    SHOW(write(OPEN(open("a", flags_write)), "__open_2", 8));
    look("a");
    SHOW(write(OPEN(openat(AT_FDCWD, "a", flags_truncate)), "__openat_2", 10));
    look("a");
    SHOW(write(OPEN(open64("a", flags_truncate)), "__open64_2", 10));
    look("a");
    SHOW(write(OPEN(openat64(AT_FDCWD, "a", flags_write)), "X", 1));
    look("a");
}
