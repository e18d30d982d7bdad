/* While a durability point waits for its answer signals are delivered, and a handler may leave it for good. */
#include "show.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
static sigjmp_buf before;
static volatile sig_atomic_t calls, late, leaves;
static struct timespec asked;
static int fd;
static void handler(int number) {
    (void)number;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    calls++;
    late += now.tv_sec - asked.tv_sec > 1; /* the answer comes after three seconds */
    if (pwrite(fd, "handler", 7, 100) != 7) calls = -1;
    if (leaves) siglongjmp(before, 1);
}
static void soon(void) {
    clock_gettime(CLOCK_MONOTONIC, &asked);
    struct itimerval timer = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}
static void leave(void) {
    for (volatile int i = 0; i < 3; i++)
        if (sigsetjmp(before, 1) == 0) {
            soon();
            fsync(fd);
            printf("not left\n");
        }
}
static void test(void) {
    signal(SIGALRM, handler);
    fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "data", 4));
    soon();
    SHOW(fsync(fd));
    SHOW(calls);
    leaves = 1;
    leave();
    SHOW(calls);
    SHOW(late);
    leaves = 0;
    SHOW(write(fd, "more", 4));
    SHOW(fsync(fd));
}
