/* Hard links: of files and symbolic links, by path, by descriptor, to what is open; across the border; how they fail. */
#include "show.h"
static char by_descriptor[64];
static const char *proc(int fd) {
    snprintf(by_descriptor, sizeof by_descriptor, "/proc/self/fd/%d", fd);
    return by_descriptor;
}
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "content of a", 12));
    SHOW(link("a", "b"));
    SHOW(write(fd, " and b", 6));
    look("a"); look("b");
    int other = OPEN(open("b", O_WRONLY));
    SHOW(pwrite(other, "CONTENT", 7, 0));
    SHOW(unlink("a"));
    SHOW(write(fd, ", still", 7));
    look("a"); look("b");
    SHOW(mkdir("d", 0755));
    int directory = OPEN(open("d", O_RDONLY | O_DIRECTORY));
    SHOW(linkat(AT_FDCWD, "b", directory, "c", 0));
    SHOW(linkat(directory, "c", AT_FDCWD, "d/e", 0));
    SHOW(chmod("b", 0600));
    SHOW(truncate("d/c", 5));
    look("b"); look("d/c"); look("d/e");
    SHOW(rename("d/c", "d/e")); /* the same file: nothing happens */
    SHOW(rename("d/e", "f"));
    SHOW(rename("b", "d/g"));
    look("d/c"); look("d/e"); look("f"); look("d/g"); look("b");
    SHOW(linkat(AT_FDCWD, proc(fd), AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
    SHOW(linkat(fd, "", AT_FDCWD, "i", AT_EMPTY_PATH));
    SHOW(linkat(OPEN(open("f", O_PATH)), "", AT_FDCWD, "j", AT_EMPTY_PATH));
    look("h"); look("i"); look("j");
    SHOW(symlink("f", "symbolic"));
    SHOW(link("symbolic", "symbolic2"));
    SHOW(linkat(AT_FDCWD, "symbolic", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    look("symbolic2"); look("followed");
    SHOW(link("a", "x")); SHOW(link("f", "h")); SHOW(link("f", "f")); SHOW(link("d", "x")); SHOW(link("f", "missing/x"));
    SHOW(link("f", "x/")); SHOW(link("f", ".")); SHOW(link("f", "")); SHOW(link("", "x")); SHOW(link("f/", "x"));
    SHOW(link("f", (char *)8)); SHOW(link((char *)8, "x")); SHOW(linkat(777, "f", AT_FDCWD, "x", 0));
    SHOW(linkat(777, "", AT_FDCWD, "x", AT_EMPTY_PATH)); SHOW(linkat(AT_FDCWD, "f", AT_FDCWD, "x", 0x8000));
    int gone = OPEN(open("gone", O_CREAT | O_RDWR, 0644));
    SHOW(unlink("gone"));
    SHOW(linkat(AT_FDCWD, proc(gone), AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
    for (int i = 0; i < 100; i++) /* the way some programs take a lock, and replace a file */
        if (link("f", "lock") || pwrite(fd, "locked", 6, i) != 6 || unlink("lock")) printf("round %d failed\n", i);
    look("f"); look("h"); look("i"); look("d/c");
}
