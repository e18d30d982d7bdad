#define _GNU_SOURCE
#include "Sockets.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int lockstep_unix_listen(const char *directory, const char *name, int type) {
    int folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return -errno;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    int socket_ = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    if (length >= (int)sizeof address.sun_path) error = ENAMETOOLONG;
    else if (socket_ < 0) error = errno;
    else {
        unlinkat(folder, name, 0);
        /* The name gets the socket's own mode (Linux). A umask would be that of all threads: directories which others make
           meanwhile could not be entered. */
        if (fchmod(socket_, 0600) < 0 || bind(socket_, (struct sockaddr *)&address, sizeof address) < 0 || listen(socket_, 64) < 0)
            error = errno;
    }
    close(folder);
    if (error) {
        if (socket_ >= 0) close(socket_);
        return -error;
    }
    return socket_;
}

int lockstep_accept(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return connection < 0 ? -errno : connection;
}

int lockstep_set_no_delay(int connection) {
    int on = 1;
    return setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
}

static struct sockaddr_in loopback(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int lockstep_loopback_listen(uint16_t port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) return -errno;
    int on = 1;
    struct sockaddr_in address = loopback(port);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4) < 0) {
        int error = errno;
        close(listener);
        return -error;
    }
    return listener;
}

/* On loopback the handshake is over when connect returns, or the kernel refuses at once; only a full queue of a listener
   that does not accept takes longer, and is not waited for. */
int lockstep_loopback_connect(uint16_t port) {
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection < 0) return -errno;
    struct sockaddr_in address = loopback(port);
    int error = 0;
    if (connect(connection, (struct sockaddr *)&address, sizeof address) < 0) {
        error = errno;
        struct pollfd entry = {.fd = connection, .events = POLLOUT};
        socklen_t bytes = sizeof error;
        if (error == EINPROGRESS) {
            if (poll(&entry, 1, 10) <= 0) error = ETIMEDOUT;
            else if (getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0) error = errno;
        }
    }
    /* io_uring waits by itself on a blocking socket only. */
    if (!error && fcntl(connection, F_SETFL, 0) < 0) error = errno;
    if (error) {
        close(connection);
        return -error;
    }
    lockstep_set_no_delay(connection);
    return connection;
}

int lockstep_eventfd(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

void lockstep_set_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int lockstep_random(void *bytes, unsigned count) {
    return getrandom(bytes, count, 0) == (ssize_t)count ? 0 : -EIO;
}

const char *lockstep_error_text(int error) { return strerror(error); }
