/* Programs that the library can't cover are not started: static ones, set-user-id ones, scripts whose interpreter is such
   a one; by exec and by posix_spawn, by path and by search. */
#include "show.h"
#include <spawn.h>
extern char **environ;
static char program[PATH_MAX], script[PATH_MAX], privileged[PATH_MAX], text[PATH_MAX + 8];
static void test(void) {
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return;
    strcpy(strstr(program, "/programs/"), "/static");
    snprintf(script, sizeof script, "%s/script", outside);
    int fd = OPEN(open(script, O_CREAT | O_WRONLY, 0755));
    SHOW(write(fd, text, (size_t)snprintf(text, sizeof text, "#!%s\n", program)) > 0);
    SHOW(close(fd));
    snprintf(privileged, sizeof privileged, "%s/privileged", outside);
    char copy[PATH_MAX * 2];
    snprintf(copy, sizeof copy, "cp /bin/true %s && chmod 4755 %s", privileged, privileged);
    SHOW(system(copy));
    /* Only a file of another owner is secure execution: root makes one, others take one of the system's. */
    if (geteuid() == 0) chown(privileged, 12, 34), chmod(privileged, 04755);
    else unlink(privileged), symlink("/usr/bin/su", privileged);
    char *arguments[] = {"program", NULL};
    SHOW(execv(program, arguments));
    SHOW(execve(program, arguments, environ));
    SHOW(execl(program, "program", NULL));
    SHOW(execv(script, arguments));
    SHOW(execv(privileged, arguments));
    SHOW(setenv("PATH", outside, 1));
    SHOW(execvp("script", arguments));
    SHOW(execlp("privileged", "program", NULL));
    pid_t child = -1;
    SHOW(posix_spawn(&child, program, NULL, NULL, arguments, environ));
    SHOW(posix_spawnp(&child, "privileged", NULL, NULL, arguments, environ));
}
