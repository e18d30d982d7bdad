/* rename: over an existing file, onto itself, with NOREPLACE, of links, and how it fails. */
#include "show.h"
static void make(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd)) printf("%s can't be made\n", name);
}
static void test(void) {
    make("a", "content of a");
    SHOW(rename("a", "b"));
    look("a"); look("b");
    make("c", "content of c");
    int displaced = OPEN(open("b", O_RDWR));
    SHOW(rename("c", "b"));
    look("b");
    SHOW(write(displaced, "to a file without a name", 24));
    SHOW(rename("b", "b"));
    SHOW(rename("b", "./b"));
    int fd = OPEN(open("b", O_WRONLY));
    SHOW(rename("b", "d"));
    SHOW(write(fd, "CONTENT", 7));
    look("d");
    make("e", "e");
    SHOW(renameat2(AT_FDCWD, "e", AT_FDCWD, "d", RENAME_NOREPLACE));
    SHOW(renameat2(AT_FDCWD, "e", AT_FDCWD, "f", RENAME_NOREPLACE));
    SHOW(mkdir("dir", 0755));
    int directory = OPEN(open("dir", O_RDONLY | O_DIRECTORY));
    SHOW(renameat(AT_FDCWD, "f", directory, "g"));
    SHOW(renameat(directory, "g", directory, "h"));
    SHOW(renameat(directory, "h", AT_FDCWD, "dir/i"));
    look("dir/i");
    SHOW(symlink("d", "link"));
    SHOW(rename("link", "moved-link"));
    look("moved-link");
    SHOW(rename("d", "moved-link"));
    look("moved-link");
    SHOW(rename("missing", "x"));
    SHOW(rename("missing", "moved-link"));
    SHOW(rename("moved-link", "dir"));
    SHOW(rename("dir", "moved-link"));
    SHOW(rename("moved-link", "missing/x"));
    SHOW(rename("moved-link", ""));
    SHOW(rename("", "x"));
    SHOW(rename(".", "x"));
    SHOW(rename("dir", "dir/under-itself"));
    SHOW(rename("moved-link", (char *)8));
    SHOW(renameat(777, "a", 777, "b"));
    for (int i = 0; i < 100; i++) { /* the way every careful program replaces a file */
        char text[16];
        snprintf(text, sizeof text, "version %d", i);
        make("file.tmp", text);
        if (rename("file.tmp", "file")) printf("round %d failed\n", i);
    }
    look("file");
}
