/* io_uring: durable writes and fsyncs, in every way in which a write can be durable. */
#include "show.h"
#include "rings.h"
#include <signal.h>
#include <sys/time.h>

static struct io_uring ring;
static _Atomic long alarms;
static void on_alarm(int number) { alarms += number > 0; }

static void durable(const char *path, int flags, int rwf) {
    enum { COUNT = 200 };
    static char bytes[COUNT][1024];
    int fd = open(path, O_CREAT | O_RDWR | flags, 0644);
    long done = 0, got = 0, bad = 0;
    for (int i = 0; i < COUNT; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        fill(bytes[i], sizeof bytes[i], (unsigned)i);
        if (i % 20 == 19) io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
        else io_uring_prep_write(entry, fd, bytes[i], sizeof bytes[i], (uint64_t)i * 1024);
        if (i % 20 != 19) entry->rw_flags = rwf;
        named(entry, i % 20 == 19 ? 0 : 1024, 0);
    }
    while (done < COUNT) {
        int more = io_uring_submit(&ring);
        if (more < 0 && more != -EAGAIN) break;
        done += more > 0 ? more : 0;
    }
    while (got < done) {
        struct io_uring_cqe *completion;
        if (io_uring_wait_cqe(&ring, &completion)) continue;
        bad += completion->res != (int)completion->user_data;
        io_uring_cqe_seen(&ring, completion);
        got++;
    }
    printf("%s: %ld submitted, %ld completions, %ld bad\n", path, done, got, bad);
    look(path);
}

static void test(void) {
    ANSWER(io_uring_queue_init(256, &ring, 0));
    durable("dsync", O_DSYNC, 0);
    durable("sync", O_SYNC, 0);
    durable("flag", 0, RWF_DSYNC);
    durable("plain", 0, 0);
    /* A handler is called while answers are waited for. */
    signal(SIGALRM, on_alarm);
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    durable("interrupted", O_DSYNC, 0);
    setitimer(ITIMER_REAL, &never, NULL);
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_fsync(entry, open(".", O_RDONLY), 0);
    named(entry, 1, 0);
    ANSWER(io_uring_submit(&ring));
    results("a directory", &ring, 1);
    /* One that ends while its answer is waited for. The bytes are those that are there: whether it takes place before its ring ends
       is the kernel's business. */
    int fd = open("dsync", O_RDWR | O_DSYNC);
    static char same[4];
    if (pread(fd, same, 4, 0) != 4) printf("not read\n");
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_write(entry, fd, same, 4, 0);
    ANSWER(io_uring_submit(&ring));
    SHOW(fsync(fd));
    io_uring_queue_exit(&ring);
    look("dsync");
}
