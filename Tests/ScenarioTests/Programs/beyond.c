/*
 * beyond.c: calls beyond 4 GiB, where a length or an offset of 32 bits would end.
 *
 *   beyond DIRECTORY          makes them on two sparse files, prints each result
 *   beyond digest FILE...     size and a digest of every block that is not zero, without reading holes
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define GIB (1ll << 30)
#define SHOW(call) (errno = 0, result = (long)(call), printf("%s = %ld %s\n", #call, result, result < 0 ? strerrorname_np(errno) : ""))

static char block[1 << 20];

static int make(const char *directory) {
    long result;
    if (chdir(directory)) return 66;
    int fd = open("sparse", O_CREAT | O_RDWR | O_TRUNC, 0644), other = open("other", O_CREAT | O_RDWR | O_TRUNC, 0644);
    memset(block, 'x', sizeof block);
    SHOW(pwrite(fd, block, sizeof block, 5 * GIB + 1000));
    SHOW(pwrite(fd, block, 5000, 4 * GIB - 2500)); /* across the border */
    SHOW(lseek(fd, 6 * GIB, SEEK_SET));
    SHOW(write(fd, "implicit", 8));
    SHOW(ftruncate(fd, 7 * GIB + 3));
    struct iovec parts[2] = {{block, 3000}, {block, 4000}};
    SHOW(pwritev(fd, parts, 2, 4 * GIB + 123456));
    SHOW(pwritev2(fd, parts, 2, 0, RWF_APPEND));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * GIB + 300000, 200000));
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4 * GIB + 124000, 1000));
    SHOW(fallocate(fd, 0, 9 * GIB, 1 << 20));
    SHOW(copy_file_range(fd, (off_t[]){5 * GIB + 1000}, other, (off_t[]){8 * GIB + 77}, 100000, 0));
    SHOW(lseek(other, 4 * GIB + 5, SEEK_SET));
    off_t from = 5 * GIB + 2000;
    SHOW(sendfile(other, fd, &from, 70000));
    SHOW(from);
    SHOW(truncate("other", 8 * GIB + 50000));
    SHOW(fsync(fd));
    int append = open("other", O_WRONLY | O_APPEND);
    SHOW(write(append, "appended", 8));
    FILE *stream = fopen("other", "r+");
    SHOW(fseeko(stream, 4 * GIB + 100, SEEK_SET));
    SHOW(fputs("stdio", stream));
    SHOW(fclose(stream));
    struct stat status;
    fstat(fd, &status);
    SHOW(status.st_size);
    SHOW(stat("other", &status));
    SHOW(status.st_size);
    return 0;
}

static int digest(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status)) return 66;
    uint64_t sum = 14695981039346656037ull, found = 0;
    static const char zero[4096];
    for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;)
        for (off_t end = lseek(fd, at, SEEK_HOLE); at < end; at = (at / 4096 + 1) * 4096) {
            char bytes[4096] = {0};
            if (pread(fd, bytes, 4096 - at % 4096, at) < 0) return 1;
            if (memcmp(bytes, zero, 4096) == 0) continue;
            found++;
            for (int i = 0; i < 4096; i++) sum = (sum ^ (uint8_t)bytes[i]) * 1099511628211ull;
            sum = (sum ^ (uint64_t)at) * 1099511628211ull;
        }
    printf("%lld bytes, %llu blocks, %016llx\n", (long long)status.st_size, (unsigned long long)found, (unsigned long long)sum);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 2) return make(arguments[1]);
    for (int i = 2; i < count; i++)
        if (digest(arguments[i])) return 1;
    return count < 3;
}
