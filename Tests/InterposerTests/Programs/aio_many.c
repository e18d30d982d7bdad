/* varies: what changing buffers held. */
/* Linux AIO: 300 operations in flight, reaped by another thread; buffers that change after submission; a context that ends
   with operations in flight; two threads that submit; forked children. */
#include "show.h"
#include "linux_aio.h"
#include <pthread.h>
#include <sys/mman.h>

enum { MANY = 300, ROUNDS = 8, SIZE = 8192 };
static aio_context_t context;
static int file;
static char *space;

static void *reaper(void *expected) {
    struct io_event events[16];
    long left = (long)expected, bad = 0;
    while (left > 0) {
        long got = syscall(SYS_io_getevents, context, 1, 16, events, NULL);
        if (got < 0 && errno != EINTR) return (void *)-1;
        for (long i = 0; i < got; i++) {
            struct iocb *of = (struct iocb *)(uintptr_t)events[i].obj;
            bad += events[i].res != (long)of->aio_nbytes || events[i].data != (uint64_t)of->aio_offset;
        }
        left -= got > 0 ? got : 0;
    }
    return (void *)bad;
}

static void submit_all(struct iocb *blocks, long count) {
    struct iocb *list[count];
    for (long i = 0; i < count; i++) list[i] = &blocks[i];
    for (long done = 0; done < count;) {
        long more = submit(context, count - done, list + done);
        if (more < 0 && errno == EAGAIN) continue;
        if (more <= 0) {
            printf("submit: %ld %s\n", more, strerrorname_np(errno));
            return;
        }
        done += more;
    }
}

static void prepare(struct iocb *blocks, int round) {
    for (int i = 0; i < MANY; i++) {
        blocks[i] = block(IOCB_CMD_PWRITE, file, space + i * SIZE, SIZE, (long)i * SIZE);
        blocks[i].aio_data = (uint64_t)blocks[i].aio_offset;
        fill(space + i * SIZE, SIZE, (unsigned)(round * MANY + i));
    }
}

static void *submitter(void *from) {
    submit_all(from, MANY / 2);
    return NULL;
}

static void test(void) {
    static struct iocb blocks[MANY];
    pthread_t thread, other;
    void *bad;
    file = open("many", O_CREAT | O_RDWR | O_DIRECT, 0644);
    if (file < 0) file = open("many", O_CREAT | O_RDWR, 0644);
    space = mmap(NULL, MANY * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(setup(512, &context));
    for (int round = 0; round < ROUNDS; round++) {
        prepare(blocks, round);
        /* Rounds without a reaper at first: all 300 wait in the ring. */
        if (round % 2) pthread_create(&thread, NULL, reaper, (void *)MANY);
        submit_all(blocks, MANY);
        if (round % 2) pthread_join(thread, &bad);
        else bad = reaper((void *)MANY);
        printf("round %d: %ld bad events\n", round, (long)bad);
    }
    look("many");
    prepare(blocks, ROUNDS);
    pthread_create(&thread, NULL, submitter, blocks);
    pthread_create(&other, NULL, submitter, blocks + MANY / 2);
    bad = reaper((void *)MANY);
    pthread_join(thread, NULL);
    pthread_join(other, NULL);
    printf("two submitters: %ld bad events\n", (long)bad);
    look("many");

    /* A child has no contexts; its own works, and the parent's goes on. */
    prepare(blocks, ROUNDS + 1);
    submit_all(blocks, 20);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct iocb *list[] = {&blocks[30]};
        SHOW(submit(context, 1, list));
        context = 0;
        SHOW(setup(8, &context));
        SHOW(submit(context, 1, list));
        printf("the child's: %ld\n", (long)reaper((void *)1));
        _exit(0);
    }
    ended("child", child);
    printf("the parent's: %ld\n", (long)reaper((void *)20));
    look("many");

    /* Destroyed with operations in flight. */
    for (int round = 0; round < 20; round++) {
        prepare(blocks, ROUNDS + 2 + round);
        submit_all(blocks + round * 10, 10);
        if (destroy(context)) perror("destroy");
        context = 0;
        if (setup(512, &context)) perror("setup");
    }
    look("many");

    /* The same bytes on both sides, although a read in the same list changes the buffer of each write before the kernel writes. */
    char path[4096];
    snprintf(path, sizeof path, "%s/source", outside);
    int plain = open("changing", O_CREAT | O_RDWR, 0644), source = open(path, O_CREAT | O_RDWR, 0644);
    prepare(blocks, ROUNDS + 30);
    SHOW(write(source, space + 40 * SIZE, 40 * SIZE));
    for (int i = 0; i < 80; i++) {
        blocks[i] = block(i % 2 ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, i % 2 ? plain : source, space + i / 2 * SIZE, SIZE, (long)(i / 2) * SIZE);
        blocks[i].aio_data = (uint64_t)blocks[i].aio_offset;
    }
    submit_all(blocks, 80);
    printf("changing: %ld bad events\n", (long)reaper((void *)80));
    SHOW(fsync(plain));
}
