/* stdio and processes: a FILE shared over fork, popen, system, stdout and stderr led into the tree, freopen outside. */
#include "show.h"
#include <err.h>
#include <fcntl.h>
static void test(void) {
    FILE *f = fopen("shared", "w");
    SHOW(fputs("parent, ", f));
    SHOW(fflush(f));
    pid_t child = fork();
    if (!child) {
        fputs("child, ", f);
        exit(0); /* flushes */
    }
    ended("child", child);
    SHOW(fputs("parent again", f));
    SHOW(fclose(f));
    look("shared");
    f = fopen("copied", "w"); /* what lies in the buffer at fork comes out twice */
    SHOW(fputs("twice ", f));
    child = fork();
    if (!child) exit(0);
    ended("child", child);
    SHOW(fclose(f));
    look("copied");
    SHOW(system("echo by system > system; echo more >> system"));
    look("system");
    FILE *p = popen("cat > piped", "w");
    SHOW(fputs("through a pipe", p));
    SHOW(pclose(p));
    look("piped");
    p = popen("echo read back | tee tee", "r");
    char line[64] = "";
    SHOW(fgets(line, sizeof line, p) != NULL);
    SHOW(pclose(p));
    look("tee");
    child = fork();
    if (!child) {
        dup2(open("stdout", O_CREAT | O_WRONLY, 0644), 1);
        dup2(open("stderr", O_CREAT | O_WRONLY | O_APPEND, 0644), 2);
        printf("to the standard output\n");
        fprintf(stdout, "%d\n", 7);
        puts("puts");
        fprintf(stderr, "to the standard error\n");
        errno = ENOENT;
        perror("perror");
        warnx("warn");
        write(1, "write", 5);
        dprintf(2, "%s", "dprintf");
        exit(3);
    }
    ended("child", child);
    look("stdout");
    struct stat status; /* warnx names the program, whose path differs */
    SHOW(stat("stderr", &status));
    child = fork();
    if (!child) {
        close(0); close(1);
        int fd = open("number-0", O_CREAT | O_RDWR, 0644), second = open("number-1", O_CREAT | O_WRONLY, 0644);
        write(fd, "zero", 4);
        write(second, "one", 3);
        printf("stdout again\n");
        exit(fd * 10 + second);
    }
    ended("child", child);
    look("number-0"); look("number-1");
}
