/* io_uring: every operation, and errors as the kernel gives them; files outside too. */
#include "show.h"
#include "rings.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static struct io_uring ring;
static int outside_reader;

static struct io_uring_sqe *entry(void) { return io_uring_get_sqe(&ring); }
static void alone(const char *what) {
    int answer = io_uring_submit(&ring);
    if (answer != 1) show_answer(what, answer);
    results(what, &ring, 1);
}
#define ONE(prepare)                             \
    do {                                         \
        struct io_uring_sqe *e = entry();        \
        prepare;                                 \
        named(e, 7, 0);                          \
        alone(#prepare);                         \
    } while (0)

static void mixed(int fd) {
    static char bytes[6][4096], back[8192];
    for (unsigned i = 0; i < 6; i++) fill(bytes[i], 4096, i + 1);
    struct iovec vector[] = {{bytes[3], 1000}, {bytes[4], 3000}, {bytes[5], 1}};
    for (int again = 0; again < 2; again++) {
        struct io_uring_sqe *e;
        e = entry(), io_uring_prep_write(e, fd, bytes[0], 4096, 0), named(e, 0, 0);
        e = entry(), io_uring_prep_read(e, outside_reader, back, 100, 0), named(e, 1, 0);
        e = entry(), io_uring_prep_writev(e, fd, vector, 3, 10000), named(e, 2, 0);
        e = entry(), io_uring_prep_write(e, fd, bytes[1], 17, 4096), named(e, 3, IOSQE_ASYNC);
        e = entry(), io_uring_prep_fsync(e, fd, IORING_FSYNC_DATASYNC), named(e, 4, 0);
        e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 5, 0);
        e = entry(), io_uring_prep_nop(e), named(e, 6, 0);
        e = entry(), io_uring_prep_writev2(e, fd, vector, 2, 20000, RWF_DSYNC), named(e, 7, 0);
        ANSWER(io_uring_submit(&ring));
        results("mixed", &ring, 8);
    }
}

static void errors(int fd, int reader) {
    struct iovec bad[] = {{"good", 4}, {(void *)16, 4}};
    ONE(io_uring_prep_write(e, -1, "x", 1, 0));
    ONE(io_uring_prep_write(e, 999, "x", 1, 0));
    ONE(io_uring_prep_write(e, reader, "x", 1, 0));
    ONE(io_uring_prep_write(e, fd, "x", 1, (uint64_t)-5));
    ONE(io_uring_prep_write(e, fd, (void *)16, 4, 0));
    ONE(io_uring_prep_writev(e, fd, (void *)16, 1, 0));
    ONE(io_uring_prep_writev(e, fd, bad, 5000, 0));
    ONE(io_uring_prep_writev(e, fd, bad, 0, 0));
    ONE(io_uring_prep_writev(e, fd, bad, 2, 40));
    ONE(io_uring_prep_write(e, fd, "", 0, 5));
    ONE(io_uring_prep_fsync(e, -1, 0));
    ONE(io_uring_prep_fsync(e, fd, 77));
    ONE(io_uring_prep_write(e, fd, "selected", 8, 0); e->flags |= IOSQE_BUFFER_SELECT);
    ONE(io_uring_prep_write(e, 3000, "fixed", 5, 0); e->flags |= IOSQE_FIXED_FILE);
    struct rlimit limit, before;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 40000;
    signal(SIGXFSZ, SIG_IGN);
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    ONE(io_uring_prep_write(e, fd, "0123456789", 10, 39995));
    ONE(io_uring_prep_write(e, fd, "0123456789", 10, 40000));
    SHOW(setrlimit(RLIMIT_FSIZE, &before));
}

static void directly(void) {
    char *bytes;
    int fd = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0644);
    if (fd < 0 && errno == EINVAL) {
        puts("no O_DIRECT here");
        return;
    }
    if (posix_memalign((void **)&bytes, 4096, 3 << 20)) return;
    fill(bytes, 3 << 20, 5);
    ONE(io_uring_prep_write(e, fd, bytes, 4096, 0));
    ONE(io_uring_prep_write(e, fd, bytes, 512 << 10, 1 << 20));
    ONE(io_uring_prep_write(e, fd, bytes, 3 << 20, 4 << 20));
    struct iovec vector[] = {{bytes + 4096, 4096}, {bytes + 65536, 8192}};
    ONE(io_uring_prep_writev(e, fd, vector, 2, 8192));
    ONE(io_uring_prep_read(e, fd, bytes, 4096, 8192));
    look("direct");
    free(bytes);
}

static void appending(void) {
    int fd = OPEN(open("log", O_CREAT | O_WRONLY | O_APPEND, 0644)), plain = OPEN(open("position", O_CREAT | O_RDWR, 0644));
    static char much[2 << 20];
    fill(much, sizeof much, 9);
    ONE(io_uring_prep_write(e, fd, "one", 3, 0));
    ONE(io_uring_prep_write(e, fd, "two", 3, (uint64_t)-1));
    ONE(io_uring_prep_write(e, fd, much, sizeof much, 100));
    ONE(io_uring_prep_fsync(e, fd, 0));
    ONE(io_uring_prep_write(e, plain, "here", 4, (uint64_t)-1));
    ONE(io_uring_prep_write(e, plain, "there", 5, (uint64_t)-1));
    SHOW(lseek(plain, 0, SEEK_CUR));
    ONE(io_uring_prep_writev2(e, plain, (&(struct iovec){"appended", 8}), 1, 0, RWF_APPEND));
    look("log");
    look("position");
}

