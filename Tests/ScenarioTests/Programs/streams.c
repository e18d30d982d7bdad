/*
 * streams.c: streams opened, opened anew and opened for a moment, in the working directory: what a server does with its logs.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(void) {
    FILE *log = fopen("log", "a");
    if (!log || fprintf(log, "%0200000d\n", 1) < 0 || !freopen("log.1", "w", log) || fputs("new\n", log) < 0) return 1;
    if (!freopen("file", "w", log) || !freopen("/dev/null", "a", log) || fclose(log) != 0) return 1;
    char name[] = "XXXXXX";
    FILE *wide = fopen("wide", "w,ccs=UTF-8"), *temporary = fdopen(mkstemp(name), "w");
    if (!wide || !temporary || fputs("t", temporary) < 0 || fclose(temporary) != 0 || fclose(wide) != 0 || remove(name) != 0) return 1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "said", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    char *arguments[] = {"echo", "said", NULL};
    pid_t child;
    int status = 1;
    if (posix_spawnp(&child, "echo", &actions, NULL, arguments, environ) != 0 || waitpid(child, &status, 0) != child) return 1;
    return status != 0 || system("echo more >> said") != 0;
}
