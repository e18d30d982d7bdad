/* Threads: files of their own, one file in disjoint ranges, appends to one file, creations in one directory, smallest
   stacks, cancellation between writes. */
#include "show.h"
#include <pthread.h>
static int shared, appended;
static void *work(void *argument) {
    int number = (int)(intptr_t)argument;
    char name[32], bytes[5000];
    snprintf(name, sizeof name, "own-%d", number);
    int own = open(name, O_CREAT | O_WRONLY, 0644);
    memset(bytes, 'a' + number, sizeof bytes);
    for (int i = 0; i < 100; i++) {
        write(own, bytes, (size_t)(i * 37 % 5000));
        pwrite(shared, bytes, sizeof bytes, (off_t)(i * 4 + number) * (off_t)sizeof bytes);
        write(appended, "equal lines\n", 12);
        snprintf(name, sizeof name, "d/%d-%d", number, i);
        close(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644));
        if (i % 3 == 0) unlink(name);
        if (i % 3 == 1) {
            char other[40];
            snprintf(other, sizeof other, "%s-renamed", name);
            rename(name, other);
        }
        if (i % 20 == 0) fdatasync(own);
    }
    close(own);
    return NULL;
}
static void *small(void *argument) {
    (void)argument;
    int fd = open("small-stack", O_CREAT | O_WRONLY, 0644);
    static char large[100000];
    write(fd, large, sizeof large);
    write(fd, "x", 1);
    fsync(fd);
    rename("small-stack", "small-stack-2");
    return NULL;
}
static int ready[2];
static __attribute__((noreturn)) void *canceled(void *argument) {
    (void)argument;
    int fd = open("canceled", O_CREAT | O_WRONLY, 0644);
    write(fd, "until canceled", 14);
    write(ready[1], "r", 1);
    for (;;) {
        write(fd, "until canceled", 14);
        fdatasync(fd);
    }
}
static void test(void) {
    mkdir("d", 0755);
    shared = open("shared", O_CREAT | O_WRONLY, 0644);
    appended = open("appended", O_CREAT | O_APPEND | O_WRONLY, 0644);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    look("shared"); look("appended"); look("own-0"); look("own-3");
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    SHOW(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
    SHOW(pthread_create(&threads[0], &attributes, small, NULL));
    SHOW(pthread_join(threads[0], NULL));
    look("small-stack-2");
    pipe(ready);
    pthread_create(&threads[0], NULL, canceled, NULL);
    char byte;
    read(ready[0], &byte, 1);
    SHOW(pthread_cancel(threads[0]));
    void *result;
    SHOW(pthread_join(threads[0], &result));
    printf("canceled: %s\n", result == PTHREAD_CANCELED ? "yes" : "no");
    truncate("canceled", 14); /* how far it came is not the same in each run; 14 bytes at least */
    chmod("canceled", 0600);
}
