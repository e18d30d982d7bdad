/* A storm of signals without SA_RESTART: no call of a file of the tree ends with EINTR or short, as in the kernel; what the
   kernel interrupts (a read from an empty pipe, an open of a FIFO) is interrupted under the library too. */
#include "show.h"
#include <signal.h>
#include <sys/time.h>
static volatile sig_atomic_t calls;
static void handler(int number) { (void)number; calls++; }
static int wrong;
#define MUST(call) do { if (!(call)) { if (wrong++ < 5) printf("%s: %s\n", #call, strerrorname_np(errno)); } } while (0)
static void test(void) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    static char bytes[600000];
    fill(bytes, sizeof bytes, 5);
    int fd = open("a", O_CREAT | O_RDWR, 0644), log = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644), durable = open("durable", O_CREAT | O_DSYNC | O_WRONLY, 0644);
    setitimer(ITIMER_REAL, &often, NULL);
    int i;
    for (i = 0; i < 300 || (calls < 200 && i < 100000); i++) {
        MUST(pwrite(fd, bytes, 8192, i % 64 * 8192L) == 8192);
        MUST(write(log, "equal lines\n", 12) == 12);
        if (i % 8 == 0) MUST(pwrite(fd, bytes, sizeof bytes, 100) == sizeof bytes);
        if (i % 8 == 1) MUST(fdatasync(fd) == 0);
        if (i % 8 == 2) MUST(write(durable, bytes, 100) == 100);
        if (i % 8 == 3) MUST(mkdir("d", 0755) == 0 && rename("d", "e") == 0 && rmdir("e") == 0);
        if (i % 8 == 4) MUST(ftruncate(fd, 300000) == 0);
        if (i % 8 == 5) {
            FILE *f = fopen("stream", "w");
            MUST(f && fwrite(bytes, 1, 20000, f) == 20000 && fclose(f) == 0);
        }
        if (i % 8 == 6) {
            int made = open("made", O_CREAT | O_EXCL | O_WRONLY, 0644);
            MUST(made >= 0 && write(made, bytes, 10) == 10 && close(made) == 0 && unlink("made") == 0);
        }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    printf("wrong %d, signals: %s\n", wrong, calls >= 200 ? "many" : "too few");
    ftruncate(fd, 0); ftruncate(log, 0); ftruncate(durable, 0); /* how many turns is not the same each time */
    int empty[2];
    pipe(empty);
    char byte, fifo[PATH_MAX + 10];
    struct itimerval soon = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    SHOW(read(empty[0], &byte, 1));
    snprintf(fifo, sizeof fifo, "%s/fifo", outside);
    mkfifo(fifo, 0600);
    setitimer(ITIMER_REAL, &soon, NULL);
    OPEN(open(fifo, O_WRONLY | O_CREAT, 0600));
    setitimer(ITIMER_REAL, &soon, NULL);
    POINTER(fopen(fifo, "w"));
}
