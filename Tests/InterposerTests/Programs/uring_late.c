/* io_uring: no answer within the bound: the completion of an fsync or a durable write says EIO, in time. */
#include "show.h"
#include "rings.h"
#include <time.h>
static void test(void) {
    struct io_uring ring;
    struct io_uring_cqe *completion;
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), durable = OPEN(open("b", O_CREAT | O_RDWR | O_DSYNC, 0644));
    ANSWER(io_uring_queue_init(8, &ring, 0));
    struct io_uring_sqe *first = io_uring_get_sqe(&ring);
    io_uring_prep_write(first, fd, "data", 4, 0);
    named(first, 1, 0);
    ANSWER(io_uring_submit(&ring));
    results("a write", &ring, 1);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 2; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        if (i) io_uring_prep_write(entry, durable, "data", 4, 0);
        else io_uring_prep_fsync(entry, fd, 0);
        named(entry, 2 + (uint64_t)i, 0);
    }
    ANSWER(io_uring_submit_and_wait(&ring, 2));
    results("durable", &ring, 2);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    printf("in time: %s\n", seconds >= 0.25 && seconds < 1.9 ? "yes" : "no");
    printf("nothing more: %d\n", io_uring_peek_cqe(&ring, &completion) == -EAGAIN);
    io_uring_queue_exit(&ring);
}
