/* A thread with a descriptor table of its own: what a number means is found out in that table. */
#include "show.h"
#include <pthread.h>
#include <sched.h>
static void *work(void *argument) {
    (void)argument;
    SHOW(unshare(CLONE_FILES));
    close(20);
    int fd = OPEN(open("a", O_RDWR));
    SHOW(dup2(fd, 20));
    SHOW(write(20, "of the tree", 11));
    SHOW(fchmod(20, 0600));
    SHOW(fsync(20));
    int directory = OPEN(open(".", O_RDONLY | O_DIRECTORY));
    SHOW(dup2(directory, 20));
    SHOW(mkdirat(20, "d", 0755));
    return NULL;
}
static void test(void) {
    FILE *made = fopen("/proc/self/cwd/a.tmp", "w"); /* renamed: the library has not met "a" as such yet */
    fclose(made);
    rename("a.tmp", "a");
    char path[PATH_MAX + 10];
    snprintf(path, sizeof path, "%s/out", outside);
    dup2(open(path, O_CREAT | O_RDWR, 0644), 20);
    pthread_t thread;
    pid_t child = fork(); /* with an empty cache of identities, if it is its own program */
    if (!child) {
        pthread_create(&thread, NULL, work, NULL);
        pthread_join(thread, NULL);
        SHOW(write(20, "outside", 7));
        _exit(0);
    }
    ended("thread", child);
    look("a"); look("d");
}
