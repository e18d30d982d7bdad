/* A signal handler that writes to the file that is being written; interval timers without SA_RESTART. */
#include "show.h"
#include <signal.h>
#include <sys/time.h>
static int fd, log_descriptor;
static volatile sig_atomic_t calls, failed;
static void handler(int number) {
    (void)number;
    int saved = errno;
    if (pwrite(fd, "handler", 7, 1000000) != 7) failed++;
    if (write(log_descriptor, "h", 1) != 1) failed++;
    calls++;
    errno = saved;
}
static void test(void) {
    fd = open("a", O_CREAT | O_RDWR, 0644);
    log_descriptor = open("log", O_CREAT | O_APPEND | O_RDWR, 0644);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 400}, {0, 400}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    char bytes[9000];
    fill(bytes, sizeof bytes, 7);
    int i = 0, wrong = 0, interrupted = 0;
    for (; calls < 100; i++) {
        if (pwrite(fd, bytes, sizeof bytes, (i % 100) * 9000L) != (ssize_t)sizeof bytes) wrong++;
        lseek(fd, 2000000, SEEK_SET);
        if (write(fd, "implicit", 8) != 8) wrong++;
        if (i % 50 == 0 && fdatasync(fd)) errno == EINTR ? interrupted++ : wrong++;
        char name[32];
        snprintf(name, sizeof name, "n%d", i % 10);
        int made = open(name, O_CREAT | O_WRONLY, 0644);
        if (made < 0 || close(made) || unlink(name)) wrong++;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    struct stat status;
    fstat(log_descriptor, &status);
    printf("wrong %d, failed in the handler %d, interrupted flushes %d, log complete: %s\n", wrong, (int)failed, interrupted, status.st_size == calls ? "yes" : "no");
    ftruncate(log_descriptor, 0);
    ftruncate(fd, 9000 * 100); /* how often is not the same in each run */
    for (i = 0; i < 100; i++) pwrite(fd, bytes, sizeof bytes, i * 9000L);
    look("a");
}
