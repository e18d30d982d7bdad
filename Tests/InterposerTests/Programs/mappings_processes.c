/* varies: what was written through a mapping is read in the end */
/* Stores by forked children, by each way to fork; by a child that becomes another program, is killed, never calls anything. */
#include "show.h"
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#define PAGE 4096
static char *memory;
static void child_of(pid_t child, const char *how, int page) {
    if (!child) {
        memory[page * PAGE] = (char)('A' + page);
        _exit(0);
    }
    ended(how, child);
}
static int in_clone(void *argument) {
    *(char *)argument = 'c';
    return 0;
}
static void test(void) {
    int fd = open("file", O_CREAT | O_RDWR, 0644);
    SHOW(ftruncate(fd, 64 * PAGE));
    memory = POINTER(mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memory[0] = 'p';
    fflush(stdout);
    child_of(fork(), "fork", 1);
    child_of(_Fork(), "_Fork", 2);
    child_of((pid_t)syscall(SYS_fork), "syscall fork", 3);
    child_of((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), "syscall clone", 4);
    child_of(vfork(), "vfork", 5);
    static char stack[65536];
    ended("clone", clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, memory + 6 * PAGE));
    ended("clone with memory of its own", clone(in_clone, stack + sizeof stack, SIGCHLD, memory + 11 * PAGE));
    pid_t child = fork();
    if (!child) {
        memory[7 * PAGE] = 'e';
        execlp("true", "true", NULL);
        _exit(1);
    }
    ended("exec", child);
    child = fork();
    if (!child) {
        memory[8 * PAGE] = 'k';
        raise(SIGKILL);
    }
    ended("killed", child);
    child = fork();
    if (!child) { /* a grandchild, after an exec that fails */
        execl("/nowhere", "nowhere", NULL);
        memory[9 * PAGE] = 'n';
        child_of(fork(), "grandchild", 10);
        exit(3);
    }
    ended("child", child);
    SHOW(system("true"));
    /* Without a library's knowledge: the child does not have the mapping. */
    SHOW(memory[10 * PAGE]);
    SHOW(munmap(memory, 64 * PAGE));
    look("file");
}
