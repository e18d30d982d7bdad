/* io_uring: the ways to wait and to look: time-outs, batches, eventfd, epoll; reads, polls and the network go by. */
#include "show.h"
#include "rings.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static struct io_uring ring;
static struct io_uring_sqe *entry(void) { return io_uring_get_sqe(&ring); }
static void put(int fd, uint64_t name) {
    struct io_uring_sqe *e = entry();
    io_uring_prep_write(e, fd, "some bytes", 10, name * 10);
    named(e, name, 0);
}

static void test(void) {
    struct io_uring_cqe *c = NULL, *batch[8];
    struct __kernel_timespec soon = {.tv_nsec = 20000000}, none = {0};
    struct io_uring_sqe *e;
    char back[64] = "";
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), sockets[2], ends[2];
    int answer = io_uring_queue_init_params(5, &ring, &(struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN, .cq_entries = 16});
    printf("%d: %u entries, %u completions\n", answer, ring.sq.ring_entries, ring.cq.ring_entries);
    ANSWER(io_uring_peek_cqe(&ring, &c));
    ANSWER(io_uring_wait_cqe_timeout(&ring, &c, &soon));
    ANSWER(io_uring_wait_cqe_timeout(&ring, &c, &none));
    printf("%u in a batch\n", io_uring_peek_batch_cqe(&ring, batch, 8));
    ANSWER(io_uring_get_events(&ring));
    for (unsigned i = 0; i < 8; i++) put(fd, i);
    printf("full: %d, %u ready, %u left\n", entry() == NULL, io_uring_sq_ready(&ring), io_uring_sq_space_left(&ring));
    ANSWER(io_uring_submit_and_wait(&ring, 8));
    printf("%u ready\n", io_uring_cq_ready(&ring));
    printf("%u in a batch\n", io_uring_peek_batch_cqe(&ring, batch, 4));
    results("by eight", &ring, 8);
    for (unsigned i = 0; i < 3; i++) put(fd, i);
    answer = io_uring_submit_and_wait_timeout(&ring, &c, 3, &soon, NULL);
    printf("submit_and_wait_timeout: %d, %d\n", answer < 0 ? answer : 0, c != NULL);
    results("by three", &ring, 3);
    answer = io_uring_submit_and_wait_timeout(&ring, &c, 1, &soon, NULL);
    printf("submit_and_wait_timeout: %d, %d\n", answer, c != NULL);
    put(fd, 9);
    ANSWER(io_uring_submit_and_get_events(&ring));
    ANSWER(io_uring_wait_cqes(&ring, &c, 1, &soon, NULL));
    results("one", &ring, 1);

    /* More completions than the ring holds. */
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 8; i++) put(fd, round * 8 + i);
        ANSWER(io_uring_submit(&ring));
    }
    results("forty", &ring, 40);

    /* eventfd and epoll */
    int event = eventfd(0, 0), poll = epoll_create1(0);
    uint64_t count = 0;
    ANSWER(io_uring_register_eventfd(&ring, event));
    for (unsigned i = 0; i < 4; i++) put(fd, i);
    e = entry(), io_uring_prep_mkdirat(e, AT_FDCWD, "made", 0700), named(e, 4, 0);
    ANSWER(io_uring_submit(&ring));
    for (uint64_t more; count < 5 && read(event, &more, 8) == 8;) count += more;
    printf("signalled %lu\n", count);
    results("eventfd", &ring, 5);
    ANSWER(io_uring_unregister_eventfd(&ring));
    struct epoll_event ready = {.events = EPOLLIN};
    SHOW(epoll_ctl(poll, EPOLL_CTL_ADD, ring.ring_fd, &ready));
    SHOW(epoll_wait(poll, &ready, 1, 0));
    put(fd, 1);
    ANSWER(io_uring_submit(&ring));
    SHOW(epoll_wait(poll, &ready, 1, 10000));
    results("epoll", &ring, 1);
    SHOW(epoll_wait(poll, &ready, 1, 0));

    /* What is not of files goes as it is, names and all. */
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || pipe(ends)) return;
    e = entry(), io_uring_prep_recv(e, sockets[1], back, sizeof back, 0), named(e, 1, 0);
    e = entry(), io_uring_prep_poll_add(e, ends[0], POLLIN), named(e, 2, 0);
    e = entry(), io_uring_prep_poll_add(e, ends[0], POLLIN), named(e, 3, 0);
    ANSWER(io_uring_submit(&ring));
    e = entry(), io_uring_prep_send(e, sockets[0], "by a socket", 11, 0), named(e, 4, 0);
    e = entry(), io_uring_prep_poll_remove(e, 3), named(e, 5, 0);
    e = entry(), io_uring_prep_write(e, ends[1], "by a pipe", 9, 0), named(e, 6, 0);
    e = entry(), io_uring_prep_timeout(e, &soon, 0, 0), named(e, 7, 0);
    e = entry(), io_uring_prep_cancel64(e, 55, 0), named(e, 8, 0);
    ANSWER(io_uring_submit(&ring));
    results("others", &ring, 8);
    puts(back);
    e = entry(), io_uring_prep_provide_buffers(e, back, 16, 4, 7, 0), named(e, 1, 0);
    ANSWER(io_uring_submit(&ring));
    results("buffers", &ring, 1);
    e = entry(), io_uring_prep_read(e, fd, NULL, 16, 0), named(e, 1, IOSQE_BUFFER_SELECT);
    e->buf_group = 7;
    ANSWER(io_uring_submit(&ring));
    results("selected", &ring, 1);
    printf("dontfork: %d\n", io_uring_ring_dontfork(&ring));
    io_uring_queue_exit(&ring);
    look("a");
}
