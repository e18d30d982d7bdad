/* Chains of fork and exec, vfork, posix_spawn with file actions, a cleared environment: who writes is always seen. */
#include <spawn.h>
#define OWN_MAIN
#include "show.h"
extern char **environ;
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
static char self[PATH_MAX];
static int later;
static int cloned(void *text) { return write(later, text, strlen(text)) < 0; }
static void chain(int left, const char *how) {
    char name[64], next[16];
    snprintf(name, sizeof name, "link-%s-%d", how, left);
    int fd = open(name, O_CREAT | O_APPEND | O_WRONLY, 0644);
    dprintf(fd, "%d links left\n", left);
    write(fd, "and a plain write\n", 18);
    close(fd);
    if (!left) _exit(7);
    snprintf(next, sizeof next, "%d", left - 1);
    char *arguments[] = {self, "chain", next, (char *)how, NULL}, *empty[] = {"ONLY=this", NULL};
    if (!strcmp(how, "execve")) execve(self, arguments, environ);
    if (!strcmp(how, "execv")) execv(self, arguments);
    if (!strcmp(how, "execl")) execl(self, self, "chain", next, how, NULL);
    if (!strcmp(how, "execle")) execle(self, self, "chain", next, how, NULL, environ);
    if (!strcmp(how, "execvp")) execvp(self, arguments);
    if (!strcmp(how, "execlp")) execlp(self, self, "chain", next, how, NULL);
    if (!strcmp(how, "execvpe")) execvpe(self, arguments, environ);
    if (!strcmp(how, "cleared")) execve(self, arguments, empty);
    if (!strcmp(how, "fexecve")) fexecve(open(self, O_RDONLY | O_CLOEXEC), arguments, environ);
    _exit(1);
}
static void test(void) {
    static const char *ways[] = {"execve", "execv", "execl", "execle", "execvp", "execlp", "execvpe", "cleared", "fexecve"};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        pid_t child = fork();
        if (!child) chain(3, ways[i]);
        ended(ways[i], child);
    }
    int fd = OPEN(open("forks", O_CREAT | O_WRONLY, 0644));
    for (int depth = 0; depth < 4; depth++) { /* children of children, each writes before and after */
        pid_t child = fork();
        pwrite(fd, child ? "p" : "c", 1, depth * 2 + (child != 0));
        if (child) {
            int status;
            waitpid(child, &status, 0);
            if (depth) _exit(WEXITSTATUS(status) + 1);
            printf("depth %d\n", WEXITSTATUS(status));
            break;
        }
        if (depth == 3) _exit(0);
    }
    look("forks");
    pid_t child = vfork();
    if (!child) {
        int in = open("vforked", O_CREAT | O_WRONLY, 0644);
        write(in, "by a vfork child", 16);
        close(in);
        _exit(0);
    }
    ended("vfork", child);
    SHOW(write(fd, "after vfork", 11));
    look("vforked");
    child = fork();
    if (!child) {
        int own = open("vfork-in-fork", O_CREAT | O_WRONLY, 0644);
        close(own);
        _exit(0);
    }
    ended("fork", child);
    for (int how = 0; how < 2; how++) { /* a fork that has written nothing itself: its vfork child is the first */
        child = fork();
        if (!child) {
            later = open("vfork-in-fork", O_WRONLY);
            char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            pid_t second = how ? clone(cloned, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, "by the cloned child") : vfork();
            if (!second) {
                write(later, "by the vfork child", 18);
                _exit(0);
            }
            ended("vfork in a fork", second);
            for (int i = 0; i < 200; i++) {
                pwrite(later, "by its parent", 13, 20 + i * 13);
                if (i % 50 == 0) fsync(later); /* whoever forgets the first writer has had the time to */
            }
            _exit(0);
        }
        ended("fork", child);
    }
    look("vfork-in-fork");
    child = vfork();
    if (!child) {
        execl("/bin/sh", "sh", "-c", "echo by vfork and exec > vfork-exec", NULL);
        _exit(1);
    }
    ended("vfork and exec", child);
    look("vfork-exec");
    char *arguments[] = {"sh", "-c", "echo spawned > spawned", NULL};
    SHOW(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ));
    ended("spawned", child);
    SHOW(posix_spawnp(&child, "sh", NULL, NULL, arguments, environ));
    ended("spawned", child);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    char *echo[] = {"sh", "-c", "echo into a given descriptor", NULL};
    SHOW(posix_spawn(&child, "/bin/sh", &actions, NULL, echo, environ));
    ended("spawned", child);
    char *bare[] = {"sh", "-c", "echo spawned with a cleared environment > bare", NULL}, *none[] = {NULL};
    SHOW(posix_spawn(&child, "/bin/sh", NULL, NULL, bare, none));
    ended("spawned", child);
    SHOW(execl("missing", "missing", NULL));
    SHOW(execlp("no-such-program-anywhere", "x", NULL));
    SHOW(execl(".", "x", NULL));
    SHOW(execl("forks", "x", NULL));
    look("bare"); look("spawned"); look("forks");
    unsetenv("LD_PRELOAD");
    unsetenv("LOCKSTEP_SOCKET");
    SHOW(system("echo after unsetenv > unset"));
    clearenv();
    SHOW(system("echo after clearenv > clear"));
}
int main(int count, char **values) {
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 1;
    if (count == 4 && !strcmp(values[1], "chain")) chain(atoi(values[2]), values[3]);
    setvbuf(stdout, NULL, _IONBF, 0);
    umask(022);
    outside = values[2];
    if (count < 3 || chdir(values[1])) return 64;
    test();
    return 0;
}
