/*
 * border.c: four processes that move a few files into a directory and out of it, and write to them on both sides.
 *
 *   border INSIDE OUTSIDE SEED ROUNDS
 *   border INSIDE OUTSIDE              one writes to a file outside, another one moves it in, the first one writes again
 *
 * A name is there or not, a file open for writing can't come in (EXDEV): that is no error. A call that is refused for what
 * it is (EOPNOTSUPP, EIO, ENOSYS) is one; it ends with 1 then. Prints how often something came in, went out, was busy.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, FILES = 5, FILE_BYTES = 100000 };

static struct { _Atomic(long) entered, left, busy, wrote; } *counts;
static uint64_t state;
static char block[9000];

static unsigned draw(unsigned below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % below;
}

static int did(const char *what, long result) {
    if (result < 0 && (errno == EOPNOTSUPP || errno == EIO || errno == ENOSYS)) {
        dprintf(2, "border: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
    return result >= 0;
}
#define DO(call) (errno = 0, did(#call, (long)(call)))

static void write_some(int at, const char *name, int flags) {
    int fd = openat(at, name, O_RDWR | flags, 0644);
    if (fd < 0) return;
    memset(block, 'a' + (int)draw(26), sizeof block);
    for (unsigned times = 1 + draw(3); times > 0; times--)
        if (DO(pwrite(fd, block, 1 + draw(sizeof block), (off_t)draw(FILE_BYTES)))) counts->wrote++;
    if (draw(8) == 0) DO(fsync(fd));
    if (draw(16) == 0) DO(ftruncate(fd, (off_t)draw(FILE_BYTES)));
    close(fd);
}

static void round_of(int inside, int outside, unsigned process, unsigned number) {
    char name[32], other[32];
    snprintf(name, sizeof name, "f%u", draw(FILES));
    switch (draw(9)) {
    case 0:
    case 1:
        if (DO(renameat(outside, name, inside, name))) counts->entered++;
        else if (errno == EXDEV) counts->busy++;
        break;
    case 2:
        if (DO(renameat(inside, name, outside, name))) counts->left++;
        break;
    case 3:
    case 4:
        write_some(inside, name, 0);
        break;
    case 5:
    case 6:
        write_some(outside, name, 0);
        break;
    case 7:
        write_some(inside, name, O_CREAT);
        break;
    default: /* a directory goes out with what is in it */
        snprintf(name, sizeof name, "d%u", process);
        snprintf(other, sizeof other, "d%u-%u", process, number);
        DO(mkdirat(inside, name, 0755));
        snprintf(block, sizeof block, "%s/file", name);
        int fd = openat(inside, block, O_CREAT | O_WRONLY, 0644);
        if (fd >= 0) {
            DO(write(fd, other, strlen(other)));
            if (draw(2) == 0 && DO(renameat(inside, name, outside, other))) counts->left++;
            DO(write(fd, other, strlen(other)));
            close(fd);
        }
    }
}

static int once(int inside, int outside) {
    for (int at = outside;; at = inside) {
        int fd = openat(at, "once", O_CREAT | O_WRONLY | O_APPEND, 0644), status;
        if (fd < 0 || !DO(write(fd, "once more", 9))) return 1;
        close(fd);
        if (at == inside) return 0;
        /* With its bytes: a durability point waits for what came in. */
        if (fork() == 0) _exit(renameat(outside, "once", inside, "once") != 0 || fsync(inside) != 0);
        if (wait(&status) < 0 || status) return 1;
    }
}

int main(int count, char **arguments) {
    if (count != 3 && count != 5) return 64;
    int inside = open(arguments[1], O_RDONLY | O_DIRECTORY), outside = open(arguments[2], O_RDONLY | O_DIRECTORY), code = 0;
    if (count == 3) return once(inside, outside);
    unsigned rounds = (unsigned)atoi(arguments[4]);
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (inside < 0 || outside < 0 || counts == MAP_FAILED) return 66;
    for (unsigned process = 0; process < PROCESSES; process++)
        if (fork() == 0) {
            state = (uint64_t)atol(arguments[3]) * 1000 + process;
            for (unsigned number = 0; number < rounds; number++) round_of(inside, outside, process, number);
            _exit(0);
        }
    for (int status; wait(&status) > 0;)
        if (status) code = 1;
    printf("%ld %ld %ld %ld\n", counts->entered, counts->left, counts->busy, counts->wrote);
    return code;
}
