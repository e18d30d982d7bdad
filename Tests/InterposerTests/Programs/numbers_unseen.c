/* A number that means a file of the tree and one outside in turns, by routes that pass the library by: raw system calls,
   F_DUPFD, a descriptor that came through a socket. */
#include "numbers.h"
#include <sys/socket.h>
static long raw(long number, long a, long b, long c) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return answer;
}
static void raw_close(int number) { raw(SYS_close, number, 0, 0); }
static int by_raw_open(const char *path) { return (int)raw(SYS_open, (long)path, O_WRONLY, 0); }
static int by_raw_dup2(const char *path) {
    int fd = by_raw_open(path), number = (int)raw(SYS_dup2, fd, NUMBER, 0);
    raw_close(fd);
    return number;
}
static int by_fcntl(const char *path) {
    int fd = by_raw_open(path), number = fcntl(fd, F_DUPFD, NUMBER + 1);
    raw_close(fd);
    return number;
}
static int by_socket(const char *path) {
    int pair[2], fd = by_raw_open(path);
    union { char bytes[CMSG_SPACE(sizeof fd)]; struct cmsghdr align; } rights = {{0}};
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    sendmsg(pair[0], &message, 0);
    raw_close(fd);
    recvmsg(pair[1], &message, 0);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    raw_close(pair[0]);
    raw_close(pair[1]);
    return fd;
}
static void test(void) {
    turns("raw open and close", by_raw_open, raw_close);
    turns("raw dup2", by_raw_dup2, NULL);
    turns("F_DUPFD", by_fcntl, raw_close);
    turns("a descriptor through a socket", by_socket, raw_close);
}
