/*
 * show.h: a test program is a list of calls; each is printed with its result and errno, without anything that changes
 * from run to run, so that its output with and without the preload library can be compared line by line.
 *
 *   PROGRAM TREE OUTSIDE        runs in TREE (replicated); OUTSIDE is a directory of the same file system that is not
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char *outside;

__attribute__((unused)) static long show(const char *call, long result) {
    int error = errno;
    if (result == -1) printf("%s = -1 %s\n", call, strerrorname_np(error));
    else printf("%s = %ld\n", call, result);
    errno = error;
    return result;
}

__attribute__((unused)) static int show_descriptor(const char *call, int fd) {
    int error = errno;
    if (fd < 0) printf("%s = -1 %s\n", call, strerrorname_np(error));
    else printf("%s = a descriptor\n", call);
    return fd;
}

__attribute__((unused)) static void *show_pointer(const char *call, void *pointer) {
    int error = errno;
    if (!pointer || pointer == (void *)-1) printf("%s = %s %s\n", call, pointer ? "-1" : "NULL", strerrorname_np(error));
    else printf("%s = a pointer\n", call);
    return pointer;
}

#define SHOW(call) (errno = 0, show(#call, (long)(call)))
#define OPEN(call) (errno = 0, show_descriptor(#call, (call)))
#define POINTER(call) (errno = 0, show_pointer(#call, (call)))

/* Type, mode, links, size and a digest of the content, or of the target. */
__attribute__((unused)) static void look(const char *path) {
    struct stat status;
    if (lstat(path, &status)) {
        printf("%s: %s\n", path, strerrorname_np(errno));
        return;
    }
    printf("%s: mode %o", path, status.st_mode);
    if (S_ISREG(status.st_mode)) {
        printf(" links %lu size %ld", (unsigned long)status.st_nlink, (long)status.st_size);
        int fd = open(path, O_RDONLY);
        unsigned long digest = 14695981039346656037ul;
        static unsigned char bytes[65536];
        for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
            for (ssize_t i = 0; i < n; i++) digest = (digest ^ bytes[i]) * 1099511628211ul;
        close(fd);
        printf(" content %016lx", digest);
    } else if (S_ISLNK(status.st_mode)) {
        char target[PATH_MAX] = "";
        if (readlink(path, target, sizeof target - 1) >= 0) printf(" to %s", target);
    }
    printf("\n");
}

__attribute__((unused)) static void fill(void *bytes, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ((unsigned char *)bytes)[i] = (unsigned char)(seed >> 24);
    }
}

/* Waits for a child and prints how it ended. */
__attribute__((unused)) static void ended(const char *what, pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) printf("%s: waitpid: %s\n", what, strerrorname_np(errno));
    else if (WIFEXITED(status)) printf("%s: exit %d\n", what, WEXITSTATUS(status));
    else printf("%s: signal %d\n", what, WTERMSIG(status));
}

const char *outside;

#ifndef OWN_MAIN
static void test(void);

int main(int count, char **values) {
    if (count < 3) return 64;
    setvbuf(stdout, NULL, _IONBF, 0);
    outside = values[2];
    umask(022);
    if (chdir(values[1])) return 66;
    test();
    return 0;
}
#endif