static void names(void) {
    struct open_how how = {.flags = O_CREAT | O_RDWR | O_EXCL, .mode = 0600};
    struct io_uring_sqe *e = entry();
    io_uring_prep_openat(e, AT_FDCWD, "made", O_CREAT | O_RDWR, 0640);
    io_uring_submit(&ring);
    struct io_uring_cqe *completion;
    io_uring_wait_cqe(&ring, &completion);
    int fd = completion->res;
    io_uring_cqe_seen(&ring, completion);
    printf("opened: %d\n", fd > 2);
    SHOW(write(fd, "through it", 10));
    ONE(io_uring_prep_fallocate(e, fd, 0, 0, 100000));
    ONE(io_uring_prep_fallocate(e, fd, 3, 0, 4096));
    ONE(io_uring_prep_close(e, fd));
    ONE(io_uring_prep_close(e, 999));
    e = entry();
    io_uring_prep_openat2(e, AT_FDCWD, "made2", &how);
    io_uring_submit(&ring);
    io_uring_wait_cqe(&ring, &completion);
    printf("opened: %d\n", completion->res > 2);
    io_uring_cqe_seen(&ring, completion);
    ONE(io_uring_prep_openat2(e, AT_FDCWD, "made2", &how));
    ONE(io_uring_prep_openat(e, AT_FDCWD, "none", O_RDONLY, 0));
    ONE(io_uring_prep_mkdirat(e, AT_FDCWD, "directory", 0750));
    ONE(io_uring_prep_mkdirat(e, AT_FDCWD, "directory", 0750));
    ONE(io_uring_prep_symlinkat(e, "made", AT_FDCWD, "symlink"));
    ONE(io_uring_prep_linkat(e, AT_FDCWD, "made", AT_FDCWD, "directory/link", 0));
    ONE(io_uring_prep_renameat(e, AT_FDCWD, "made2", AT_FDCWD, "directory/moved", 0));
    ONE(io_uring_prep_renameat(e, AT_FDCWD, "made", AT_FDCWD, "directory/moved", RENAME_NOREPLACE));
    ONE(io_uring_prep_unlinkat(e, AT_FDCWD, "directory/moved", 0));
    ONE(io_uring_prep_unlinkat(e, AT_FDCWD, "directory", AT_REMOVEDIR));
    ONE(io_uring_prep_unlinkat(e, AT_FDCWD, "directory/link", 0));
    ONE(io_uring_prep_unlinkat(e, AT_FDCWD, "directory", AT_REMOVEDIR));
    ONE(io_uring_prep_unlinkat(e, AT_FDCWD, (char *)16, 0));
    ONE(io_uring_prep_setxattr(e, "user.one", "value", "made", 0, 5));
    ONE(io_uring_prep_fsetxattr(e, 999, "user.one", "value", 0, 5));
    fd = open("made", O_RDWR);
    ONE(io_uring_prep_fsetxattr(e, fd, "user.two", "other", XATTR_CREATE, 5));
    ONE(io_uring_prep_fsetxattr(e, fd, "user.two", "other", XATTR_CREATE, 5));
    char value[16] = "";
    ONE(io_uring_prep_fgetxattr(e, fd, "user.two", value, sizeof value));
    SHOW(getxattr("made", "user.one", value, sizeof value));
    look("made");
    look("symlink");
    look("directory");
}

static void quietly(int fd) {
    struct io_uring_sqe *e;
    e = entry(), io_uring_prep_write(e, fd, "quiet", 5, 60000), named(e, 1, IOSQE_CQE_SKIP_SUCCESS);
    e = entry(), io_uring_prep_write(e, -1, "quiet", 5, 60000), named(e, 2, IOSQE_CQE_SKIP_SUCCESS);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 3, IOSQE_CQE_SKIP_SUCCESS);
    e = entry(), io_uring_prep_mkdirat(e, AT_FDCWD, "quiet", 0700), named(e, 4, IOSQE_CQE_SKIP_SUCCESS);
    e = entry(), io_uring_prep_fsync(e, fd, 0), named(e, 5, 0);
    ANSWER(io_uring_submit_and_wait(&ring, 2));
    results("quiet", &ring, 2);
}

static void test(void) {
    char path[4096];
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), reader = OPEN(open("a", O_RDONLY));
    snprintf(path, sizeof path, "%s/a", outside);
    int other = open(path, O_CREAT | O_RDWR, 0644);
    outside_reader = open("/dev/zero", O_RDONLY);
    ANSWER(io_uring_queue_init(0, &ring, 0));
    ANSWER(io_uring_queue_init(64, &ring, 0));
    printf("%u entries, %u completions\n", ring.sq.ring_entries, ring.cq.ring_entries);
    ANSWER(io_uring_submit(&ring));
    mixed(fd);
    puts("outside:");
    mixed(other);
    errors(fd, reader);
    directly();
    appending();
    names();
    quietly(fd);
    io_uring_queue_exit(&ring);
    look("a");
}
