/* POSIX AIO: writes, lists, fsync, notifications by signal and by thread, errors; files outside too. */
#include <aio.h>
#include "show.h"
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

static sem_t told;
static _Atomic long told_value;
static void by_thread(union sigval value) {
    told_value = value.sival_int;
    sem_post(&told);
}
static void by_signal(int number, siginfo_t *information, void *context) {
    (void)context;
    told_value = information->si_code == SI_ASYNCIO ? information->si_value.sival_int + number - SIGUSR1 : -1;
    sem_post(&told);
}

static struct aiocb make(int fd, const char *text, size_t count, off_t offset) {
    return (struct aiocb){.aio_fildes = fd, .aio_buf = (void *)text, .aio_nbytes = count, .aio_offset = offset,
                          .aio_sigevent = {.sigev_notify = SIGEV_NONE}};
}

static void finish(const char *what, struct aiocb *block) {
    const struct aiocb *list[] = {block};
    while (aio_error(block) == EINPROGRESS) aio_suspend(list, 1, NULL);
    int error = aio_error(block);
    printf("%s: %s, %ld\n", what, error ? strerrorname_np(error) : "0", (long)aio_return(block));
}

static void all(int fd, int reader) {
    struct aiocb one = make(fd, "first", 5, 10);
    SHOW(aio_write(&one));
    finish("write", &one);
    printf("cancel: %d\n", aio_cancel(fd, &one) == AIO_ALLDONE);
    struct aiocb sync = make(fd, NULL, 0, 0);
    SHOW(aio_fsync(O_SYNC, &sync));
    finish("fsync", &sync);
    SHOW(aio_fsync(O_DSYNC, &sync));
    finish("fdatasync", &sync);
    SHOW(aio_fsync(77, &sync));
    struct aiocb bad = make(reader, "x", 1, 0);
    SHOW(aio_write(&bad));
    finish("not for writing", &bad);
    bad.aio_fildes = reader;
    SHOW(aio_fsync(O_SYNC, &bad));
    finish("fsync of a reader", &bad); /* libc's threads still write into it until then */
    bad = make(fd, "x", 1, -1);
    SHOW(aio_write(&bad));
    /* Which error it is says errno of libc's thread, after a mutex that others hold too: not always the same one. */
    while (aio_error(&bad) == EINPROGRESS) aio_suspend((const struct aiocb *[]){&bad}, 1, NULL);
    printf("a bad offset: %s, %ld\n", aio_error(&bad) ? "an error" : "none", (long)aio_return(&bad));
    bad = make(fd, "x", 1, 0);
    bad.aio_reqprio = 99;
    SHOW(aio_write(&bad));

    struct aiocb told_by = make(fd, "thread", 6, 30);
    told_by.aio_sigevent.sigev_notify = SIGEV_THREAD;
    told_by.aio_sigevent.sigev_notify_function = by_thread;
    told_by.aio_sigevent.sigev_value.sival_int = 41;
    SHOW(aio_write(&told_by));
    while (sem_wait(&told)) {}
    printf("told %ld\n", (long)told_value);
    finish("by thread", &told_by);
    told_by = make(fd, "signal", 6, 40);
    told_by.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    told_by.aio_sigevent.sigev_signo = SIGUSR1;
    told_by.aio_sigevent.sigev_value.sival_int = 42;
    SHOW(aio_write(&told_by));
    while (sem_wait(&told)) {}
    printf("told %ld\n", (long)told_value);
    finish("by signal", &told_by);

    char back[8] = "";
    struct aiocb list[] = {make(fd, "one", 3, 100), make(fd, "two", 3, 110), make(fd, back, 5, 10), make(fd, "nop", 3, 120), make(fd, "long", 4, 130)};
    list[0].aio_lio_opcode = list[1].aio_lio_opcode = list[4].aio_lio_opcode = LIO_WRITE;
    list[2].aio_lio_opcode = LIO_READ;
    list[3].aio_lio_opcode = LIO_NOP;
    struct aiocb *pointers[] = {&list[0], NULL, &list[1], &list[2], &list[3], &list[4]};
    SHOW(lio_listio(LIO_WAIT, pointers, 6, NULL));
    for (int i = 0; i < 5; i++)
        if (i != 3) finish("of the list", &list[i]);
    printf("read %s, operations %d %d %d\n", back, list[0].aio_lio_opcode == LIO_WRITE, list[3].aio_lio_opcode == LIO_NOP, list[2].aio_lio_opcode == LIO_READ);
    list[1].aio_fildes = reader;
    SHOW(lio_listio(LIO_WAIT, pointers, 6, NULL));
    finish("the bad one", &list[1]);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = by_thread, .sigev_value.sival_int = 43};
    SHOW(lio_listio(LIO_NOWAIT, pointers, 6, &event));
    while (sem_wait(&told)) {}
    printf("told %ld\n", (long)told_value);
    for (int i = 0; i < 5; i++)
        if (i != 3) finish("of the list", &list[i]);
    SHOW(lio_listio(99, pointers, 6, NULL));
}

static void test(void) {
    char path[4096];
    struct sigaction action = {.sa_sigaction = by_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sem_init(&told, 0, 0);
    sigaction(SIGUSR1, &action, NULL);
    snprintf(path, sizeof path, "%s/a", outside);
    int fd = open("a", O_CREAT | O_RDWR, 0644);
    all(fd, open("a", O_RDONLY));
    look("a");
    int append = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
    struct aiocb one = make(append, "appended", 8, 0);
    for (int i = 0; i < 3; i++) {
        SHOW(aio_write(&one));
        finish("append", &one);
    }
    look("log");
    puts("outside:");
    fd = open(path, O_CREAT | O_RDWR, 0644);
    all(fd, open(path, O_RDONLY));
}
