/* The smallest stacks: threads of PTHREAD_STACK_MIN and handlers on an alternate stack of 8 KiB make every kind of call. */
#include "show.h"
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
static int wrong;
#define MUST(call) do { if (!(call)) { wrong++; dprintf(1, "%s: %s\n", #call, strerrorname_np(errno)); } } while (0)
static char bytes[700000];
static void calls(const char *prefix) {
    char a[40], b[40], c[40];
    strcat(strcpy(a, prefix), "-a"), strcat(strcpy(b, prefix), "-b"), strcat(strcpy(c, prefix), "-XXXXXX");
    int fd = open(a, O_CREAT | O_RDWR, 0644), log = open(a, O_APPEND | O_WRONLY | O_DSYNC), made = mkstemp(c);
    MUST(fd >= 0 && log >= 0 && made >= 0);
    struct iovec vector[2] = {{bytes, 100}, {bytes + 5000, 9000}};
    MUST(write(fd, bytes, sizeof bytes) == sizeof bytes);
    MUST(pwrite(fd, bytes, 16000, 123456) == 16000);
    MUST(writev(fd, vector, 2) == 9100);
    MUST(write(log, "appended", 8) == 8);
    MUST(write(made, (char *)16, 8) == -1 && errno == EFAULT);
    MUST(fsync(fd) == 0 && ftruncate(fd, 400000) == 0 && truncate(a, 300000) == 0);
    MUST(mkdir(b, 0755) == 0 && chmod(b, 0700) == 0);
    char moved[64], linked[64];
    snprintf(moved, sizeof moved, "%s/moved", b);
    snprintf(linked, sizeof linked, "%s/link", b);
    MUST(rename(c, moved) == 0 && symlink("moved", linked) == 0 && unlink(linked) == 0);
    int through = open(moved, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    MUST(through >= 0 && write(through, "x", 1) == 1);
    MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    MUST(posix_fallocate(fd, 0, 500000) == 0);
    MUST(close(fd) == 0 && close(log) == 0 && close(made) == 0 && close(through) == 0);
}
static void *small(void *argument) {
    calls(argument);
    return NULL;
}
static void handler(int number) { calls(number == SIGUSR1 ? "handler-1" : "handler-2"); }
static void *signalled(void *argument) {
    (void)argument;
    stack_t stack = {.ss_sp = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 8192};
    sigaltstack(&stack, NULL);
    raise(SIGUSR2);
    return NULL;
}
static void test(void) {
    fill(bytes, sizeof bytes, 12);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    SHOW(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
    pthread_t threads[3];
    static char *names[] = {"thread-1", "thread-2", "thread-3"};
    for (int i = 0; i < 3; i++) SHOW(pthread_create(&threads[i], &attributes, small, names[i]));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    char *region = mmap(NULL, 3 * 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(region + 8192, 8192, PROT_READ | PROT_WRITE);
    stack_t stack = {.ss_sp = region + 8192, .ss_size = 8192};
    SHOW(sigaltstack(&stack, NULL));
    raise(SIGUSR1);
    SHOW(pthread_create(&threads[0], NULL, signalled, NULL));
    pthread_join(threads[0], NULL);
    printf("wrong: %d\n", wrong);
    look("thread-1-a"); look("thread-3-b/moved"); look("handler-1-a"); look("handler-2-a"); look("handler-2-b/moved");
}
