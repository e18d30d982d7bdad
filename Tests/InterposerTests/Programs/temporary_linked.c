/* O_TMPFILE: a file without a name is written, and gets its names later, by /proc or by its descriptor; or never. */
#include "show.h"
static void linked(int fd, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
    look(name);
}
static void test(void) {
    static char bytes[2000000];
    fill(bytes, sizeof bytes, 5);
    SHOW(mkdir("d", 0755));
    int fd = OPEN(open(".", O_TMPFILE | O_RDWR, 0640)), never = OPEN(open("d", O_TMPFILE | O_WRONLY, 0600));
    printf("the lowest: %s\n", fd + 1 == never ? "yes" : "no");
    SHOW(write(fd, "written before it has a name", 28));
    SHOW(write(never, bytes, sizeof bytes));
    SHOW(fchmod(fd, 0604));
    SHOW(fsync(fd));
    linked(fd, "a");
    SHOW(pwrite(fd, "WRITTEN", 7, 0));
    SHOW(fsync(fd));
    look("a");
    linked(fd, "d/b");
    linked(fd, "a"); /* is there */
    int large = OPEN(open("d", O_TMPFILE | O_RDWR, 0666));
    SHOW(write(large, bytes, sizeof bytes));
    SHOW(ftruncate(large, 1999999));
    SHOW(linkat(large, "", AT_FDCWD, "large", AT_EMPTY_PATH));
    SHOW(write(large, "more", 4));
    SHOW(fsync(OPEN(open(".", O_RDONLY))));
    look("large");
    int excluded = OPEN(open("d", O_TMPFILE | O_EXCL | O_RDWR, 0644));
    linked(excluded, "c");
    OPEN(open("a", O_TMPFILE | O_RDWR, 0644)); OPEN(open("missing", O_TMPFILE | O_RDWR, 0644)); OPEN(open(".", O_TMPFILE | O_RDONLY, 0644));
    char out[PATH_MAX];
    snprintf(out, sizeof out, "%s/tmp", outside);
    int outer = OPEN(open(outside, O_TMPFILE | O_RDWR, 0644));
    SHOW(write(outer, "outside", 7));
    SHOW(linkat(outer, "", AT_FDCWD, out, AT_EMPTY_PATH));
    for (int i = 0; i < 60; i++) { /* written, linked, renamed into place */
        int temporary = open(".", O_TMPFILE | O_WRONLY, 0644);
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", temporary);
        if (write(temporary, bytes + i * 100, 5000) != 5000 || linkat(AT_FDCWD, path, AT_FDCWD, "new", AT_SYMLINK_FOLLOW) || rename("new", "current") || close(temporary))
            printf("round %d failed\n", i);
    }
    look("current"); look("new");
}
