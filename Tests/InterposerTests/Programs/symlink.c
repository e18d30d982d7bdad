/* symlink and symlinkat: long and dangling targets, and how they fail. */
#include "show.h"
static void test(void) {
    SHOW(symlink("target", "a"));
    SHOW(symlink("target", "a"));
    SHOW(symlink("", "b"));
    SHOW(symlink("/absolute/nowhere", "c"));
    SHOW(mkdir("d", 0755));
    int directory = OPEN(open("d", O_RDONLY | O_DIRECTORY));
    SHOW(symlinkat("../target", directory, "e"));
    SHOW(symlink("x", "d/"));
    SHOW(symlink("x", "missing/y"));
    SHOW(symlink("x", ""));
    SHOW(symlink((char *)8, "f"));
    SHOW(symlink("x", (char *)8));
    static char target[5000];
    memset(target, 't', 2000);
    SHOW(symlink(target, "long"));
    memset(target, 't', 4095);
    SHOW(symlink(target, "longest"));
    memset(target, 't', 4096);
    SHOW(symlink(target, "too-long"));
    look("a"); look("c"); look("d/e"); look("long");
    SHOW(write(OPEN(open("a", O_CREAT | O_WRONLY, 0644)), "through the link", 16));
    SHOW(chmod("a", 0600));
    SHOW(fchownat(AT_FDCWD, "a", 12, 34, AT_SYMLINK_NOFOLLOW));
    look("target");
    SHOW(unlink("a"));
    look("target");
}
