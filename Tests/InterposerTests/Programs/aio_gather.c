/* Linux AIO: a thread that waits for more events than its process has space for: what it has taken while it waits must give its
   space back, else the others can't be submitted. And what io_getevents says when its time is over or a signal comes. */
#include "show.h"
#include "linux_aio.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

enum { MANY = 12, FIRST = 4, SIZE = 256 * 1024 };
static aio_context_t context;
static char space[MANY][SIZE] __attribute__((aligned(4096)));
static struct iocb blocks[MANY];
static struct io_event events[MANY];

static void *gather(void *unused) {
    (void)unused;
    return (void *)syscall(SYS_io_getevents, context, (long)MANY, (long)MANY, events, NULL);
}

/* The kernel's ring: events that nobody has taken. */
static unsigned waiting(void) {
    volatile unsigned *ring = (unsigned *)context;
    return (ring[3] + ring[1] - ring[2]) % ring[1];
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void nothing(int signal) { (void)signal; }

static void test(void) {
    pthread_t thread;
    void *got;
    /* The kernel returns before the end of a write only where the file has its space. */
    static char zeros[MANY * SIZE];
    int file = open("gathered", O_CREAT | O_RDWR, 0644);
    SHOW(write(file, zeros, sizeof zeros));
    SHOW(fsync(file));
    file = open("gathered", O_CREAT | O_RDWR | O_DIRECT | O_DSYNC, 0644);
    if (file < 0) file = open("gathered", O_CREAT | O_RDWR, 0644);
    SHOW(setup(64, &context));
    struct iocb *list[MANY];
    for (int i = 0; i < MANY; i++) {
        fill(space[i], SIZE, (unsigned)i);
        blocks[i] = block(IOCB_CMD_PWRITE, file, space[i], SIZE, (long)i * SIZE);
        list[i] = &blocks[i];
    }
    /* As many bytes as a process can have in flight have ended, and are taken by a thread that waits for more. */
    SHOW(submit(context, FIRST, list));
    while (waiting() < FIRST) sched_yield();
    pthread_create(&thread, NULL, gather, NULL);
    while (waiting() > 0) sched_yield();
    double start = seconds();
    long done = FIRST;
    while (done < MANY) {
        long more = submit(context, MANY - done, list + done);
        if (more <= 0) {
            printf("submit: %ld %s\n", more, strerrorname_np(errno));
            break;
        }
        done += more;
    }
    printf("submitted: %ld, %s\n", done, seconds() - start < 5 ? "at once" : "late");
    if (done < MANY) exit(1);
    pthread_join(thread, &got);
    long good = 0;
    for (long i = 0; i < (long)got; i++) {
        struct iocb *of = (struct iocb *)(uintptr_t)events[i].obj;
        good += of >= blocks && of < blocks + MANY && events[i].res == SIZE;
    }
    printf("gathered: %ld, %ld good\n", (long)got, good);

    /* Its own time-out: with some, with none; it counts from the call. */
    struct iocb *three[] = {&blocks[0], &blocks[1], &blocks[2]};
    struct timespec bound = {.tv_nsec = 200000000}, none = {0};
    SHOW(submit(context, 3, three));
    while (waiting() < 3) sched_yield();
    start = seconds();
    SHOW(syscall(SYS_io_getevents, context, 5L, 10L, events, &bound));
    double took = seconds() - start;
    printf("after %s\n", took < 0.19 ? "too short a time" : took < 2 ? "its time" : "too long a time");
    SHOW(syscall(SYS_io_getevents, context, 1L, 10L, events, &bound));
    SHOW(syscall(SYS_io_getevents, context, 2L, 10L, events, &none));
    SHOW(submit(context, 3, three));
    while (waiting() < 3) sched_yield();
    SHOW(syscall(SYS_io_getevents, context, 2L, 10L, events, &none));
    SHOW(submit(context, 3, three));
    while (waiting() < 3) sched_yield();
    SHOW(syscall(SYS_io_getevents, context, 0L, 10L, events, NULL));
    SHOW(syscall(SYS_io_getevents, context, 3L, 2L, events, NULL));
    SHOW(syscall(SYS_io_getevents, context, -1L, 2L, events, NULL));
    SHOW(syscall(SYS_io_getevents, context, 1L, 2L, events, (void *)8));
    SHOW(submit(context, 2, three));
    while (waiting() < 2) sched_yield();
    SHOW(syscall(SYS_io_getevents, context, 1L, 2L, (void *)8, NULL));
    SHOW(syscall(SYS_io_getevents, context, 2L, 2L, events, NULL));

    /* A signal ends the waiting: with what there is, else EINTR. */
    struct sigaction action = {.sa_handler = nothing};
    struct itimerval timer = {.it_value.tv_usec = 100000};
    sigaction(SIGALRM, &action, NULL);
    SHOW(submit(context, 3, three));
    while (waiting() < 3) sched_yield();
    setitimer(ITIMER_REAL, &timer, NULL);
    SHOW(syscall(SYS_io_getevents, context, 5L, 10L, events, NULL));
    setitimer(ITIMER_REAL, &timer, NULL);
    SHOW(syscall(SYS_io_getevents, context, 5L, 10L, events, NULL));
    SHOW(destroy(context));
    look("gathered");
}
