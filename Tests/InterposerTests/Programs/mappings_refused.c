/* Where stores can't be tracked (Checks/mappings.sh); else the same as ever. */
#include "show.h"
#include <sys/mman.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(ftruncate(fd, 8192));
    SHOW(pwrite(fd, "mapped", 6, 0));
    POINTER(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    POINTER(mmap(NULL, 8192, PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0));
    char *memory = POINTER(mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0));
    SHOW(mprotect(memory, 8192, PROT_READ | PROT_WRITE));
    SHOW(memcmp(memory, "mapped", 6));
    SHOW(pwrite(fd, "Mapped", 6, 0));
    SHOW(memcmp(memory, "Mapped", 6));
    SHOW(msync(memory, 8192, MS_SYNC));
    SHOW(munmap(memory, 8192));
    look("a");
}
