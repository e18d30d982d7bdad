/* A file system that gets full: short counts and ENOSPC as the kernel gives them, what is there afterwards, and how it goes on
   when there is room again. It runs where a tree is small (Checks/full.sh, the scenarios); elsewhere it says so. */
#include "show.h"
#include <sys/statvfs.h>
#include <sys/uio.h>
static char bytes[1 << 20];
static void test(void) {
    struct statvfs room;
    statvfs(".", &room);
    if (room.f_blocks * room.f_frsize > 64ul << 20) {
        printf("a large file system\n");
        return;
    }
    fill(bytes, sizeof bytes, 3);
    int fd = OPEN(open("filling", O_CREAT | O_RDWR, 0644)), log = OPEN(open("log", O_CREAT | O_APPEND | O_WRONLY, 0644)), kept = OPEN(open("kept", O_CREAT | O_RDWR, 0644));
    SHOW(write(log, "first\n", 6));
    SHOW(pwrite(kept, bytes, 100000, 0));
    long total = 0, count;
    while ((count = write(fd, bytes, sizeof bytes)) == (long)sizeof bytes) total += count;
    show("the write that did not fit", count);
    SHOW(total > 0);
    SHOW(lseek(fd, 0, SEEK_CUR) == total + (count > 0 ? count : 0));
    while ((count = write(fd, bytes, 1000)) == 1000) continue;
    while ((count = write(fd, bytes, 1)) == 1) continue;
    show("not one byte more", count);
    struct stat status;
    fstat(fd, &status);
    SHOW(pwrite(fd, bytes, 5000, status.st_size));
    SHOW(pwrite(fd, bytes + 7, 5000, 4096)); /* what has its blocks can be written */
    struct iovec vector[2] = {{bytes, 3000}, {bytes + 9, 200000}};
    SHOW(pwritev(fd, vector, 2, status.st_size - 3000));
    SHOW(write(log, bytes, 20000));
    FILE *stream = fopen("kept", "r+");
    fseek(stream, 0, SEEK_END);
    for (int i = 0; i < 50; i++) fwrite(bytes, 1, 1000, stream);
    SHOW(fclose(stream));
    SHOW(fallocate(fd, 0, status.st_size, 1 << 20));
    SHOW(posix_fallocate(fd, status.st_size, 1 << 20));
    off_t from = 0, to = status.st_size;
    SHOW(copy_file_range(kept, &from, fd, &to, 50000, 0));
    int durable = OPEN(open("kept", O_WRONLY | O_DSYNC));
    SHOW(pwrite(durable, bytes + 1, 200000, 50000));
    SHOW(pwrite(durable, bytes + 2, 50000, 10000));
    SHOW(fsync(fd));
    SHOW(fsync(log));
    look("filling"); look("log"); look("kept");
    SHOW(ftruncate(fd, status.st_size + 1000000)); /* a hole has no blocks */
    SHOW(pwrite(fd, "end", 3, status.st_size + 900000));
    SHOW(ftruncate(fd, 200000));
    SHOW(write(log, "there is room again\n", 20));
    SHOW(pwrite(fd, bytes, 300000, 150000));
    SHOW(mkdir("d", 0755));
    for (int i = 0; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/%d", i);
        int one = open(name, O_CREAT | O_WRONLY, 0644);
        if (one < 0 || write(one, bytes, 4000) != 4000 || close(one)) show(name, -1);
    }
    SHOW(fsync(fd));
    look("filling"); look("log"); look("kept");
}
