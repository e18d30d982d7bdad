/* unlink: write after it, the same name again, the same inode again and again, open descriptors of the old ones. */
#include "show.h"
static void test(void) {
    SHOW(unlink("gone")); /* these were there before the program */
    SHOW(remove("gone-link"));
    SHOW(rmdir("before"));
    int old = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(old, "old", 3));
    SHOW(unlink("a"));
    SHOW(write(old, " goes on without a name", 23));
    SHOW(ftruncate(old, 10));
    SHOW(fchmod(old, 0600));
    SHOW(fsync(old));
    int new = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(new, "new", 3));
    SHOW(pwrite(old, "OLD", 3, 0));
    look("a");
    SHOW(unlink("a"));
    SHOW(close(old));
    SHOW(close(new));
    for (int i = 0; i < 300; i++) { /* ext4 gives the same inode number each time */
        char text[16];
        int fd = open("again", O_CREAT | O_EXCL | O_WRONLY, 0644), bytes = snprintf(text, sizeof text, "round %d", i);
        if (fd < 0 || write(fd, text, (size_t)bytes) != bytes || close(fd)) printf("round %d failed\n", i);
        if (i < 299 && unlink("again")) printf("unlink in round %d failed\n", i);
    }
    look("again");
    for (int i = 0; i < 100; i++) { /* the inode wanders between the tree and outside */
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/wanders", outside);
        int fd = open(i % 2 ? "wanders" : path, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0 || write(fd, "wanders", 7) != 7 || close(fd) || unlink(i % 2 ? "wanders" : path)) printf("wandering failed in round %d\n", i);
    }
    SHOW(mkdir("d", 0755));
    SHOW(close(creat("d/x", 0644)));
    int directory = OPEN(open("d", O_RDONLY | O_DIRECTORY));
    SHOW(unlinkat(directory, "x", 0));
    SHOW(unlinkat(directory, "x", 0));
    SHOW(unlink("d"));
    SHOW(unlinkat(AT_FDCWD, "d", 0));
    SHOW(unlink("missing"));
    SHOW(unlink("missing/x"));
    SHOW(unlink("again/"));
    SHOW(unlink(""));
    SHOW(unlink("."));
    SHOW(unlink((char *)8));
    SHOW(unlinkat(AT_FDCWD, "again", 0x4000));
    SHOW(symlink("again", "link"));
    SHOW(unlink("link"));
    look("again");
    SHOW(remove("again"));
    SHOW(remove("d"));
    SHOW(remove("d"));
    look("again"); look("d");
}
