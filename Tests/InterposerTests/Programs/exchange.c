/* renameat2 with RENAME_EXCHANGE: files, directories with what is in them, one of each, links; and how it fails. */
#include "show.h"
#define EXCHANGE(a, b) SHOW(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE))
static void make(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd)) printf("%s can't be made\n", name);
}
static void test(void) {
    make("a", "content of a"); make("b", "another content, of b");
    int fd = OPEN(open("a", O_WRONLY));
    EXCHANGE("a", "b");
    SHOW(write(fd, "CONTENT", 7));
    look("a"); look("b");
    SHOW(mkdir("d", 0755)); SHOW(mkdir("e", 0700)); SHOW(mkdir("d/below", 0755));
    make("d/one", "one"); make("d/below/two", "two"); make("e/three", "three");
    int below = OPEN(open("d/below/two", O_WRONLY | O_APPEND));
    EXCHANGE("d", "e");
    SHOW(write(below, " more", 5));
    look("e/one"); look("e/below/two"); look("d/three"); look("d"); look("e");
    EXCHANGE("a", "e"); /* a file and a directory */
    make("a/new", "in what was a file's name");
    look("a/below/two"); look("a/new"); look("e");
    EXCHANGE("a/below", "d");
    look("a/below/three"); look("d/two");
    SHOW(symlink("nowhere", "link"));
    EXCHANGE("link", "b");
    look("link"); look("b");
    EXCHANGE("b", "b");
    EXCHANGE("b", "missing");
    EXCHANGE("missing", "b");
    EXCHANGE("a", "a/below"); /* under itself */
    EXCHANGE("a/below", "a");
    SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "link", RENAME_EXCHANGE | RENAME_NOREPLACE));
    SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "link", 0x100));
    for (int i = 0; i < 51; i++) {
        if (renameat2(AT_FDCWD, "d", AT_FDCWD, "a/below", RENAME_EXCHANGE)) printf("round %d failed\n", i);
        make("d/round", i % 2 ? "odd" : "even");
    }
    look("d/round"); look("a/below/round"); look("d/two"); look("a/below/two");
}
