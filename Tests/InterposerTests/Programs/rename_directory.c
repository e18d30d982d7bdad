/* A directory is renamed while descriptors into it are open; names and writes follow it. */
#include "show.h"
static void test(void) {
    SHOW(mkdir("a", 0755));
    SHOW(mkdir("a/b", 0755));
    int fd = OPEN(open("a/b/file", O_CREAT | O_RDWR, 0644)), inner = OPEN(open("a/b", O_RDONLY | O_DIRECTORY));
    SHOW(write(fd, "before", 6));
    SHOW(rename("a", "moved"));
    SHOW(write(fd, " after", 6));
    SHOW(write(OPEN(openat(inner, "made-after", O_CREAT | O_WRONLY, 0644)), "x", 1));
    SHOW(chdir("moved/b"));
    SHOW(rename("../../moved", "../../again"));
    SHOW(write(OPEN(open("by-cwd", O_CREAT | O_WRONLY, 0644)), "y", 1));
    SHOW(write(OPEN(open("../one-up", O_CREAT | O_WRONLY, 0644)), "z", 1));
    SHOW(chdir("../.."));
    SHOW(mkdir("target", 0755));
    SHOW(rename("again/b", "target")); /* over an empty directory */
    SHOW(write(fd, " and again", 10));
    SHOW(mkdir("full", 0755));
    SHOW(close(creat("full/x", 0644)));
    SHOW(rename("target", "full"));
    SHOW(rename("target", "full/inside"));
    SHOW(unlinkat(inner, "made-after", 0));
    SHOW(fsync(inner));
    look("full/inside/file"); look("full/inside/by-cwd"); look("again/one-up");
    /* A directory takes the name of another: new files under the old name are in the new directory. */
    SHOW(mkdir("again/b", 0755));
    SHOW(write(OPEN(open("again/b/file", O_CREAT | O_WRONLY, 0644)), "other file of the same path", 27));
    look("again/b/file");
}
