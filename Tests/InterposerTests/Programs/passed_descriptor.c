/* A descriptor that came by SCM_RIGHTS, one reopened by /proc/PID/fd, one above 65536, and one inherited over exec. */
#include "show.h"
#include <sys/resource.h>
#include <sys/socket.h>
static void test(void) {
    int pair[2];
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t child = fork();
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } rights = {{0}};
    struct iovec part = {"x", 1};
    char byte;
    if (!child) {
        int fd = open("passed", O_CREAT | O_RDWR, 0644);
        write(fd, "by the sender ", 14);
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        _exit(sendmsg(pair[0], &message, 0) != 1);
    }
    part.iov_base = &byte;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes};
    SHOW(recvmsg(pair[1], &message, 0));
    int fd = -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    ended("sender", child);
    SHOW(write(fd, "by the receiver", 15));
    SHOW(fdatasync(fd));
    look("passed");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int high = (int)(limit.rlim_max > 100000 ? 99999 : limit.rlim_max - 1);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    printf("a high number: %s\n", dup2(fd, high) == high ? "yes" : "no");
    SHOW(write(high, "!", 1));
    child = fork();
    if (!child) {
        dup2(fd, 1);
        execlp("echo", "echo", "inherited", NULL);
        _exit(1);
    }
    ended("echo", child);
    look("passed");
}
