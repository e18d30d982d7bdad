/* Every durability point: fsync, fdatasync, of directories, read-only descriptors and files never written; sync, syncfs;
   O_DSYNC, O_SYNC, RWF_DSYNC; msync; sync_file_range. */
#include "show.h"
#include <sys/mman.h>
#include <sys/uio.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), read_only = OPEN(open("a", O_RDONLY)), directory = OPEN(open(".", O_RDONLY | O_DIRECTORY));
    SHOW(write(fd, "data", 4));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    SHOW(fsync(read_only));
    SHOW(fdatasync(read_only));
    SHOW(fsync(directory));
    SHOW(fdatasync(directory));
    SHOW(syncfs(fd));
    sync();
    SHOW(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE));
    SHOW(fsync(-1));
    SHOW(fdatasync(-1));
    SHOW(syncfs(-1));
    SHOW(fsync(OPEN(open("a", O_PATH))));
    int pipes[2];
    SHOW(pipe(pipes));
    SHOW(fsync(pipes[1]));
    SHOW(unlink("a"));
    SHOW(fsync(fd));
    SHOW(fsync(directory));
    int dsync = OPEN(open("b", O_CREAT | O_DSYNC | O_RDWR, 0644));
    SHOW(write(dsync, "durable", 7));
    SHOW(pwrite(dsync, "D", 1, 0));
    struct iovec part = {"vector", 6};
    SHOW(writev(dsync, &part, 1));
    SHOW(write(dsync, (char *)8, 5));
    SHOW(write(dsync, "", 0));
    int sync_ = OPEN(open("c", O_CREAT | O_SYNC | O_APPEND | O_WRONLY, 0644));
    SHOW(write(sync_, "durable too", 11));
    int plain = OPEN(open("b", O_RDWR));
    SHOW(pwritev2(plain, &part, 1, 3, RWF_DSYNC));
    SHOW(pwritev2(plain, &part, 1, -1, RWF_SYNC));
    for (int i = 0; i < 100; i++)
        if (pwrite(plain, "loop", 4, i) != 4 || fdatasync(plain)) printf("round %d failed\n", i);
    void *memory = POINTER(mmap(NULL, 4096, PROT_READ, MAP_SHARED, read_only, 0));
    (void)memory;
    look("b"); look("c");
}
