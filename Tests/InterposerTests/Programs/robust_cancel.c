/* varies in how far each thread came. Pairs of threads are canceled between, and in, writes and flushes: every one ends
   canceled, later calls of others find all space of the arena free, and what was written is captured. */
#include "show.h"
#include <pthread.h>
static int ready[2];
static __attribute__((noreturn)) void *work(void *argument) {
    static char bytes[200000];
    char name[32];
    snprintf(name, sizeof name, "t%d", (int)(intptr_t)argument % 8);
    int fd = open(name, O_CREAT | O_WRONLY, 0644), log = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644);
    write(ready[1], "r", 1);
    for (int i = 0;; i++) {
        pwrite(fd, bytes, sizeof bytes, i % 4 * 1000);
        write(log, "equal lines\n", 12);
        if ((intptr_t)argument % 2) fdatasync(fd);
    }
}
static void test(void) {
    pipe(ready);
    int canceled = 0, wrong = 0;
    for (int i = 0; i < 80; i++) {
        pthread_t threads[2];
        char byte;
        for (int t = 0; t < 2; t++) wrong += pthread_create(&threads[t], NULL, work, (void *)(intptr_t)(i + t)) != 0;
        for (int t = 0; t < 2; t++) wrong += read(ready[0], &byte, 1) != 1;
        for (int t = 0; t < 2; t++) wrong += pthread_cancel(threads[t]) != 0;
        for (int t = 0; t < 2; t++) {
            void *result;
            wrong += pthread_join(threads[t], &result) != 0;
            canceled += result == PTHREAD_CANCELED;
        }
    }
    int fd = open("after", O_CREAT | O_WRONLY, 0644);
    for (int i = 0; i < 100; i++) wrong += write(fd, "after", 5) != 5;
    wrong += fsync(fd) != 0;
    struct stat status;
    stat("log", &status);
    printf("canceled %d, wrong %d, lines whole: %s\n", canceled, wrong, status.st_size % 12 ? "no" : "yes");
}
