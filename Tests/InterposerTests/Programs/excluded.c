/* Names on the exclusion list (the rig's is "-shm"): they pass, mappings too, and nothing of them reaches the mirror. */
#include "show.h"
#include <sys/mman.h>
static void test(void) {
    int fd = OPEN(open("base-shm", O_CREAT | O_RDWR, 0644));
    SHOW(ftruncate(fd, 32768));
    char *memory = POINTER(mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (memory != MAP_FAILED) memory[5] = 'x';
    SHOW(pwrite(fd, "y", 1, 6));
    SHOW(fsync(fd));
    SHOW(chmod("base-shm", 0600));
    int base = OPEN(open("base", O_CREAT | O_RDWR, 0644));
    SHOW(write(base, "captured", 8));
    SHOW(unlink("base-shm"));
    fd = OPEN(open("again-shm", O_CREAT | O_TRUNC | O_WRONLY, 0644));
    SHOW(write(fd, "stays here", 10));
    SHOW(mkdir("d-shm-not", 0755));
    SHOW(write(OPEN(creat("d-shm-not/captured", 0644)), "z", 1));
    SHOW(truncate("again-shm", 3));
    look("again-shm"); look("base");
}
