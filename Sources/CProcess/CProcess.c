#define _GNU_SOURCE
#include "CProcess.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int cprocess_spawn(const char *path, char *const arguments[], char *const environment[], const int standard[3],
                   int new_session, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    /* The descriptors given are 3 or higher, or already at their place: no dup2 overwrites one that is still needed. */
    for (int target = 0; target < 3 && !error; target++)
        error = posix_spawn_file_actions_adddup2(&actions, standard[target], target);
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!error)
        error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                          (new_session ? POSIX_SPAWN_SETSID : 0));
    if (!error) error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int cprocess_open(pid_t pid, int *descriptor) {
    *descriptor = (int)syscall(SYS_pidfd_open, pid, 0);
    return *descriptor < 0 ? errno : 0;
}

int cprocess_signal(int descriptor, int signal) {
    return syscall(SYS_pidfd_send_signal, descriptor, signal, NULL, 0) < 0 ? errno : 0;
}

int cprocess_accept(int listener, int *descriptor) {
    *descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    return *descriptor < 0 ? errno : 0;
}

int cprocess_peer(int descriptor, uint32_t *user, pid_t *pid) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return errno;
    *user = credentials.uid;
    *pid = credentials.pid;
    return 0;
}

int cprocess_is_overlay(const char *path, int *overlay) {
    struct statfs status;
    if (statfs(path, &status) < 0) return errno;
    *overlay = status.f_type == 0x794c7630;
    return 0;
}
