/* Descriptors: numbers beyond 65536, none left, 0 to 2 closed and used again, a number that changes between a file of the
   tree and one outside at every turn. A call on a descriptor that the kernel would do does not fail because the library wants
   a descriptor of its own, not even in a forked child that is not attached yet. */
#include "show.h"
#include <sys/resource.h>
static void fill_up(void) { while (dup(1) >= 0) continue; }
static void full(const char *name, int (*call)(void)) { /* with not one descriptor left */
    pid_t child = fork();
    if (!child) {
        struct rlimit limit = {60, 60};
        setrlimit(RLIMIT_NOFILE, &limit);
        fill_up();
        errno = 0;
        int result = call();
        show(name, result);
        _exit(0);
    }
    ended(name, child);
}
static int fd;
static int copy(void) {
    off_t from = 0, to = 60;
    return (int)copy_file_range(fd, &from, fd, &to, 20, 0);
}
#define FULL(call) do { int f(void) { return (int)(call); } full(#call, f); } while (0)
static void test(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    int number = 900;
    if (limit.rlim_max > 70000) {
        limit.rlim_cur = limit.rlim_max < 1000000 ? limit.rlim_max : 1000000;
        setrlimit(RLIMIT_NOFILE, &limit);
        number = 69000;
    }
    int high = fcntl(fd, F_DUPFD, number);
    SHOW(high >= number);
    SHOW(write(high, "high", 4));
    SHOW(pwrite(high, "HI", 2, 10));
    SHOW(fsync(high));
    SHOW(ftruncate(high, 11));
    FILE *stream = fdopen(high, "w");
    SHOW(fputs("by stdio", stream));
    SHOW(fclose(stream));
    look("a");
    char path[64], elsewhere[PATH_MAX + 10];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", outside);
    int wrong = 0;
    for (int i = 0; i < 2000; i++) { /* the same number all the time */
        snprintf(path, sizeof path, "turn%d", i % 5);
        int one = open(i % 2 ? elsewhere : path, O_CREAT | O_WRONLY | (i % 3 ? O_APPEND : 0), 0644);
        wrong += one < 0 || write(one, path, 5) != 5 || close(one);
        if (i % 7 == 0) wrong += unlink(i % 2 ? elsewhere : path) != 0;
    }
    SHOW(wrong);
    for (int i = 0; i < 5; i++) { snprintf(path, sizeof path, "turn%d", i); look(path); }
    pid_t child = fork();
    if (!child) {
        close(0); close(1); close(2);
        int zero = open("zero", O_CREAT | O_WRONLY, 0644), one = open("one", O_CREAT | O_TRUNC | O_WRONLY, 0644);
        FILE *two = fopen("two", "w");
        fputs("descriptor two", two);
        fflush(two);
        write(zero, "descriptor zero", 15);
        printf("standard output");
        fflush(stdout);
        perror("standard error");
        mkdir("made", 0755);
        rename("made", "renamed");
        fsync(zero);
        _exit(zero * 100 + one * 10 + fileno(two));
    }
    ended("without 0, 1 and 2", child);
    look("zero"); look("one"); look("two"); look("renamed");
    FULL(write(fd, "full", 4));
    FULL(pwrite(fd, "full", 4, 100));
    FULL(fsync(fd));
    FULL(ftruncate(fd, 50));
    FULL(fallocate(fd, 0, 0, 9000));
    FULL(fchmod(fd, 0640));
    FULL(open("new", O_CREAT | O_WRONLY, 0644));
    FULL(open("a", O_TRUNC | O_WRONLY));
    FULL(creat("new", 0644));
    FULL(fopen("new", "w") ? 0 : -1);
    FULL(fchown(fd, getuid(), getgid()));
    FULL(futimens(fd, NULL) * 0);
    FULL(dprintf(fd, "%s", "by stdio"));
    FULL(copy());
    look("a"); look("new");
}
