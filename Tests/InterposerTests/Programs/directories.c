/* mkdir, mkdirat, rmdir, remove: modes, set-group-id, nesting, and how they fail. */
#include "show.h"
static void test(void) {
    SHOW(mkdir("a", 0755));
    SHOW(mkdir("a/b", 0700));
    SHOW(mkdir("a/b/c", 0777));
    SHOW(mkdir("a/", 0755));
    SHOW(mkdir("slash/", 0755));
    SHOW(mkdir("a", 0755));
    SHOW(mkdir("missing/x", 0755));
    SHOW(mkdir("", 0755));
    SHOW(mkdir(".", 0755));
    SHOW(mkdir("..", 0755));
    SHOW(mkdir((char *)8, 0755));
    umask(0);
    SHOW(mkdir("open", 0777));
    SHOW(mkdir("sticky", 01777));
    umask(022);
    int directory = OPEN(open("a", O_RDONLY | O_DIRECTORY));
    SHOW(mkdirat(directory, "at", 0750));
    SHOW(mkdirat(777, "at", 0750));
    SHOW(chmod("open", 02775));
    SHOW(mkdir("open/inherits", 0755));
    SHOW(close(creat("open/file", 0644)));
    look("open/inherits"); look("open/file"); look("a/at"); look("sticky");
    SHOW(rmdir("a"));
    SHOW(rmdir("a/b/c"));
    SHOW(unlinkat(directory, "b", AT_REMOVEDIR));
    SHOW(rmdir("a/at/"));
    SHOW(rmdir("a/."));
    SHOW(rmdir("a"));
    SHOW(mkdirat(directory, "under-nothing", 0755));
    SHOW(rmdir("a"));
    SHOW(rmdir("open/file"));
    SHOW(rmdir("."));
    SHOW(rmdir("slash"));
    SHOW(remove("sticky"));
    for (int i = 0; i < 50; i++)
        if (mkdir("again", 0755) || rmdir("again")) printf("round %d failed\n", i);
    SHOW(mkdir("again", 0711));
    char path[600] = "deep";
    mkdir(path, 0755);
    for (int i = 0; i < 40; i++) {
        strcat(path, "/directory");
        if (mkdir(path, 0755)) printf("level %d failed\n", i);
    }
    strcat(path, "/file");
    SHOW(write(OPEN(creat(path, 0644)), "deep down", 9));
}
