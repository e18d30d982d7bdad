/* io_uring: registered files and buffers. */
#include "show.h"
#include "rings.h"
#include <sys/uio.h>

static struct io_uring ring;
static struct io_uring_sqe *entry(void) { return io_uring_get_sqe(&ring); }
static void alone(const char *what, struct io_uring_sqe *e, unsigned flags) {
    named(e, 1, flags);
    int answer = io_uring_submit(&ring);
    if (answer != 1) show_answer(what, answer);
    results(what, &ring, 1);
}
#define FIXED(prepare) do { struct io_uring_sqe *e = entry(); prepare; alone(#prepare, e, IOSQE_FIXED_FILE); } while (0)
#define PLAIN(prepare) do { struct io_uring_sqe *e = entry(); prepare; alone(#prepare, e, 0); } while (0)

static void test(void) {
    static char bytes[4][8192];
    char path[4096];
    snprintf(path, sizeof path, "%s/o", outside);
    for (unsigned i = 0; i < 4; i++) fill(bytes[i], sizeof bytes[i], i);
    int a = OPEN(open("a", O_CREAT | O_RDWR, 0644)), b = OPEN(open("b", O_CREAT | O_RDWR, 0644)), o = open(path, O_CREAT | O_RDWR, 0644);
    int log = OPEN(open("log", O_CREAT | O_RDWR | O_APPEND, 0644)), ends[2];
    if (pipe(ends)) return;
    int files[] = {a, b, o, -1, log, ends[1]}, nothing = -1, many[3] = {b, -1, IORING_REGISTER_FILES_SKIP};
    ANSWER(io_uring_queue_init(16, &ring, 0));
    FIXED(io_uring_prep_write(e, 0, "none", 4, 0));
    ANSWER(io_uring_register_files_update(&ring, 0, files, 1));
    ANSWER(io_uring_unregister_files(&ring));
    ANSWER(io_uring_register_files(&ring, files, 6));
    ANSWER(io_uring_register_files(&ring, files, 6));
    FIXED(io_uring_prep_write(e, 0, bytes[0], 8192, 0));
    FIXED(io_uring_prep_write(e, 1, bytes[1], 100, 50));
    FIXED(io_uring_prep_write(e, 2, bytes[1], 100, 50));
    FIXED(io_uring_prep_write(e, 3, bytes[1], 100, 50));
    FIXED(io_uring_prep_write(e, 6, bytes[1], 100, 50));
    FIXED(io_uring_prep_write(e, 4, "appended", 8, 0));
    FIXED(io_uring_prep_write(e, 5, "into a pipe", 11, 0));
    FIXED(io_uring_prep_fsync(e, 0, 0));
    FIXED(io_uring_prep_fsync(e, 4, IORING_FSYNC_DATASYNC));
    FIXED(io_uring_prep_fallocate(e, 1, 0, 0, 65536));
    FIXED(io_uring_prep_fsetxattr(e, 1, "user.x", "y", 0, 1));
    /* A file stays registered when its descriptor is closed, and its number means something else. */
    close(a);
    int c = open("c", O_CREAT | O_RDWR, 0644);
    printf("the same number: %d\n", c == a);
    FIXED(io_uring_prep_write(e, 0, "to a", 4, 10000));
    FIXED(io_uring_prep_fsync(e, 0, 0));
    PLAIN(io_uring_prep_write(e, c, "to c", 4, 0));
    SHOW(rename("a", "moved"));
    FIXED(io_uring_prep_write(e, 0, "moved", 5, 20000));
    /* Out of the tree, and what it means is looked at again. */
    snprintf(path, sizeof path, "%s/moved", outside);
    SHOW(unlink("moved"));
    FIXED(io_uring_prep_write(e, 0, "gone", 4, 20000));
    ANSWER(io_uring_register_files_update(&ring, 0, &nothing, 1));
    FIXED(io_uring_prep_write(e, 0, "none", 4, 0));
    ANSWER(io_uring_register_files_update(&ring, 0, many, 3));
    FIXED(io_uring_prep_write(e, 0, "to b", 4, 300));
    FIXED(io_uring_prep_write(e, 1, "none", 4, 0));
    ANSWER(io_uring_register_files_update(&ring, 5, many, 3));
    ANSWER(io_uring_register_files_update(&ring, 0, (int *)16, 1));
    PLAIN(io_uring_prep_files_update(e, &log, 1, 3));
    FIXED(io_uring_prep_write(e, 3, "more", 4, 0));
    PLAIN(io_uring_prep_close_direct(e, 3));
    PLAIN(io_uring_prep_close_direct(e, 3));
    PLAIN(io_uring_prep_close_direct(e, 99));
    FIXED(io_uring_prep_write(e, 3, "none", 4, 0));
    ANSWER(io_uring_unregister_files(&ring));
    ANSWER(io_uring_unregister_files(&ring));
    ANSWER(io_uring_register_files_sparse(&ring, 4));
    ANSWER(io_uring_register_files_update(&ring, 2, &b, 1));
    FIXED(io_uring_prep_write(e, 2, "sparse", 6, 400));
    struct iovec buffers[] = {{bytes[2], 8192}, {bytes[3], 4096}};
    ANSWER(io_uring_register_buffers(&ring, buffers, 2));
    PLAIN(io_uring_prep_write_fixed(e, b, bytes[2] + 100, 1000, 1000, 0));
    PLAIN(io_uring_prep_write_fixed(e, o, bytes[3], 1000, 1000, 1));
    FIXED(io_uring_prep_write_fixed(e, 2, bytes[3], 4096, 4096, 1));
    PLAIN(io_uring_prep_read_fixed(e, b, bytes[2], 10, 0, 0));
    ANSWER(io_uring_unregister_buffers(&ring));
    ANSWER(io_uring_unregister_buffers(&ring));
    /* POSIX locks are not lost by what the library keeps, and closes. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    SHOW(fcntl(b, F_SETLK, &lock));
    ANSWER(io_uring_unregister_files(&ring));
    io_uring_queue_exit(&ring);
    pid_t child = fork();
    if (child == 0) {
        SHOW(fcntl(b, F_SETLK, &lock));
        _exit(0);
    }
    ended("child", child);
    look("b");
    look("c");
    look("log");
}
