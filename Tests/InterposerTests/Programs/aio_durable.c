/* Linux AIO: durable writes and fsyncs, in every way in which a write can be durable. */
#include "show.h"
#include "linux_aio.h"
#include <signal.h>
#include <sys/time.h>

#ifndef RWF_DSYNC
#define RWF_DSYNC 2
#endif

static aio_context_t context;
static _Atomic long alarms;
static void on_alarm(int number) { alarms += number > 0; }

static void durable(const char *path, int flags, int rwf) {
    enum { COUNT = 200 };
    static char bytes[COUNT][1024];
    static struct iocb blocks[COUNT];
    struct iocb *list[COUNT];
    int fd = open(path, O_CREAT | O_RDWR | flags, 0644);
    struct io_event events[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fill(bytes[i], sizeof bytes[i], (unsigned)i);
        blocks[i] = i % 20 == 19 ? block(IOCB_CMD_FDSYNC, fd, NULL, 0, 0) : block(IOCB_CMD_PWRITE, fd, bytes[i], sizeof bytes[i], i * 1024);
        if (i % 20 != 19) blocks[i].aio_rw_flags = rwf;
        list[i] = &blocks[i];
    }
    long done = 0, bad = 0;
    while (done < COUNT) {
        long more = submit(context, COUNT - done, list + done);
        if (more < 0 && errno != EAGAIN) break;
        done += more > 0 ? more : 0;
    }
    long got = reap(context, done, events);
    for (long i = 0; i < got; i++) bad += events[i].res != (long)((struct iocb *)(uintptr_t)events[i].obj)->aio_nbytes;
    printf("%s: %ld submitted, %ld events, %ld bad\n", path, done, got, bad);
    look(path);
}

static void test(void) {
    SHOW(setup(256, &context));
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
    struct iocb directory = block(IOCB_CMD_FSYNC, open(".", O_RDONLY), NULL, 0, 0), *list[] = {&directory};
    SHOW(submit(context, 1, list));
    results("a directory", context, &directory, 1);
    /* Reaped before anything else is asked of the library, and not at all. */
    int fd = open("dsync", O_RDWR | O_DSYNC);
    struct iocb last = block(IOCB_CMD_PWRITE, fd, "last", 4, 0);
    list[0] = &last;
    SHOW(submit(context, 1, list));
    SHOW(fsync(fd));
    SHOW(destroy(context));
    look("dsync");
}
