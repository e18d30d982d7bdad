/* Forks, vforks and spawns while three other threads write, append and rename; each child writes at once. */
#include "show.h"
#include <pthread.h>
#include <spawn.h>
extern char **environ;
static int shared, appended;
static _Atomic(int) stop, failed;
static void *work(void *argument) {
    int number = (int)(intptr_t)argument;
    char bytes[6000], name[32], other[32];
    memset(bytes, 'a' + number, sizeof bytes);
    snprintf(name, sizeof name, "own-%d", number);
    snprintf(other, sizeof other, "other-%d", number);
    close(open(name, O_CREAT | O_WRONLY, 0644));
    for (int i = 0; !stop; i++) {
        if (pwrite(shared, bytes, sizeof bytes, (off_t)(i % 20 * 4 + number) * 6000) != 6000) failed++;
        if (write(appended, "equal lines\n", 12) != 12) failed++;
        if (rename(name, other) || rename(other, name)) failed++;
        if (i % 16 == 0 && fdatasync(shared)) failed++;
    }
    return NULL;
}
static void test(void) {
    shared = open("shared", O_CREAT | O_RDWR, 0644);
    appended = open("appended", O_CREAT | O_APPEND | O_WRONLY, 0644);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i);
    int wrong = 0;
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "child-%d", i);
        int status, own = open(name, O_CREAT | O_WRONLY, 0644);
        char *arguments[] = {"truncate", "-s", "7", name, NULL};
        pid_t child = i % 3 == 2 ? 0 : i % 3 ? vfork() : fork();
        if (i % 3 == 2) wrong += posix_spawnp(&child, "truncate", NULL, NULL, arguments, environ) != 0;
        else if (!child) {
            int bad = write(own, name, 7) != 7 || write(appended, "equal lines\n", 12) != 12 || pwrite(shared, "child", 5, 20 * 24000 + i * 5) != 5 || fsync(own);
            _exit(bad);
        }
        wrong += waitpid(child, &status, 0) != child || status != 0;
        close(own);
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    struct stat status;
    fstat(appended, &status);
    printf("wrong %d failed %d, lines whole: %s\n", wrong, (int)failed, status.st_size % 12 ? "no" : "yes");
    ftruncate(appended, 0); /* how often is not the same in each run */
    char bytes[6000];
    for (int i = 0; i < 80; i++) pwrite(shared, memset(bytes, 'a' + i % 4, sizeof bytes), sizeof bytes, i * 6000L);
    look("shared"); look("child-0"); look("child-1"); look("child-2"); look("own-2");
}
