/* The many ways to name a file: symbolic links, relative to descriptors, "..", chdir and fchdir, from outside and back. */
#include "show.h"
static void test(void) {
    SHOW(mkdir("d", 0755));
    SHOW(mkdir("d/e", 0755));
    SHOW(write(OPEN(open("d/../d/e/../x", O_CREAT | O_WRONLY, 0644)), "dots", 4));
    SHOW(write(OPEN(open(".//d///y", O_CREAT | O_WRONLY, 0644)), "slashes", 7));
    SHOW(symlink("d", "to-d"));
    SHOW(symlink("e/z", "d/to-z"));          /* dangling: relative to where the link lies */
    SHOW(symlink("loop", "loop"));
    SHOW(symlink("chain-2", "chain-1"));
    SHOW(symlink("to-d/chained", "chain-2"));
    SHOW(write(OPEN(open("to-d/e/w", O_CREAT | O_WRONLY, 0644)), "through a directory link", 24));
    SHOW(write(OPEN(open("d/to-z", O_CREAT | O_WRONLY, 0644)), "made by a dangling link", 23));
    SHOW(write(OPEN(open("chain-1", O_CREAT | O_WRONLY, 0644)), "made by a chain", 15));
    OPEN(open("d/to-z", O_CREAT | O_EXCL | O_WRONLY, 0644));
    OPEN(open("d/to-z", O_CREAT | O_NOFOLLOW | O_WRONLY, 0644));
    OPEN(open("loop", O_CREAT | O_WRONLY, 0644));
    OPEN(open("loop", O_WRONLY | O_TRUNC));
    int directory = OPEN(open("d", O_RDONLY | O_DIRECTORY));
    SHOW(write(OPEN(openat(directory, "at", O_CREAT | O_WRONLY, 0644)), "openat", 6));
    SHOW(write(OPEN(openat(directory, "../up", O_CREAT | O_WRONLY, 0644)), "openat up", 9));
    SHOW(write(OPEN(openat64(directory, "at64", O_CREAT | O_WRONLY, 0644)), "openat64", 8));
    int path = OPEN(open("d/e", O_PATH | O_DIRECTORY));
    SHOW(write(OPEN(openat(path, "by-path", O_CREAT | O_WRONLY, 0644)), "O_PATH", 6));
    OPEN(openat(12345, "x", O_CREAT | O_WRONLY, 0644));
    char absolute[PATH_MAX], link[PATH_MAX];
    realpath("d", absolute);
    strcat(absolute, "/absolute");
    SHOW(write(OPEN(openat(-77, absolute, O_CREAT | O_WRONLY, 0644)), "absolute", 8));
    SHOW(fchdir(path));
    SHOW(write(OPEN(open("after-fchdir", O_CREAT | O_WRONLY, 0644)), "fchdir", 6));
    SHOW(write(OPEN(openat(AT_FDCWD, "../after-chdir", O_CREAT | O_WRONLY, 0644)), "AT_FDCWD", 8));
    snprintf(link, sizeof link, "%s/into", outside);
    realpath("..", absolute);
    SHOW(symlink(absolute, link));           /* a link outside that leads into the tree */
    strcat(link, "/by-link");
    SHOW(write(OPEN(open(link, O_CREAT | O_WRONLY, 0644)), "from outside", 12));
    SHOW(chdir(outside));
    SHOW(write(OPEN(open("into/e/from-outside", O_CREAT | O_WRONLY, 0644)), "relative from outside", 21));
    SHOW(write(OPEN(open("not-captured", O_CREAT | O_WRONLY, 0644)), "stays outside", 13));
    char again[64];
    snprintf(again, sizeof again, "/proc/self/fd/%d", directory);
    strcat(again, "/by-proc");
    SHOW(write(OPEN(open(again, O_CREAT | O_WRONLY, 0644)), "by /proc", 8));
    int fd = OPEN(openat(directory, "x", O_RDONLY));
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    SHOW(write(OPEN(open(again, O_WRONLY)), "DOTS", 4));
    SHOW(write(OPEN(open(again, O_WRONLY | O_TRUNC)), "DO", 2));
    SHOW(fchdir(directory));
    look("x"); look("at"); look("e/z"); look("e/w"); look("chained");
}
