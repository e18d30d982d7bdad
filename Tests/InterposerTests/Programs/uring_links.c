/* io_uring: chains. What a short write or an error does to what comes behind it. */
#include "show.h"
#include "rings.h"
#include <signal.h>
#include <sys/resource.h>

static struct io_uring ring;
static struct io_uring_sqe *entry(void) { return io_uring_get_sqe(&ring); }

static void pair(const char *what, int fd, int writer, unsigned link) {
    struct io_uring_sqe *e;
    e = entry(), io_uring_prep_write(e, writer, "write and fsync", 15, 100), named(e, 1, link);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 2, 0);
    ANSWER(io_uring_submit(&ring));
    results(what, &ring, 2);
}

static void three(const char *what, int first, int second, unsigned link, bool beside) {
    struct io_uring_sqe *e;
    e = entry(), io_uring_prep_write(e, first, "first", 5, 200), named(e, 1, link);
    e = entry(), io_uring_prep_write(e, second, "second", 6, 205), named(e, 2, link);
    e = entry(), io_uring_prep_fsync(e, second, IORING_FSYNC_DATASYNC), named(e, 3, 0);
    if (beside) e = entry(), io_uring_prep_write(e, second, "unlinked", 8, 300), named(e, 4, 0);
    ANSWER(io_uring_submit(&ring));
    results(what, &ring, 3 + beside);
}

static void test(void) {
    char path[4096];
    static char much[1 << 20];
    struct io_uring_sqe *e;
    snprintf(path, sizeof path, "%s/a", outside);
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), reader = OPEN(open("a", O_RDONLY)), other = open(path, O_CREAT | O_RDWR, 0644);
    int log = OPEN(open("log", O_CREAT | O_RDWR | O_APPEND, 0644));
    fill(much, sizeof much, 3);
    ANSWER(io_uring_queue_init(64, &ring, 0));
    int taken = 0;
    for (int round = 0; round < 40; round++) {
        e = entry(), io_uring_prep_write(e, fd, much + round, 4096, (uint64_t)round * 4096), named(e, 1, IOSQE_IO_LINK);
        e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 2, 0);
        if (round % 20 == 19) taken += io_uring_submit(&ring);
    }
    printf("many pairs: %d taken, %d bad\n", taken, ({
        int bad = 0;
        struct io_uring_cqe *c;
        for (int i = 0; i < taken; i++) {
            while (io_uring_wait_cqe(&ring, &c)) {}
            bad += c->res != (c->user_data == 1 ? 4096 : 0);
            io_uring_cqe_seen(&ring, c);
        }
        bad;
    }));
    pair("linked", fd, fd, IOSQE_IO_LINK);
    pair("hard", fd, fd, IOSQE_IO_HARDLINK);
    pair("broken", fd, reader, IOSQE_IO_LINK);
    pair("hard, not broken", fd, reader, IOSQE_IO_HARDLINK);
    pair("outside first", fd, other, IOSQE_IO_LINK);
    three("three", fd, fd, IOSQE_IO_LINK, true);
    three("three, hard", fd, fd, IOSQE_IO_HARDLINK, true);
    three("three, the first outside", other, fd, IOSQE_IO_LINK, true);
    three("three, all outside", other, other, IOSQE_IO_LINK, true);
    three("three, appended", log, log, IOSQE_IO_LINK, false);
    e = entry(), io_uring_prep_write(e, log, much, sizeof much, 0), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_fsync(e, log, 0), named(e, 2, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_renameat(e, AT_FDCWD, "log", AT_FDCWD, "renamed", 0), named(e, 3, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_unlinkat(e, AT_FDCWD, "none", 0), named(e, 4, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_mkdirat(e, AT_FDCWD, "made", 0700), named(e, 5, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_openat(e, AT_FDCWD, "none", O_RDONLY, 0), named(e, 6, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_mkdirat(e, AT_FDCWD, "never", 0700), named(e, 7, 0);
    ANSWER(io_uring_submit(&ring));
    results("written, flushed, renamed", &ring, 7);
    e = entry(), io_uring_prep_fallocate(e, fd, 99, 0, 10), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_mkdirat(e, AT_FDCWD, "never", 0700), named(e, 2, 0);
    ANSWER(io_uring_submit(&ring));
    results("allocated", &ring, 2);
    struct __kernel_timespec hour = {.tv_sec = 3600};
    e = entry(), io_uring_prep_write(e, fd, "in time", 7, 400), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_link_timeout(e, &hour, 0), named(e, 2, 0);
    ANSWER(io_uring_submit(&ring));
    results("with a time-out", &ring, 2);
    e = entry(), io_uring_prep_write(e, fd, "last of all, behind nothing", 27, 500), named(e, 1, IOSQE_IO_LINK);
    ANSWER(io_uring_submit(&ring));
    results("a link to nothing", &ring, 1);
    struct rlimit limit, before;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 300000;
    signal(SIGXFSZ, SIG_IGN);
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    e = entry(), io_uring_prep_write(e, fd, much, 100, 299950), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 2, 0);
    ANSWER(io_uring_submit(&ring));
    results("short", &ring, 2);
    e = entry(), io_uring_prep_write(e, fd, much, 100, 299950), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_write(e, fd, much, 10, 0), named(e, 2, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 3, 0);
    ANSWER(io_uring_submit(&ring));
    results("short, before a write", &ring, 3);
    SHOW(setrlimit(RLIMIT_FSIZE, &before));
    io_uring_queue_exit(&ring);
    look("a");
    look("renamed");
    look("made");
    look("never");
}
