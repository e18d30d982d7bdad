/* varies in how far each turn came. A handler leaves captured calls by siglongjmp, 300 times, and 80 threads are canceled
   asynchronously in theirs: more than there are intents. Later calls find all space of the arena free, and what was written
   is captured. */
#include "show.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
static sigjmp_buf before;
static volatile sig_atomic_t armed;
static void handler(int number) {
    (void)number;
    if (!armed) return;
    armed = 0;
    siglongjmp(before, 1);
}
static char bytes[400000];
static int fd, log_descriptor, ready[2];
static void calls(int i) {
    pwrite(fd, bytes, sizeof bytes, i % 4 * 1000);
    write(log_descriptor, "equal lines\n", 12);
    if (i % 3 == 0) fdatasync(fd);
    if (i % 3 == 1) { mkdir("d", 0755); rename("d", "e"); rmdir("e"); }
    if (i % 3 == 2) ftruncate(fd, 300000);
}
static __attribute__((noreturn)) void *work(void *argument) {
    (void)argument;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    write(ready[1], "r", 1);
    for (int i = 0;; i++) calls(i);
}
static void jump(void) {
    for (volatile int i = 0; i < 300; i++) {
        struct itimerval soon = {{0, 0}, {0, 200 + i % 50 * 20}};
        if (sigsetjmp(before, 1) == 0) {
            armed = 1;
            setitimer(ITIMER_REAL, &soon, NULL);
            for (int turn = i;; turn++) calls(turn);
        }
    }
}
static void test(void) {
    int wrong = 0, canceled = 0;
    signal(SIGALRM, handler);
    pipe(ready);
    fd = open("a", O_CREAT | O_RDWR, 0644);
    log_descriptor = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644);
    jump();
    for (int i = 0; i < 80; i++) {
        pthread_t thread;
        char byte;
        void *result;
        wrong += pthread_create(&thread, NULL, work, NULL) != 0 || read(ready[0], &byte, 1) != 1;
        for (int spin = 0; spin < i % 20; spin++) sched_yield();
        wrong += pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0;
        canceled += result == PTHREAD_CANCELED;
    }
    for (int i = 0; i < 100; i++) wrong += pwrite(fd, bytes, sizeof bytes, 0) != sizeof bytes;
    wrong += fsync(fd) != 0;
    struct stat status;
    stat("log", &status);
    printf("canceled %d, wrong %d, lines whole: %s\n", canceled, wrong, status.st_size % 12 ? "no" : "yes");
}
