/* varies: what is left depends on who came first.
   Four writers; with "kill" or "stop" as third argument and LABEL:COUNT as fourth the first one is killed or stopped at
   that instruction of the library (builds with planted faults only). The three others must come to their end meanwhile. */
#define OWN_MAIN
#include "show.h"
#include <signal.h>
static char self[PATH_MAX];
static void writer(int number, int rounds) {
    char bytes[6000], name[32], other[32];
    memset(bytes, 'a' + number, sizeof bytes);
    snprintf(name, sizeof name, "own-%d", number);
    snprintf(other, sizeof other, "own-%d.new", number);
    int shared = open("shared", O_CREAT | O_RDWR, 0644), log = open("log", O_CREAT | O_APPEND | O_WRONLY, 0644);
    int directory = open(".", O_RDONLY | O_DIRECTORY), failed = 0;
    for (int i = 0; i < rounds; i++) {
        failed |= pwrite(shared, bytes, sizeof bytes, (off_t)(i * 4 + number) * (off_t)sizeof bytes) != (ssize_t)sizeof bytes;
        failed |= pwrite(shared, bytes, 300, i * 100) != 300; /* where the others write too */
        failed |= write(log, "equal lines in the log\n", 23) != 23;
        int own = open(other, O_CREAT | O_TRUNC | O_WRONLY, 0644);
        failed |= own < 0 || write(own, bytes, (size_t)(i * 97 % 6000)) != i * 97 % 6000 || fdatasync(own) || close(own) || rename(other, name);
        failed |= fdatasync(shared) || fsync(directory);
    }
    _exit(failed);
}
int main(int count, char **values) {
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 1;
    if (count == 4 && !strcmp(values[1], "writer")) writer(atoi(values[2]), atoi(values[3]));
    const char *how = count > 3 ? values[3] : "", *where = count > 4 ? values[4] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    umask(022);
    if (count < 3 || chdir(values[1])) return 64;
    pid_t writers[4];
    for (int w = 0; w < 4; w++)
        if (!(writers[w] = fork())) {
            char fault[64], number[8];
            snprintf(fault, sizeof fault, "%s:%s", where, how);
            snprintf(number, sizeof number, "%d", w);
            if (w == 0 && *how) setenv("LOCKSTEP_FAULT", fault, 1);
            execl(self, self, "writer", number, "20", NULL);
            _exit(1);
        }
    int status;
    if (*how) {
        waitpid(writers[0], &status, WUNTRACED);
        if (WIFSTOPPED(status) != !strcmp(how, "stop") || WIFSIGNALED(status) != !strcmp(how, "kill")) printf("the first writer never came to %s\n", where);
    }
    for (int w = 1; w < 4; w++) ended("another writer", writers[w]);
    if (!strcmp(how, "stop")) kill(writers[0], SIGCONT);
    if (strcmp(how, "kill")) ended("the first writer", writers[0]);
    int fd = open("shared", O_WRONLY); /* nothing is stuck */
    if (pwrite(fd, "after", 5, 0) != 5 || fsync(fd) || fsync(open(".", O_RDONLY))) printf("after it: %s\n", strerrorname_np(errno));
    return 0;
}
