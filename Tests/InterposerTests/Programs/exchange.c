/* renameat2 with RENAME_EXCHANGE: files, also in different directories, links; and how it fails. */
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
    SHOW(mkdir("d", 0755)); SHOW(mkdir("e", 0700));
    make("d/one", "one"); make("e/three", "three");
    EXCHANGE("d/one", "e/three");
    look("d/one"); look("e/three");
    SHOW(symlink("nowhere", "link"));
    EXCHANGE("link", "b");
    look("link"); look("b");
    EXCHANGE("b", "b");
    EXCHANGE("b", "missing");
    EXCHANGE("missing", "b");
    SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "link", RENAME_EXCHANGE | RENAME_NOREPLACE));
    SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "link", 0x100));
    for (int i = 0; i < 51; i++) {
        if (renameat2(AT_FDCWD, "d/one", AT_FDCWD, "e/three", RENAME_EXCHANGE)) printf("round %d failed\n", i);
        make("d/one", i % 2 ? "odd" : "even");
    }
    look("d/one"); look("e/three");
}
