/*
 * mapped.c FILE: writes a file through a shared mapping, as LMDB does with MDB_WRITEMAP. Exit code 1 when it may not.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **arguments) {
    int file = count == 2 ? open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
    if (file < 0 || ftruncate(file, 4096) != 0) return 2;
    char *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    strcpy(mapped, "stored");
    return msync(mapped, 4096, MS_SYNC) == 0 ? 0 : 2;
}
