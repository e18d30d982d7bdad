/* varies: what changing buffers held. */
/* io_uring: 300 operations in flight, reaped by another thread; buffers that change after submission; a ring that ends
   with operations in flight; two threads that submit in turn. */
#include "show.h"
#include "rings.h"
#include <pthread.h>
#include <sys/mman.h>

enum { MANY = 300, ROUNDS = 8, SIZE = 8192 };
static struct io_uring ring;
static int file;
static char *space;
static pthread_mutex_t submits = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t reaped;

static void *reaper(void *expected) {
    struct io_uring_cqe *completion;
    long left = (long)expected, bad = 0;
    while (left > 0) {
        int answer = io_uring_wait_cqe(&ring, &completion);
        if (answer == -EINTR) continue;
        if (answer) return (void *)-1;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&ring, head, completion) {
            bad += completion->res != SIZE || completion->user_data % SIZE;
            count++;
        }
        io_uring_cq_advance(&ring, count);
        left -= count;
    }
    return (void *)bad;
}

static void submit_some(int from, int count) {
    for (int i = from; i < from + count; i++) {
        pthread_mutex_lock(&submits);
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        io_uring_prep_write(entry, file, space + i * SIZE, SIZE, (uint64_t)i * SIZE);
        named(entry, (uint64_t)i * SIZE, 0);
        if (i % 10 == 9 || i == from + count - 1)
            if (io_uring_submit(&ring) < 0) puts("not submitted");
        pthread_mutex_unlock(&submits);
    }
}

static void prepare(int round) {
    for (int i = 0; i < MANY; i++) fill(space + i * SIZE, SIZE, (unsigned)(round * MANY + i));
}

/* A thread that ended would take its operations along. */
static void *submitter(void *from) {
    submit_some((int)(long)from, MANY / 2);
    pthread_barrier_wait(&reaped);
    return NULL;
}

static void test(void) {
    pthread_t thread, other;
    void *bad;
    file = open("many", O_CREAT | O_RDWR | O_DIRECT, 0644);
    if (file < 0) file = open("many", O_CREAT | O_RDWR, 0644);
    space = mmap(NULL, MANY * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ANSWER(io_uring_queue_init(512, &ring, 0));
    for (int round = 0; round < ROUNDS; round++) {
        prepare(round);
        /* Rounds without a reaper at first: all 300 wait in the ring. */
        if (round % 2) pthread_create(&thread, NULL, reaper, (void *)MANY);
        submit_some(0, MANY);
        if (round % 2) pthread_join(thread, &bad);
        else bad = reaper((void *)MANY);
        printf("round %d: %ld bad completions\n", round, (long)bad);
    }
    look("many");
    prepare(ROUNDS);
    pthread_barrier_init(&reaped, NULL, 3);
    pthread_create(&thread, NULL, submitter, (void *)0);
    pthread_create(&other, NULL, submitter, (void *)(MANY / 2));
    bad = reaper((void *)MANY);
    pthread_barrier_wait(&reaped);
    pthread_join(thread, NULL);
    pthread_join(other, NULL);
    printf("two submitters: %ld bad completions\n", (long)bad);
    look("many");

    /* Ended with operations in flight. A first one is completed: in a ring that nobody waited for, the kernel may drop them. */
    for (int round = 0; round < 20; round++) {
        prepare(ROUNDS + 2 + round);
        submit_some(round * 10, 10);
        bad = reaper((void *)10);
        submit_some(round * 10, 10);
        io_uring_queue_exit(&ring);
        if (io_uring_queue_init(512, &ring, 0)) puts("no ring");
    }

    /* The same bytes on both sides, although a read that is submitted together with it changes the buffer of each write. */
    char path[4096];
    snprintf(path, sizeof path, "%s/source", outside);
    int plain = open("changing", O_CREAT | O_RDWR, 0644), source = open(path, O_CREAT | O_RDWR, 0644);
    prepare(ROUNDS + 30);
    SHOW(write(source, space + 40 * SIZE, 40 * SIZE));
    for (int i = 0; i < 80; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        if (i % 2) io_uring_prep_write(entry, plain, space + i / 2 * SIZE, SIZE, (uint64_t)(i / 2) * SIZE);
        else io_uring_prep_read(entry, source, space + i / 2 * SIZE, SIZE, (uint64_t)(i / 2) * SIZE);
        named(entry, (uint64_t)(i / 2) * SIZE, 0);
    }
    ANSWER(io_uring_submit(&ring));
    printf("changing: %ld bad completions\n", (long)reaper((void *)80));
    SHOW(fsync(plain));
}
