/* Three hundred short-lived processes, each with a captured operation or none: arenas come and go. */
#include "show.h"
static void test(void) {
    int log = OPEN(open("log", O_CREAT | O_APPEND | O_WRONLY, 0644)), failed = 0;
    for (int round = 0; round < 30; round++) {
        pid_t children[10];
        for (int c = 0; c < 10; c++)
            if (!(children[c] = fork())) {
                if (c == 0) _exit(0); /* never attaches */
                char name[32];
                snprintf(name, sizeof name, "%d-%d", round, c);
                int fd = open(name, O_CREAT | O_WRONLY, 0644);
                int wrong = write(log, "line\n", 5) != 5 || write(fd, name, strlen(name)) < 0;
                if (c == 1) {
                    execlp("truncate", "truncate", "-s", "3", name, NULL);
                    _exit(1);
                }
                if (c == 2) wrong |= unlink(name);
                if (c == 3) wrong |= fsync(fd);
                _exit(wrong);
            }
        for (int c = 0; c < 10; c++) {
            int status;
            waitpid(children[c], &status, 0);
            failed += status != 0;
        }
    }
    printf("failed: %d\n", failed);
    look("log");
}
