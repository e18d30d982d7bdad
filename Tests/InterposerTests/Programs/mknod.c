/* mknod of regular files is a creation. */
#include "show.h"
static void test(void) {
    SHOW(mknod("a", S_IFREG | 0666, 0));
    SHOW(mknod("b", 0640, 0));
    SHOW(mkdir("d", 0755));
    SHOW(mknodat(OPEN(open("d", O_RDONLY)), "c", S_IFREG | 04755, 0));
    SHOW(write(OPEN(open("a", O_WRONLY)), "content", 7));
    SHOW(mknod("a", S_IFREG | 0666, 0)); SHOW(mknod("missing/a", S_IFREG | 0666, 0)); SHOW(mknod(".", S_IFREG | 0666, 0));
    SHOW(mknod("e/", S_IFREG | 0666, 0)); SHOW(mknod("", S_IFREG | 0666, 0)); SHOW(mknod("e", S_IFDIR | 0777, 0));
    look("a"); look("b"); look("d/c");
}
