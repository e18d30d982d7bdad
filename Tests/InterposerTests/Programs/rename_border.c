/* rename across the border of the tree: files come in whole and go out; what can't be told is EXDEV, as between mounts. */
#include "show.h"
#include <sys/mman.h>
static char out[PATH_MAX], out_directory[PATH_MAX], out_link[PATH_MAX], big[3 << 20];
static void make(const char *path, const char *text) {
    int fd = creat(path, 0640);
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) abort();
    close(fd);
}
static void test(void) {
    snprintf(out, sizeof out, "%s/file", outside);
    snprintf(out_directory, sizeof out_directory, "%s/directory", outside);
    snprintf(out_link, sizeof out_link, "%s/link", outside);
    make("inside", "from inside");
    make(out, "from outside");
    /* In, and on as a file of the tree: by new descriptors, and by one that was opened for reading before. */
    int before = open(out, O_RDONLY);
    SHOW(rename(out, "in"));
    SHOW(access(out, F_OK));
    look("in");
    int fd = open("in", O_RDWR);
    SHOW(fsync(fd)); /* the mirror has it as it came in: what follows must be captured */
    SHOW(pwrite(fd, "INSIDE NOW", 10, 5));
    SHOW(fchmod(before, 0600));
    look("in");
    /* Out: no longer captured, through whatever descriptor; and in again, over another file. */
    SHOW(rename("in", out));
    look("in");
    SHOW(pwrite(fd, "OUTSIDE", 7, 0));
    SHOW(rename(out, "inside")); /* open for writing: it would have to be copied */
    close(fd);
    SHOW(rename(out, "inside"));
    look("inside");
    fd = open("inside", O_WRONLY | O_APPEND);
    SHOW(fsync(fd));
    SHOW(write(fd, "end", 3));
    SHOW(rename("inside", out)); /* out with the descriptor open: what it writes is outside */
    SHOW(write(fd, "more", 4));
    close(fd);
    close(before);
    /* NOREPLACE, EXCHANGE. */
    make("inside", "another");
    SHOW(renameat2(AT_FDCWD, out, AT_FDCWD, "inside", RENAME_NOREPLACE));
    SHOW(renameat2(AT_FDCWD, "inside", AT_FDCWD, out, RENAME_NOREPLACE));
    SHOW(renameat2(AT_FDCWD, out, AT_FDCWD, "inside", RENAME_EXCHANGE));
    SHOW(renameat2(AT_FDCWD, out, AT_FDCWD, "in", RENAME_NOREPLACE));
    look("in");
    look("inside");
    /* Large and sparse, mapped for writing, a symbolic link. */
    fd = OPEN(creat(out, 0644));
    memset(big, 'b', sizeof big);
    SHOW(pwrite(fd, big, sizeof big, 1 << 20));
    SHOW(ftruncate(fd, 9 << 20));
    close(fd);
    SHOW(rename(out, "big"));
    look("big");
    SHOW(rename("big", out));
    fd = open(out, O_RDWR);
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    SHOW(rename(out, "big")); /* its mapping may be stored to */
    munmap(map, 4096);
    SHOW(rename(out, "big"));
    SHOW(symlink("in", out_link));
    SHOW(rename(out_link, "link"));
    look("link");
    SHOW(rename("link", out_link));
    look("link");
    /* Directories: out with all that is in them, in by copying only. */
    SHOW(mkdir("directory", 0755));
    SHOW(mkdir("directory/sub", 0700));
    make("directory/sub/file", "deep");
    make("directory/file", "less deep");
    fd = open("directory/file", O_WRONLY);
    SHOW(rename("directory", out_directory));
    look("directory");
    SHOW(write(fd, "OUT", 3));
    close(fd);
    SHOW(rename(out_directory, "directory"));
    look("directory");
    SHOW(mkdir("directory", 0755));
    make("directory/file", "again");
    look("directory/file");
    /* Errors. */
    SHOW(rename(out, "in"));
    SHOW(rename("none", out));
    SHOW(rename(out, "directory"));
    SHOW(rename("in", out_directory));
    look("in");
    look("inside");
}
