/* A number that means a file of the tree and one outside in turns, by each route that the library sees. Whether a known
   number still means the same is not left to chance, that is to the files' generations (Checks/control.sh). */
#include "numbers.h"
#include <linux/openat2.h>
static int by_open(const char *path) { return open(path, O_RDWR); }
static int by_creation(const char *path) { return open(path, O_RDWR | O_CREAT, 0644); }
static int by_truncation(const char *path) { return open(path, O_RDWR | O_CREAT | O_TRUNC, 0644); }
static int by_openat(const char *path) { return openat(AT_FDCWD, path, O_WRONLY); }
static int by_creat(const char *path) { return creat(path, 0644); }
static int by_number(const char *path) { return (int)syscall(SYS_open, path, O_WRONLY); }
static int by_openat2(const char *path) {
    struct open_how how = {.flags = O_WRONLY};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}
static int by_handle(const char *path) {
    struct { struct file_handle head; char bytes[128]; } handle = {.head = {.handle_bytes = 128}};
    int mount, directory = open(".", O_RDONLY), fd = -1;
    if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0) == 0) fd = open_by_handle_at(directory, &handle.head, O_WRONLY);
    int moved = dup2(fd, NUMBER - 1);
    close(fd); close(directory);
    return moved;
}
/* The number stays open, and comes to mean another file at once. */
static int duplicated(const char *path, long (*duplicate)(int)) {
    int fd = open(path, O_WRONLY), number = (int)duplicate(fd);
    close(fd);
    return number;
}
static long two(int fd) { return dup2(fd, NUMBER); }
static long three(int fd) { return dup3(fd, NUMBER, O_CLOEXEC); }
static long two_by_number(int fd) { return syscall(SYS_dup2, fd, NUMBER); }
static long three_by_number(int fd) { return syscall(SYS_dup3, fd, NUMBER, 0); }
static int by_dup2(const char *path) { return duplicated(path, two); }
static int by_dup3(const char *path) { return duplicated(path, three); }
static int by_dup2_number(const char *path) { return duplicated(path, two_by_number); }
static int by_dup3_number(const char *path) { return duplicated(path, three_by_number); }
static int by_dup(const char *path) { return duplicated(path, (long (*)(int))(void *)dup); }
static FILE *stream;
static int by_fopen(const char *path) { return fileno(stream = fopen(path, "r+")); }
static int by_fopen_w(const char *path) { return fileno(stream = fopen(path, "w")); }
static int by_fopen_charset(const char *path) { return fileno(stream = fopen(path, "a,ccs=UTF-8")); }
static void stream_close(int number) { (void)number; fclose(stream); }
static int by_freopen(const char *path) { return fileno(stream = freopen(path, "r+", stream)); }
static int by_freopen_w(const char *path) { return fileno(stream = freopen(path, "w", stream)); }
static void number_close(int number) { close(number); }
static void test(void) {
    turns("open", by_open, number_close);
    turns("open with O_CREAT", by_creation, number_close);
    turns("open with O_TRUNC", by_truncation, number_close);
    turns("openat", by_openat, number_close);
    turns("creat", by_creat, number_close);
    turns("syscall(SYS_open)", by_number, number_close);
    turns("openat2", by_openat2, number_close);
    turns("open_by_handle_at and dup2", by_handle, number_close);
    turns("dup", by_dup, number_close);
    turns("dup2", by_dup2, NULL);
    turns("dup3", by_dup3, NULL);
    turns("syscall(SYS_dup2)", by_dup2_number, NULL);
    turns("syscall(SYS_dup3)", by_dup3_number, NULL);
    turns("fopen", by_fopen, stream_close);
    turns("fopen for writing", by_fopen_w, stream_close);
    turns("fopen with a character set", by_fopen_charset, stream_close);
    stream = fopen("/dev/null", "r+");
    turns("freopen", by_freopen, NULL);
    turns("freopen for writing", by_freopen_w, NULL);
}
