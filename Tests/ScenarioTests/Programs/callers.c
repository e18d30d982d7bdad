/*
 * callers.c: processes that make the same calls on the same few ranges, names or attributes at the same time, so that
 * the order of the calls is not that of their intents, and only what is read again makes the trees equal.
 *
 *   callers bytes|names|attributes DIRECTORY SEED ROUNDS
 *
 * Results are not looked at: a name is there or not. What must not happen is a call that is refused for what it is
 * (EOPNOTSUPP, EIO, ENOSYS); it ends with 1 then. Prints how many calls succeeded.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PROCESSES = 4, FILES = 3, FILE_BYTES = 40 * 4096 };

static uint64_t state;
static long succeeded;

static unsigned draw(unsigned below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % below;
}

static void did(const char *what, long result) {
    if (result >= 0) succeeded++;
    else if (errno == EOPNOTSUPP || errno == EIO || errno == ENOSYS) {
        dprintf(2, "callers: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
}
#define DO(call) (errno = 0, did(#call, (long)(call)))

/* ------------------------------------------------------------------ bytes */

static char block[3 * 4096];

static void bytes_round(int *files) {
    int fd = files[draw(FILES)], other = files[draw(FILES)], pipes[2];
    off_t offset = (off_t)draw(FILE_BYTES), aligned = offset & ~4095l, source = (off_t)draw(FILE_BYTES);
    size_t bytes = 1 + draw(sizeof block);
    struct iovec part = {block, bytes};
    memset(block, 'a' + (int)draw(26), sizeof block);
    switch (draw(14)) {
    case 0: DO(pwrite(fd, block, bytes, offset)); break;
    case 1: DO(pwritev2(fd, &part, 1, offset, RWF_APPEND)); break;
    case 2: DO(pwritev2(fd, &part, 1, offset, RWF_DSYNC)); break;
    case 3: DO(ftruncate(fd, FILE_BYTES - 8192 + (off_t)draw(16384))); break;
    case 4: DO(fallocate(fd, 0, offset, (off_t)bytes)); break;
    case 5: DO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)bytes)); break;
    case 6: DO(fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, (off_t)bytes)); break;
    case 7: DO(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, (off_t)bytes)); break;
    case 8: DO(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, aligned, 4096)); break;
    case 9: DO(fallocate(fd, FALLOC_FL_INSERT_RANGE, aligned, 4096)); break;
    case 10: DO(copy_file_range(other, &source, fd, &offset, bytes, 0)); break;
    case 11:
        DO(lseek(fd, offset, SEEK_SET));
        DO(sendfile(fd, other, &source, bytes));
        break;
    case 12:
        if (pipe(pipes)) exit(71);
        if (write(pipes[1], block, bytes) < 0) exit(71);
        DO(splice(pipes[0], NULL, fd, &offset, bytes, 0));
        close(pipes[0]), close(pipes[1]);
        break;
    default: DO(fdatasync(fd));
    }
    off_t end = lseek(fd, 0, SEEK_END);
    if (end > 2 * FILE_BYTES) DO(ftruncate(fd, FILE_BYTES));
}

static void bytes(unsigned rounds) {
    int files[FILES];
    char name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "file%d", i);
        files[i] = open(name, O_CREAT | O_RDWR | (i == 1 ? O_DSYNC : 0), 0644);
        if (files[i] < 0 || fallocate(files[i], 0, 0, FILE_BYTES)) perror(name), exit(73);
    }
    for (unsigned i = 0; i < rounds; i++) bytes_round(files);
}

/* ------------------------------------------------------------------ names */

static const char *any_name(void) {
    static const char *const names[] = {"a", "b", "d/a", "d/b", "e/a", "e/b", "d", "e", "d/f", "e/f"};
    return names[draw(10)];
}

static void names_round(void) {
    const char *name = any_name(), *other = any_name();
    int fd;
    switch (draw(13)) {
    case 0: case 1:
        fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        DO(fd);
        if (fd >= 0) DO(write(fd, name, strlen(name))), close(fd);
        break;
    case 2: DO(mkdir(name, 0755)); break;
    case 3: DO(unlink(name)); break;
    case 4: DO(rename(name, other)); break;
    case 5: DO(renameat2(AT_FDCWD, name, AT_FDCWD, other, RENAME_NOREPLACE)); break;
    case 9: case 10: DO(link(name, other)); break;
    case 11:
        fd = open(".", O_TMPFILE | O_WRONLY, 0644);
        DO(fd);
        DO(write(fd, other, strlen(other)));
        DO(linkat(fd, "", AT_FDCWD, name, AT_EMPTY_PATH));
        close(fd);
        break;
    case 12:
        fd = open(name, O_WRONLY | O_APPEND);
        if (fd >= 0) DO(write(fd, "+", 1)), close(fd);
        break;
    case 6: case 7:
        /* Of directories it is refused. */
        if (renameat2(AT_FDCWD, name, AT_FDCWD, other, RENAME_EXCHANGE) == 0 || errno != EOPNOTSUPP) succeeded++;
        break;
    default:
        fd = open(".", O_RDONLY | O_DIRECTORY);
        DO(draw(4) ? fsync(fd) : syncfs(fd));
        close(fd);
    }
}

static void names(unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) names_round();
}

/* ------------------------------------------------------------------ attributes */

/* linux/posix_acl_xattr.h: version, then tag, permissions, id */
static const uint32_t list_of_access[] = {2, 1 | 6 << 16, -1u, 2 | 7 << 16, 777, 4 | 4 << 16, -1u, 16 | 5 << 16, -1u, 32, -1u};

static void attributes_round(void) {
    static const char *const files[] = {"x", "y", "d", "d/x"};
    static const char *const names[] = {"user.a", "user.b"};
    const char *file = files[draw(4)], *name = names[draw(2)];
    uint32_t list[11];
    int fd;
    memcpy(list, list_of_access, sizeof list);
    list[3] = 2 | draw(8) << 16;
    switch (draw(10)) {
    case 0: case 1: DO(setxattr(file, name, block, draw(3000), 0)); break;
    case 2: DO(removexattr(file, name)); break;
    case 3: DO(setxattr(file, "system.posix_acl_access", list, sizeof list, 0)); break;
    case 4: DO(removexattr(file, "system.posix_acl_access")); break;
    case 5: DO(chmod(file, 0700 + draw(64))); break;
    case 6: DO(setxattr("d", "system.posix_acl_default", list, sizeof list, 0)); break;
    case 7: DO(removexattr("d", "system.posix_acl_default")); break;
    case 8: DO(unlink("d/x")); break;
    default:
        fd = open(file, O_CREAT | O_WRONLY, 0666);
        if (fd >= 0) DO(write(fd, name, 6)), close(fd);
    }
}

static void attributes(unsigned rounds) {
    mkdir("d", 0777);
    for (unsigned i = 0; i < rounds; i++) attributes_round();
}

int main(int count, char **values) {
    if (count != 5) return 64;
    void (*work)(unsigned) = !strcmp(values[1], "bytes") ? bytes : !strcmp(values[1], "names") ? names
        : !strcmp(values[1], "attributes") ? attributes : NULL;
    if (!work || chdir(values[2])) return 66;
    long *results = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            state = strtoul(values[3], NULL, 10) * 1000 + (uint64_t)i;
            work((unsigned)atoi(values[4]));
            results[i] = succeeded;
            _exit(0);
        }
    int code = 0, status;
    while (wait(&status) > 0) code |= status != 0;
    for (int i = 0; i < PROCESSES; i++) succeeded += results[i];
    printf("%ld calls\n", succeeded);
    return code;
}
