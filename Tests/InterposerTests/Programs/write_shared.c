/* Shared offsets: a dup'd descriptor, a forked one, a parent and its children in turn and at once. */
#include "show.h"
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), copy = OPEN(dup(fd));
    SHOW(write(fd, "one ", 4));
    SHOW(write(copy, "two ", 4));
    int third = OPEN(fcntl(fd, F_DUPFD_CLOEXEC, 100));
    SHOW(write(third, "three ", 6));
    SHOW(lseek(copy, 0, SEEK_CUR));
    SHOW(dup2(fd, 50));
    SHOW(write(50, "four ", 5));
    SHOW(dup3(fd, 51, O_CLOEXEC));
    SHOW(write(51, "five ", 5));
    pid_t child = fork();
    if (!child) {
        write(fd, "child ", 6);
        _exit(0);
    }
    ended("child", child);
    SHOW(write(fd, "parent ", 7));
    look("a");
    int shared = OPEN(open("b", O_CREAT | O_WRONLY, 0644));
    pid_t children[3];
    for (int c = 0; c < 3; c++)
        if (!(children[c] = fork())) {
            char line[1200]; /* equal lines, so that their order does not show */
            memset(line, 'l', sizeof line);
            for (int i = 0; i < 40; i++) write(shared, line, i % 2 ? 1200 : 16);
            _exit(0);
        }
    for (int c = 0; c < 3; c++) ended("child", children[c]);
    look("b");
    SHOW(lseek(shared, 0, SEEK_CUR));
    close(fd); /* the number is used again for another file */
    int reused = open("c", O_CREAT | O_WRONLY, 0644);
    printf("reused: %s\n", reused == fd ? "yes" : "no");
    SHOW(write(reused, "another file", 12));
    SHOW(close_range(50, 51, 0));
    SHOW(write(50, "closed", 6));
    close(1000);
    SHOW(write(copy, "last", 4));
    look("a"); look("c");
}
