/*
 * churn.c: everything that can happen to names, on few names, so that several of it always meet: files and directories
 * made, written, moved, replaced and removed, with an fsync now and then.
 *
 *   churn DIRECTORY SEED COUNT    COUNT operations; exit code 1 when a write or an fsync failed
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state;
static uint32_t chance(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % below);
}

static const char *base;
static char paths[2][4096];

/* At most two directories deep; three directories and four files in each. */
static const char *name(int slot, bool directory) {
    char *path = paths[slot];
    int end = sprintf(path, "%s", base);
    for (uint32_t depth = chance(3); depth > 0; depth--) end += sprintf(path + end, "/d%u", chance(3));
    sprintf(path + end, directory ? "/d%u" : "/f%u", chance(directory ? 3 : 4));
    return path;
}

static bool write_file(const char *path, int flags) {
    char content[9000];
    memset(content, 'a' + (int)chance(26), sizeof content);
    int fd = open(path, flags, 0600 + chance(100));
    if (fd < 0) return true; /* its directory has gone, or never was */
    bool good = flags & O_APPEND ? write(fd, content, 1 + chance(500)) >= 0 : pwrite(fd, content, 1 + chance(9000), chance(20000)) >= 0;
    if (chance(6) == 0) good = ftruncate(fd, chance(15000)) == 0 && good;
    if (chance(3) == 0) good = fsync(fd) == 0 && good;
    close(fd);
    return good;
}

static bool operate(void) {
    const char *one;
    switch (chance(14)) {
    case 0: return write_file(name(0, false), O_RDWR | O_CREAT);
    case 1: return write_file(name(0, false), O_RDWR | O_CREAT | O_TRUNC);
    case 2: return write_file(name(0, false), O_WRONLY | O_APPEND);
    case 3: case 4: unlink(name(0, false)); return true;
    case 5: case 6: one = name(0, false), rename(one, name(1, false)); return true;
    case 7: one = name(0, true), rename(one, name(1, true)); return true;
    case 8: case 9: mkdir(name(0, true), 0755); return true;
    case 10: rmdir(name(0, true)); return true;
    case 11: chmod(name(0, chance(2)), 0600 + chance(0100)); return true;
    case 12: symlink("f0", name(0, false)); return true;
    default: return write_file(name(0, false), O_WRONLY);
    }
}

int main(int count, char **values) {
    if (count != 4) return fprintf(stderr, "churn DIRECTORY SEED COUNT\n"), 64;
    base = values[1];
    state = strtoull(values[2], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    long failed = 0;
    for (long left = atol(values[3]); left > 0; left--)
        if (!operate()) {
            failed++;
            perror("churn");
        }
    return failed ? 1 : 0;
}
