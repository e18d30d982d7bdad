/* varies: what was written through a mapping is read in the end */
/* Mappings of tracked files, through their lives: stores, msync, made writable later, cut, moved, replaced, punched. */
#include "show.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#define PAGE 4096
static int file(const char *name, long pages) {
    int fd = open(name, O_CREAT | O_RDWR, 0644);
    if (fd < 0 || ftruncate(fd, pages * PAGE)) printf("%s: %s\n", name, strerrorname_np(errno));
    return fd;
}
static void cut(void) {
    int fd = file("cut", 8);
    char *memory = POINTER(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    for (int i = 0; i < 8; i++) memory[i * PAGE] = (char)('a' + i);
    SHOW(munmap(memory + 2 * PAGE, PAGE));
    memory[3 * PAGE + 5] = 'X';
    SHOW(munmap(memory + 7 * PAGE, PAGE));
    memory[5] = 'Y';
    SHOW(mprotect(memory, PAGE, PROT_READ));
    SHOW(mmap(memory + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory + 4 * PAGE);
    memory[4 * PAGE] = '?'; /* not the file's any more */
    SHOW(munmap(memory, 8 * PAGE));
    close(fd);
    look("cut");
}
static void moved(void) {
    int fd = file("moved", 64);
    char *memory = POINTER(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
    memory[0] = '0';
    memory = POINTER(mremap(memory, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE));
    memory[40 * PAGE] = '1';
    char *place = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(mremap(memory, 64 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    place[10 * PAGE] = '2';
    SHOW(mremap(place, 32 * PAGE, 16 * PAGE, 0) == place);
    place[15 * PAGE] = '3';
    char *second = POINTER(mremap(place, 0, 8 * PAGE, MREMAP_MAYMOVE));
    second[5 * PAGE] = '4';
    SHOW(munmap(place, 16 * PAGE));
    second[6 * PAGE] = '5';
    SHOW(msync(second, 8 * PAGE, MS_SYNC));
    SHOW(munmap(second, 8 * PAGE));
    look("moved");
}
static void sleeping(void) {
    int fd = file("sleeping", 8);
    SHOW(pwrite(fd, "mapped", 6, 0));
    char *memory = POINTER(mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED, fd, 0));
    SHOW(memcmp(memory, "mapped", 6));
    SHOW(mprotect(memory + PAGE, PAGE, PROT_READ | PROT_WRITE));
    memory[PAGE] = 'w';
    SHOW(mprotect(memory, 8 * PAGE, PROT_READ | PROT_WRITE));
    memory[0] = 'M';
    memory[7 * PAGE] = 'z';
    SHOW(pwrite(fd, "W", 1, 3 * PAGE));
    SHOW(memory[3 * PAGE]);
    SHOW(mprotect(memory, 8 * PAGE, PROT_READ));
    SHOW(munmap(memory, 8 * PAGE));
    memory = POINTER(mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED, fd, 0));
    memory = POINTER(mremap(memory, 8 * PAGE, 32 * PAGE, MREMAP_MAYMOVE));
    SHOW(memory[0]);
    SHOW(msync(memory, 8 * PAGE, MS_SYNC));
    SHOW(munmap(memory, 32 * PAGE));
    int only = OPEN(open("sleeping", O_RDONLY));
    memory = POINTER(mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED, only, 0));
    SHOW(mprotect(memory, PAGE, PROT_READ | PROT_WRITE));
    POINTER(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, only, 0));
    SHOW(msync(memory, 8 * PAGE, MS_SYNC));
    SHOW(munmap(memory, 8 * PAGE));
    look("sleeping");
}
static void advised(void) {
    int fd = file("advised", 16);
    char *memory = POINTER(mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memset(memory, 'a', 16 * PAGE);
    SHOW(madvise(memory + 4 * PAGE, 4 * PAGE, MADV_REMOVE));
    memory[5 * PAGE] = 'b';
    SHOW(madvise(memory, 16 * PAGE, MADV_DONTNEED));
    SHOW(memory[5 * PAGE]);
    SHOW(memory[0]);
    SHOW(madvise(memory, PAGE, MADV_DONTFORK));
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        memory[9 * PAGE] = 'c';
        _exit(mincore(memory, PAGE, (unsigned char[1]){0}) == -1 && errno == ENOMEM ? 7 : 1);
    }
    ended("child", child);
    SHOW(madvise(memory, PAGE, MADV_DOFORK));
    SHOW(munmap(memory, 16 * PAGE));
    look("advised");
}
static void kernels(void) { /* the kernel stores */
    int fd = file("kernels", 8), from = OPEN(open("advised", O_RDONLY));
    char *memory = POINTER(mmap64(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0));
    SHOW(read(from, memory + 3 * PAGE, 100));
    SHOW(pread(from, memory + 6 * PAGE + 17, 2 * PAGE - 17, 9 * PAGE));
    SHOW(munmap(memory, 8 * PAGE));
    look("kernels");
    SHOW(syscall(SYS_munmap, memory + 1, PAGE));
    POINTER(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 1));
    POINTER(mmap(NULL, 0, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
}
static void others(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(ftruncate(fd, 8192));
    char *memory = POINTER(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    if (memory != MAP_FAILED) memory[0] = 'M';
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
static void test(void) {
    cut();
    moved();
    sleeping();
    advised();
    kernels();
    others();
    /* Left mapped: told at the end. */
    char *memory = POINTER(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file("left", 1), 0));
    memory[100] = 'l';
    look("left");
}
