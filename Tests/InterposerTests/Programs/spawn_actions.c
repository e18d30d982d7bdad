/* The opens of posix_spawn's file actions: what they create or truncate is captured, in the order and with the errors of
   posix_spawn, and locks of the parent stay. */
#include "show.h"
#include <spawn.h>
extern char **environ;
static posix_spawn_file_actions_t actions;
static char *echo[] = {"sh", "-c", "echo $0; case $PWD in */d) echo in d;; *) echo above;; esac >&2; ls /proc/self/fd | wc -l", "said", NULL};
static void start(void) { posix_spawn_file_actions_init(&actions); }
static void spawned(const char *what) {
    pid_t child = 0;
    int answer = posix_spawnp(&child, "sh", &actions, NULL, echo, environ);
    printf("%s: %s\n", what, answer ? strerrorname_np(answer) : "started");
    if (answer == 0) ended(what, child);
    posix_spawn_file_actions_destroy(&actions);
}
static void to(const char *what, const char *path, int flags, mode_t mode) {
    start();
    posix_spawn_file_actions_addopen(&actions, 1, path, flags, mode);
    spawned(what);
    look(path);
}
static void locked(const char *path) { /* seen by another process */
    pid_t child = fork();
    if (!child) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR);
        _exit(fcntl(fd, F_GETLK, &lock) || lock.l_type == F_UNLCK);
    }
    ended("locked", child);
}
static void test(void) {
    dup2(2, 9); /* of the rig and of the shell differ: only our own descriptors are counted */
    freopen("/dev/null", "w", stderr);
    char path[PATH_MAX + 20], inside[PATH_MAX + 20];
    to("new", "new", O_CREAT | O_WRONLY | O_TRUNC, 0640);
    to("new, exclusively", "new", O_CREAT | O_EXCL | O_WRONLY, 0644);
    to("appended", "new", O_CREAT | O_APPEND | O_WRONLY, 0644);
    to("truncated", "new", O_TRUNC | O_WRONLY, 0);
    to("exclusive", "exclusive", O_CREAT | O_EXCL | O_RDWR, 0600);
    to("no directory", "missing/new", O_CREAT | O_WRONLY, 0644);
    mkdir("d", 0755);
    to("a directory", "d", O_CREAT | O_WRONLY, 0644);
    to("through a link", "new/", O_CREAT | O_WRONLY, 0644);
    symlink("d/behind", "link");
    to("a link to nothing", "link", O_CREAT | O_WRONLY, 0644);
    look("d/behind");
    to("a link, not followed", "link", O_TRUNC | O_NOFOLLOW | O_WRONLY, 0);
    snprintf(path, sizeof path, "%s/there", outside);
    start();
    posix_spawn_file_actions_addopen(&actions, 1, path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    spawned("outside");
    SHOW(access(path, F_OK));
    snprintf(inside, sizeof inside, "%s/inwards", outside);
    char target[PATH_MAX];
    getcwd(target, sizeof target);
    strcat(target, "/from-outside");
    symlink(target, inside);
    start();
    posix_spawn_file_actions_addopen(&actions, 1, inside, O_CREAT | O_WRONLY, 0644);
    spawned("a link from outside");
    look("from-outside");
    start();
    posix_spawn_file_actions_addchdir_np(&actions, "d");
    posix_spawn_file_actions_addopen(&actions, 1, "relative", O_CREAT | O_WRONLY, 0644);
    posix_spawn_file_actions_addchdir_np(&actions, "..");
    posix_spawn_file_actions_addopen(&actions, 2, "relative", O_CREAT | O_WRONLY, 0644);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    spawned("relative");
    look("d/relative"); look("relative");
    start();
    posix_spawn_file_actions_addchdir_np(&actions, "missing");
    posix_spawn_file_actions_addopen(&actions, 1, "never", O_CREAT | O_WRONLY, 0644);
    spawned("no directory to change to");
    look("never");
    start();
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawn_file_actions_addopen(&actions, 100, "hundred", O_CREAT | O_RDWR, 0644);
    posix_spawn_file_actions_adddup2(&actions, 100, 1);
    spawned("by another number");
    look("hundred");
    int fd = open("lock", O_CREAT | O_RDWR, 0644);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    write(fd, "old content", 11);
    SHOW(fcntl(fd, F_SETLK, &lock));
    to("truncated under a lock", "lock", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    locked("lock");
    start();
    posix_spawn_file_actions_addopen(&actions, 1, "before", O_CREAT | O_WRONLY, 0644);
    pid_t child;
    SHOW(posix_spawn(&child, "no-such-program", &actions, NULL, echo, environ));
    look("before");
    umask(077);
    to("with a mask", "masked", O_CREAT | O_WRONLY, 0666);
}
