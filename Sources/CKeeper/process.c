#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* Fields are counted after the last parenthesis: the command's name may hold anything. */
static int read_start_time(pid_t pid, uint64_t *start_time) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return -1;
    ssize_t bytes = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (bytes <= 0) {
        errno = ESRCH;
        return -1;
    }
    text[bytes] = 0;
    char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 22; number++) field = strchr(field + 1, ' ');
    if (field == NULL) {
        errno = EPROTO;
        return -1;
    }
    *start_time = strtoull(field, NULL, 10);
    return 0;
}

int process_open(int connection, pid_t pid, uint64_t *start_time) {
    int process = -1;
    socklen_t bytes = sizeof process;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &process, &bytes) != 0) {
        if (errno != ENOPROTOOPT && errno != EINVAL) return -1;
        process = (int)syscall(SYS_pidfd_open, pid, 0);
        if (process < 0) return -1;
    }
    fcntl(process, F_SETFD, FD_CLOEXEC);
    int failed = read_start_time(pid, start_time) == 0 ? 0 : errno == ENOENT ? ESRCH : errno;
    /* Alive after reading: so it was this process whose time was read. */
    struct pollfd ended = {.fd = process, .events = POLLIN};
    if (failed == 0 && poll(&ended, 1, 0) != 0) failed = ESRCH;
    if (failed != 0) {
        close(process);
        errno = failed;
        return -1;
    }
    return process;
}
