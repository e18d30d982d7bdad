/* fallocate in every mode, and what each refuses: collapse and insert move what lies behind them, also over and over. */
#include "show.h"
#include <linux/falloc.h>
static char block[65536];
static int make(const char *name, size_t bytes) {
    int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0644);
    for (size_t at = 0; at < bytes; at += sizeof block) {
        fill(block, sizeof block, (unsigned)at + 7);
        if (pwrite(fd, block, bytes - at < sizeof block ? bytes - at : sizeof block, (off_t)at) < 0) printf("%s can't be made\n", name);
    }
    return fd;
}
static void test(void) {
    int fd = make("a", 100000);
    SHOW(fallocate(fd, 0, 50000, 100000)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 300000)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20001, 17)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 140000, 100000)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 30000, 10001)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 149000, 10000)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 149000, 10000)); look("a");
    SHOW(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4096)); look("a");
    fd = make("b", 300000);
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 8192, 4096)); look("b");
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 8192, 100)); look("b");
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 1 << 20)); look("b");
    SHOW(fallocate(fd, FALLOC_FL_INSERT_RANGE, 16384, 8192)); look("b");
    SHOW(fallocate(fd, FALLOC_FL_INSERT_RANGE, 1 << 20, 4096)); look("b");
    SHOW(fallocate(fd, FALLOC_FL_INSERT_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096)); look("b");
    int large = make("c", 3 << 20); /* more than one repair carries at once */
    for (int i = 0; i < 20; i++) {
        long collapsed = fallocate(large, FALLOC_FL_COLLAPSE_RANGE, 4096 * i, 4096);
        long written = pwrite(large, "after the collapse", 18, 4096 * i);
        long inserted = fallocate(large, FALLOC_FL_INSERT_RANGE, 8192 * i, 8192);
        if (written != 18 || collapsed != inserted) printf("round %d: %ld %ld %ld\n", i, collapsed, written, inserted);
    }
    look("c");
    SHOW(fallocate(fd, 0x40000000, 0, 4096));
    SHOW(fallocate(fd, 0, 0, 0));
    SHOW(fallocate(fd, 0, -1, 10));
    SHOW(fallocate(fd, 0, 0, -1));
    SHOW(fallocate(OPEN(open("a", O_RDONLY)), 0, 0, 10));
    SHOW(fallocate(OPEN(open(".", O_RDONLY)), 0, 0, 10));
    look("a"); look("b");
}
