/*
 * outsider: writes into a file as programs outside the capture do.
 *
 *   outsider write FILE TEXT      opens it, writes TEXT at its start, closes it
 *   outsider map FILE TEXT        the same by a store into a shared mapping, its descriptor closed before
 *   outsider hold FILE TEXT       opens it, prints its process id, writes TEXT when a line comes in, closes it after another
 *   outsider holdmap FILE TEXT    the same by a mapping
 *   outsider read FILE            opens it for reading; prints how many bytes came, or the error
 *   outsider open FILE            opens it for writing by each way that there is, and prints what came of it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int store(int file, const char *text, int holds) {
    size_t length = strlen(text);
    char line[16];
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) return fail("mmap");
    close(file);
    if (holds) {
        printf("%d\n", getpid());
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 1;
    }
    memcpy(page, text, length);
    if (holds) {
        puts("stored");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 1;
    }
    return munmap(page, 4096) == 0 ? 0 : fail("munmap");
}

static void say(const char *how, long result) {
    if (result >= 0) close((int)result);
    printf("%s:%s ", how, result >= 0 ? "opened" : errno == EPERM ? "EPERM" : strerror(errno));
}

int main(int count, char **values) {
    if (count < 3) return 64;
    const char *how = values[1], *path = values[2], *text = count > 3 ? values[3] : "";
    char line[16];

    if (strcmp(how, "open") == 0) {
        struct open_how wanted = {.flags = O_RDWR};
        say("open", syscall(SYS_open, path, O_WRONLY));
        say("openat", syscall(SYS_openat, AT_FDCWD, path, O_RDWR));
        say("append", open(path, O_WRONLY | O_APPEND));
        say("truncate", open(path, O_RDONLY | O_TRUNC));
        say("openat2", syscall(SYS_openat2, AT_FDCWD, path, &wanted, sizeof wanted));
        say("creat", syscall(SYS_creat, path, 0644));
        wanted.flags = O_RDONLY;
        say("read", syscall(SYS_openat2, AT_FDCWD, path, &wanted, sizeof wanted));
        puts("");
        return 0;
    }
    int file = open(path, strcmp(how, "read") == 0 ? O_RDONLY : O_RDWR);
    if (file < 0) return fail("open");
    if (strcmp(how, "read") == 0) {
        char bytes[64];
        printf("%zd\n", read(file, bytes, sizeof bytes));
        return 0;
    }
    if (strcmp(how, "map") == 0) return store(file, text, 0);
    if (strcmp(how, "holdmap") == 0) return store(file, text, 1);
    if (strcmp(how, "hold") == 0) {
        printf("%d\n", getpid());
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 1;
    }
    if (pwrite(file, text, strlen(text), 0) != (ssize_t)strlen(text)) return fail("write");
    if (strcmp(how, "hold") == 0) {
        puts("stored");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 1;
    }
    return close(file) == 0 ? 0 : fail("close");
}
