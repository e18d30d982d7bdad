/* write and pwrite: implicit offsets, seeks, holes, sizes around the limits of payload and block, zero length. */
#include "show.h"
static unsigned char bytes[70000];
static void test(void) {
    fill(bytes, sizeof bytes, 1);
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    for (size_t size = 1; size <= sizeof bytes; size = size * 2 + size % 3) SHOW(write(fd, bytes, size));
    size_t edges[] = {1023, 1024, 1025, 16383, 16384, 16385, 32768, 32769, 65536};
    for (unsigned i = 0; i < sizeof edges / sizeof *edges; i++) SHOW(write(fd, bytes + i, edges[i]));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(write(fd, bytes, 0));
    SHOW(pwrite(fd, bytes, 0, 10));
    SHOW(lseek(fd, 100, SEEK_SET));
    SHOW(write(fd, "at one hundred", 14));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(lseek(fd, -5, SEEK_END));
    SHOW(write(fd, "over the end", 12));
    SHOW(pwrite(fd, "positioned", 10, 7));
    SHOW(pwrite64(fd, "positioned 64", 13, 5000));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwrite(fd, "beyond", 6, 1000000));
    SHOW(lseek(fd, 3000000, SEEK_SET));
    SHOW(write(fd, "a hole before", 13));
    char back[8];
    SHOW(pread(fd, back, 8, 100));
    SHOW(read(fd, back, 8));
    SHOW(write(fd, "z", 1));
    look("a");
    SHOW(close(fd));
    int first = OPEN(open("b", O_CREAT | O_WRONLY, 0644)), second = OPEN(open("b", O_WRONLY)); /* two offsets */
    SHOW(write(first, "1111", 4));
    SHOW(write(second, "22", 2));
    SHOW(write(first, "11", 2));
    look("b");
    SHOW(lseek(first, (off_t)1 << 40, SEEK_SET)); /* a sparse terabyte costs nothing, if the file system allows it */
    SHOW(ftruncate(first, 10));
    look("b");
}
