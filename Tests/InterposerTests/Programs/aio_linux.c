/* Linux AIO: every operation, errors at submission and at completion, what is in the events; files outside too. */
#include "show.h"
#include "linux_aio.h"
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

static aio_context_t context;

static void one(const char *what, struct iocb given) {
    struct iocb *list[] = {&given};
    given.aio_data = 0x5150;
    if (show(what, submit(context, 1, list)) == 1) results(what, context, &given, 1);
}
#define ONE(given) one(#given, given)

static void mixed(int fd) {
    static char bytes[6][4096], back[8192];
    for (int i = 0; i < 6; i++) fill(bytes[i], 4096, (unsigned)i + 1);
    struct iovec vector[] = {{bytes[3], 1000}, {bytes[4], 3000}, {bytes[5], 1}};
    struct iocb blocks[] = {
        block(IOCB_CMD_PWRITE, fd, bytes[0], 4096, 0),
        block(IOCB_CMD_PREAD, fd, back, 100, 0),
        block(IOCB_CMD_PWRITEV, fd, vector, 3, 10000),
        block(IOCB_CMD_PWRITE, fd, bytes[1], 17, 4096),
        block(IOCB_CMD_FDSYNC, fd, NULL, 0, 0),
        block(IOCB_CMD_FSYNC, fd, NULL, 0, 0),
    };
    struct iocb *list[6];
    for (int i = 0; i < 6; i++) {
        blocks[i].aio_data = 0xa0 + (unsigned)i;
        list[i] = &blocks[i];
    }
    SHOW(submit(context, 6, list));
    results("mixed", context, blocks, 6);
    /* A second time: blocks and lists are the application's. */
    SHOW(submit(context, 6, list));
    results("again", context, blocks, 6);
    printf("buffers: %d\n", blocks[0].aio_buf == (uintptr_t)bytes[0] && blocks[2].aio_buf == (uintptr_t)vector && blocks[2].aio_nbytes == 3);
}

static void partial(int fd, int reader) {
    struct iocb blocks[] = {
        block(IOCB_CMD_PWRITE, fd, "first", 5, 20000), block(IOCB_CMD_PWRITE, fd, "second", 6, 20010),
        block(IOCB_CMD_PWRITE, reader, "bad", 3, 20020), block(IOCB_CMD_PWRITE, fd, "never", 5, 20030),
    };
    struct iocb *list[] = {&blocks[0], &blocks[1], &blocks[2], &blocks[3]};
    SHOW(submit(context, 4, list));
    results("partial", context, blocks, 2);
    SHOW(submit(context, 2, list + 2));
    list[1] = NULL;
    SHOW(submit(context, 3, list));
    results("a bad address", context, blocks, 1);
    SHOW(submit(context, 1, NULL));
    SHOW(submit(context, 0, NULL));
    SHOW(submit(context, -1, list));
    SHOW(submit(12345, 1, list));
    SHOW(submit(0, 1, list));
}

static void errors(int fd, int reader) {
    struct iovec bad[] = {{"good", 4}, {(void *)16, 4}};
    ONE(block(IOCB_CMD_PWRITE, -1, "x", 1, 0));
    ONE(block(IOCB_CMD_PWRITE, reader, "x", 1, 0));
    ONE(block(IOCB_CMD_PWRITE, fd, "x", 1, -5));
    ONE(block(IOCB_CMD_PWRITE, fd, (void *)16, 4, 0));
    ONE(block(IOCB_CMD_PWRITEV, fd, (void *)16, 1, 0));
    ONE(block(IOCB_CMD_PWRITEV, fd, bad, 5000, 0));
    ONE(block(IOCB_CMD_PWRITEV, fd, bad, 0, 0));
    ONE(block(IOCB_CMD_PWRITE, fd, "", 0, 5));
    ONE(block(99, fd, "x", 1, 0));
    ONE(block(IOCB_CMD_FSYNC, fd, NULL, 5, 0));
    ONE(block(IOCB_CMD_FSYNC, -1, NULL, 0, 0));
    struct iocb reserved = block(IOCB_CMD_PWRITE, fd, "same", 4, 30000);
    reserved.aio_reserved2 = 1;
    ONE(reserved);
    struct iocb sized = block(IOCB_CMD_PWRITE, fd, "0123456789", 10, 39995);
    struct rlimit limit, before;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 40000;
    signal(SIGXFSZ, SIG_IGN);
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    ONE(sized);
    sized.aio_offset = 40000;
    ONE(sized);
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
    ONE(block(IOCB_CMD_PWRITE, fd, bytes, 4096, 0));
    ONE(block(IOCB_CMD_PWRITE, fd, bytes, 512, 4096));
    ONE(block(IOCB_CMD_PWRITE, fd, bytes, 512 << 10, 1 << 20));
    ONE(block(IOCB_CMD_PWRITE, fd, bytes, 3 << 20, 4 << 20));
    struct iovec vector[] = {{bytes + 4096, 4096}, {bytes + 65536, 8192}};
    ONE(block(IOCB_CMD_PWRITEV, fd, vector, 2, 8192));
    ONE(block(IOCB_CMD_PREAD, fd, bytes, 4096, 8192));
    look("direct");
    free(bytes);
}

