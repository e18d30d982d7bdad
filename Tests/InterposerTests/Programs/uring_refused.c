/* io_uring: what is not captured is refused, each with its error; raw calls on the kernel's ring; a child's use of a ring. */
#include "show.h"
#include "rings.h"
#include <sys/mman.h>
#include <sys/syscall.h>

static struct io_uring ring;
static struct io_uring_sqe *entry(void) { return io_uring_get_sqe(&ring); }
static void flags(const char *what, unsigned flags) {
    struct io_uring other;
    show_answer(what, io_uring_queue_init(8, &other, flags));
}
#define FLAGS(f) flags(#f, f)
static void alone(const char *what, struct io_uring_sqe *e, unsigned flags) {
    named(e, 1, flags);
    io_uring_submit(&ring);
    results(what, &ring, 1);
}
#define ONE(prepare, flags) do { struct io_uring_sqe *e = entry(); prepare; alone(#prepare, e, flags); } while (0)

static void test(void) {
    static char much[1 << 20];
    struct io_uring_params p = {0};
    struct io_uring_sqe *e;
    FLAGS(IORING_SETUP_SQPOLL);
    FLAGS(IORING_SETUP_IOPOLL);
    FLAGS(IORING_SETUP_SQE128);
    FLAGS(IORING_SETUP_CQE32);
    FLAGS(IORING_SETUP_ATTACH_WQ);
    FLAGS(IORING_SETUP_R_DISABLED);
    FLAGS(1u << 30);
    int fd = open("a", O_CREAT | O_RDWR, 0644), log = open("log", O_CREAT | O_RDWR | O_APPEND, 0644), ends[2];
    if (pipe(ends) || write(ends[1], "0123456789", 10) != 10) return;
    alarm(30); /* plain it may wait */
    ANSWER(io_uring_queue_init(16, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
    /* Unknown numbers; known ones that would write unseen. */
    ONE(io_uring_prep_nop(e); e->opcode = 61, 0);
    ONE(io_uring_prep_nop(e); e->opcode = 255, 0);
    ONE(io_uring_prep_rw(IORING_OP_URING_CMD, e, fd, NULL, 0, 0), 0);
    ONE(io_uring_prep_msg_ring(e, ring.ring_fd, 1, 2, 0), 0);
    ONE(io_uring_prep_openat_direct(e, AT_FDCWD, "direct", O_CREAT | O_RDWR, 0644, 0), 0);
    ONE(io_uring_prep_splice(e, ends[0], -1, fd, 0, 10, 0), 0);
    ONE(io_uring_prep_write(e, fd, "drained", 7, 0), IOSQE_IO_DRAIN);
    ONE(io_uring_prep_write(e, fd, "other", 5, 0); e->personality = 1, 0);
    ONE(io_uring_prep_writev2(e, fd, (&(struct iovec){"x", 1}), 1, 0, 0x40), 0); /* RWF_ATOMIC */
    /* A write behind a read of its buffer. */
    e = entry(), io_uring_prep_read(e, fd, much, 10, 0), named(e, 1, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_write(e, fd, much, 10, 100), named(e, 2, IOSQE_IO_LINK);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 3, 0);
    e = entry(), io_uring_prep_write(e, fd, "on its own", 10, 200), named(e, 4, 0);
    io_uring_submit(&ring);
    results("a chain", &ring, 4);
    /* What can't be carried out without a number. */
    int files[] = {fd, log};
    ANSWER(io_uring_register_files(&ring, files, 2));
    fcntl(fd, F_SETFL, O_APPEND);
    ONE(io_uring_prep_write(e, 0, "flags", 5, 0), IOSQE_FIXED_FILE);
    fcntl(fd, F_SETFL, 0);
    ONE(io_uring_prep_write(e, 0, "flags", 5, 0), IOSQE_FIXED_FILE);
    close(log);
    ONE(io_uring_prep_write(e, 1, "appended", 8, 0), IOSQE_FIXED_FILE);
    close(fd);
    ONE(io_uring_prep_write(e, 0, much, sizeof much, 0), IOSQE_FIXED_FILE);
    ONE(io_uring_prep_fallocate(e, 0, 0, 0, 100), IOSQE_FIXED_FILE);
    ONE(io_uring_prep_write(e, 0, "short", 5, 300), IOSQE_FIXED_FILE);
    ANSWER(io_uring_register_personality(&ring));
    __u64 tag = 5;
    ANSWER(io_uring_register_buffers_tags(&ring, &(struct iovec){much, 4096}, &tag, 1));
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    printf("offered: write %d, command %d, message %d\n", io_uring_opcode_supported(probe, IORING_OP_WRITE),
           io_uring_opcode_supported(probe, IORING_OP_URING_CMD), io_uring_opcode_supported(probe, IORING_OP_MSG_RING));
    io_uring_free_probe(probe);
    /* Past the library. */
    SHOW(syscall(SYS_io_uring_setup, 8, &p));
    SHOW(syscall(SYS_io_uring_enter, ring.ring_fd, 0, 0, 0, NULL, 0));
    SHOW(syscall(SYS_io_uring_register, ring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0));
    ANSWER(io_uring_enter((unsigned)ring.ring_fd, 0, 0, 0, NULL));
    ANSWER(io_uring_setup(8, &p));
    ANSWER(io_uring_queue_mmap(ring.ring_fd, &p, &(struct io_uring){.flags = 0}));
    POINTER(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.ring_fd, IORING_OFF_SQ_RING));
    int copy = dup(ring.ring_fd);
    POINTER(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy, IORING_OFF_SQES));
    pid_t child = fork();
    if (child == 0) {
        struct io_uring own;
        struct io_uring_cqe *c;
        int file = open("child", O_CREAT | O_RDWR, 0644);
        e = entry(); /* none, or one that nobody looks at */
        if (e) io_uring_prep_write(e, file, "never", 5, 0);
        ANSWER(io_uring_submit(&ring));
        ANSWER(io_uring_wait_cqe(&ring, &c));
        io_uring_queue_exit(&ring);
        ANSWER(io_uring_queue_init(8, &own, 0));
        io_uring_prep_write(io_uring_get_sqe(&own), file, "its own", 7, 0);
        ANSWER(io_uring_submit_and_wait(&own, 1));
        io_uring_queue_exit(&own);
        _exit(0);
    }
    ended("child", child);
    ONE(io_uring_prep_write(e, 0, "the parent's goes on", 20, 400), IOSQE_FIXED_FILE);
    io_uring_queue_exit(&ring);
    look("a");
    look("log");
    look("child");
}
