/* Mappings: private and read-only ones as ever; a shared writable one of a tracked file is refused, also by the back door
   of mprotect. */
#include "show.h"
#include <sys/mman.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(ftruncate(fd, 8192));
    SHOW(pwrite(fd, "mapped", 6, 0));
    char *memory = POINTER(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    if (memory != MAP_FAILED) memory[0] = 'M';
    POINTER(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    POINTER(mmap64(NULL, 8192, PROT_WRITE, MAP_SHARED, fd, 4096));
    POINTER(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0));
    memory = POINTER(mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0));
    SHOW(mprotect(memory, 8192, PROT_READ | PROT_WRITE));
    SHOW(memcmp(memory, "mapped", 6));
    SHOW(pwrite(fd, "Mapped", 6, 0));
    SHOW(memcmp(memory, "Mapped", 6));
    SHOW(munmap(memory, 8192));
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/mapped", outside);
    int other = OPEN(open(path, O_CREAT | O_RDWR, 0644));
    SHOW(ftruncate(other, 4096));
    memory = POINTER(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0));
    memory[0] = 'x';
    SHOW(msync(memory, 4096, MS_SYNC));
    POINTER(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    look("a");
}