static void appending(void) {
    int fd = OPEN(open("log", O_CREAT | O_WRONLY | O_APPEND, 0644));
    static char much[2 << 20];
    fill(much, sizeof much, 9);
    struct iocb blocks[] = {block(IOCB_CMD_PWRITE, fd, "one", 3, 0), block(IOCB_CMD_PWRITE, fd, "two", 3, 0),
                            block(IOCB_CMD_PWRITE, fd, much, sizeof much, 100), block(IOCB_CMD_FDSYNC, fd, NULL, 0, 0),
                            block(IOCB_CMD_PWRITE, fd, "last", 4, 0)};
    struct iocb *list[] = {&blocks[0], &blocks[1], &blocks[2], &blocks[3], &blocks[4]};
    SHOW(submit(context, 5, list));
    results("appends", context, blocks, 5);
    look("log");
}

static void signalled(int fd) {
    int event = eventfd(0, 0);
    uint64_t count = 0;
    static char much[1 << 20];
    fill(much, sizeof much, 10);
    struct iocb blocks[] = {block(IOCB_CMD_PWRITE, fd, "eventfd", 7, 50000), block(IOCB_CMD_PWRITE, fd, much, sizeof much, 60000)};
    struct iocb *list[] = {&blocks[0], &blocks[1]};
    for (int i = 0; i < 2; i++) {
        blocks[i].aio_flags = IOCB_FLAG_RESFD;
        blocks[i].aio_resfd = (unsigned)event;
    }
    SHOW(submit(context, 2, list));
    for (uint64_t more; count < 2 && read(event, &more, 8) == 8;) count += more;
    printf("signalled %lu\n", count);
    results("eventfd", context, blocks, 2);
    blocks[0].aio_resfd = (unsigned)fd;
    SHOW(submit(context, 1, list));
}

static void test(void) {
    char path[4096];
    struct timespec none = {0};
    struct io_event event;
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), reader = OPEN(open("a", O_RDONLY));
    snprintf(path, sizeof path, "%s/a", outside);
    int other = open(path, O_CREAT | O_RDWR, 0644);
    SHOW(setup(0, &context));
    SHOW(setup(64, &context));
    aio_context_t second = context;
    SHOW(setup(64, &second));
    printf("no events: %ld\n", syscall(SYS_io_getevents, context, 0, 1, &event, &none));
    mixed(fd);
    puts("outside:");
    mixed(other);
    partial(fd, reader);
    errors(fd, reader);
    directly();
    appending();
    signalled(fd);
    struct iocb cancelled = block(IOCB_CMD_PWRITE, fd, "not cancelled", 13, 70000), *list[] = {&cancelled};
    SHOW(submit(context, 1, list));
    SHOW(syscall(SYS_io_cancel, context, &cancelled, &event));
    results("cancelled", context, &cancelled, 1);
    printf("no events: %ld\n", syscall(SYS_io_pgetevents, context, 0, 1, &event, &none, NULL));
    SHOW(destroy(context));
    SHOW(destroy(context));
    SHOW(submit(context, 1, list));
    SHOW(syscall(SYS_io_getevents, context, 0, 1, &event, &none));
    look("a");
}
