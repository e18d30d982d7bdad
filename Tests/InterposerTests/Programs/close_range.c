/* close_range and closefrom: what is captured stays so when every descriptor is closed, marked or unshared at once. */
#include "show.h"
#include <linux/close_range.h>
#include <pthread.h>
static void *unshared(void *path) {
    int fd = OPEN(open(path, O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "own table", 9));
    SHOW(close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
    SHOW(write(fd, "closed", 6));
    fd = OPEN(open(path, O_RDWR | O_APPEND));
    SHOW(write(fd, " again", 6));
    SHOW(fsync(fd));
    close(fd);
    return NULL;
}
static void test(void) {
    int a = OPEN(open("a", O_CREAT | O_RDWR, 0644)), b = OPEN(open("b", O_CREAT | O_RDWR, 0644)), c = OPEN(open("c", O_CREAT | O_RDWR, 0644));
    SHOW(write(a, "one", 3));
    SHOW(close_range((unsigned)b, (unsigned)b, 0));
    SHOW(write(b, "closed", 6));
    SHOW(write(c, "three", 5));
    SHOW(close_range((unsigned)c, (unsigned)a, 0));
    SHOW(close_range(3, ~0u, 128));
    SHOW(close_range(3, ~0u, 0));
    SHOW(write(a, "closed", 6));
    /* The same numbers mean other files, in the tree and outside. */
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", outside);
    int out = OPEN(open(path, O_CREAT | O_RDWR, 0644));
    b = OPEN(open("b", O_RDWR | O_APPEND));
    SHOW(out == a);
    SHOW(write(out, "outside", 7));
    SHOW(write(b, "two", 3));
    SHOW(dup2(b, out));
    SHOW(write(out, " more", 5));
    closefrom(3);
    SHOW(write(b, "closed", 6));
    b = OPEN(open("b", O_RDWR | O_APPEND));
    SHOW(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
    SHOW(fcntl(b, F_GETFD));
    SHOW(write(b, " still open", 11));
    pid_t child = fork();
    if (child == 0) {
        close_range(3, ~0u, CLOSE_RANGE_UNSHARE);
        int fd = open("child", O_CREAT | O_WRONLY, 0600);
        _exit(write(fd, "from the child", 14) != 14);
    }
    int status;
    waitpid(child, &status, 0);
    SHOW(status);
    pthread_t thread;
    pthread_create(&thread, NULL, unshared, "d");
    pthread_join(thread, NULL);
    SHOW(write(b, " and on", 7));
    look("a"); look("b"); look("c"); look("child"); look("d");
}
