/* copy_file_range, sendfile and splice into the tree: every argument judged as by the kernel, every byte carried. */
#include "show.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
static char out[PATH_MAX], bytes[3000000];
static int source(const char *name) {
    int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0644);
    fill(bytes, sizeof bytes, 11);
    if (write(fd, bytes, sizeof bytes) != sizeof bytes || lseek(fd, 0, SEEK_SET)) printf("%s can't be made\n", name);
    return fd;
}
static long whole(int from, int to, size_t count) { /* as every caller has to: until nothing is left */
    long total = 0, n;
    while ((n = copy_file_range(from, NULL, to, NULL, count - (size_t)total, 0)) > 0) total += n;
    return n < 0 ? n : total;
}
static void spliced(const char *what, int from, off_t *offset, int to, size_t count, unsigned flags) {
    long total = 0, n = 1;
    while ((size_t)total < count && (n = splice(from, NULL, to, offset, count - (size_t)total, flags)) > 0) total += n;
    printf("%s: %ld%s%s\n", what, total, n < 0 ? " then " : "", n < 0 ? strerrorname_np(errno) : "");
}
static void test(void) {
    snprintf(out, sizeof out, "%s/source", outside);
    int inside = source("inside"), other = source(out), fd = OPEN(open("copied", O_CREAT | O_RDWR, 0644));
    SHOW(whole(other, fd, 1000000));
    SHOW(lseek(other, 0, SEEK_CUR)); SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(whole(inside, fd, 5000000)); /* to the end */
    look("copied");
    off_t from = 2999990, to = 5;
    SHOW(copy_file_range(inside, &from, fd, &to, 100, 0)); SHOW(from); SHOW(to);
    SHOW(copy_file_range(inside, &from, fd, &to, 100, 0));
    SHOW(copy_file_range(inside, &from, fd, &to, 100, 1));
    from = 0, to = 50;
    SHOW(copy_file_range(inside, &from, inside, &to, 100, 0)); /* overlaps itself */
    to = 500;
    SHOW(copy_file_range(inside, &from, inside, &to, 100, 0));
    from = -1;
    SHOW(copy_file_range(inside, &from, fd, &to, 100, 0));
    SHOW(copy_file_range(inside, (off_t *)8, fd, &to, 100, 0));
    SHOW(copy_file_range(inside, NULL, fd, NULL, 0, 0));
    SHOW(copy_file_range(-1, NULL, fd, NULL, 10, 0));
    SHOW(copy_file_range(OPEN(open("inside", O_WRONLY)), NULL, fd, NULL, 10, 0));
    SHOW(copy_file_range(inside, NULL, OPEN(open("copied", O_RDONLY)), NULL, 10, 0));
    SHOW(copy_file_range(OPEN(open(".", O_RDONLY)), NULL, fd, NULL, 10, 0));
    int append = OPEN(open("copied", O_WRONLY | O_APPEND));
    SHOW(lseek(inside, 0, SEEK_SET));
    SHOW(copy_file_range(inside, NULL, append, NULL, 10, 0));
    SHOW(sendfile(append, inside, NULL, 10));
    int write_only = OPEN(open("sent", O_CREAT | O_WRONLY, 0644));
    from = 1000;
    SHOW(sendfile(write_only, inside, &from, 700001)); SHOW(from); SHOW(lseek(inside, 0, SEEK_CUR));
    SHOW(sendfile(write_only, other, NULL, 5));
    SHOW(lseek(other, 100, SEEK_SET));
    SHOW(sendfile(write_only, other, NULL, 2000000)); SHOW(lseek(other, 0, SEEK_CUR));
    SHOW(sendfile(write_only, other, NULL, 5000000));
    SHOW(sendfile(write_only, inside, (off_t *)8, 5));
    SHOW(sendfile(write_only, -1, NULL, 5));
    look("sent");
    int pipes[2];
    SHOW(pipe(pipes));
    SHOW(sendfile(write_only, pipes[0], NULL, 5) < 0);
    SHOW(write(pipes[1], bytes, 40000));
    SHOW(splice(pipes[0], NULL, write_only, NULL, 10000, 0));
    to = 70000;
    SHOW(splice(pipes[0], NULL, write_only, &to, 10000, SPLICE_F_MOVE)); SHOW(to);
    SHOW(splice(pipes[0], NULL, append, NULL, 10, 0));
    SHOW(splice(pipes[0], &to, write_only, NULL, 10, 0));
    SHOW(splice(inside, NULL, write_only, NULL, 10, 0));
    SHOW(splice(pipes[0], NULL, inside, NULL, 10, 0x1000));
    SHOW(splice(pipes[1], NULL, inside, NULL, 10, 0));
    SHOW(splice(pipes[0], NULL, write_only, NULL, 100000, 0));
    SHOW(splice(pipes[0], NULL, write_only, NULL, 10, SPLICE_F_NONBLOCK));
    to = -5;
    SHOW(splice(pipes[0], NULL, write_only, &to, 10, SPLICE_F_NONBLOCK));
    pid_t child = fork();
    if (!child) {
        for (size_t at = 0; at < sizeof bytes; at += 1000) if (write(pipes[1], bytes + at, 1000) != 1000) _exit(1);
        _exit(0);
    }
    spliced("from a writer", pipes[0], NULL, write_only, sizeof bytes, 0);
    ended("writer", child);
    SHOW(close(pipes[1]));
    SHOW(splice(pipes[0], NULL, write_only, NULL, 10, 0)); /* the end */
    look("sent");
    SHOW(lseek(inside, 0, SEEK_SET));
    SHOW(ioctl(write_only, FIDEDUPERANGE, NULL) < 0);
    SHOW(copy_file_range(inside, NULL, other, NULL, 500, 0)); /* outside: as ever */
    SHOW(sendfile(other, inside, NULL, 500));
    look("inside"); look("copied");
}
