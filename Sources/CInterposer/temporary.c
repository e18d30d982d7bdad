/*
 * temporary.c: mkstemp and its like, and tmpfile's file. libc's own would open past every wrapper.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Replaces the six X before the suffix and tries until `attempt` does not say EEXIST. */
static long temporary(char *template, int suffix_bytes, int flags, long (*attempt)(const char *, int)) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t bytes = strlen(template);
    if (suffix_bytes < 0 || bytes < (size_t)suffix_bytes + 6)
        return -EINVAL;
    char *place = template + bytes - (size_t)suffix_bytes - 6;
    if (memcmp(place, "XXXXXX", 6) != 0)
        return -EINVAL;
    for (int round = 0; round < 238328; round++) {
        uint64_t random;
        if (kernel(SYS_getrandom, &random, sizeof random, 0) != (long)sizeof random)
            return -EIO;
        for (int i = 0; i < 6; i++, random /= 62)
            place[i] = letters[random % 62];
        long answer = attempt(template, flags);
        if (answer != -EEXIST)
            return answer;
    }
    return -EEXIST;
}

static long attempt_file(const char *path, int flags) {
    return captured_open(AT_FDCWD, path, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
}
static long attempt_directory(const char *path, int flags) {
    (void)flags;
    return captured_mkdir(AT_FDCWD, path, 0700);
}

/* For tmpfile: a file in P_tmpdir whose name has gone already. */
long temporary_unlinked(void) {
    char template[] = P_tmpdir "/tmpfXXXXXX";
    long descriptor = temporary(template, 0, 0, attempt_file);
    long answer = descriptor < 0 ? descriptor : captured_unlink(AT_FDCWD, template, 0);
    if (descriptor >= 0 && answer < 0)
        kernel(SYS_close, descriptor);
    return answer < 0 ? answer : descriptor;
}

EXPORTED int mkostemps(char *template, int suffix_bytes, int flags) {
    return (int)returned(temporary(template, suffix_bytes, flags, attempt_file));
}
ALIAS(mkostemps64, mkostemps);
EXPORTED int mkstemps(char *template, int suffix_bytes) { return mkostemps(template, suffix_bytes, 0); }
ALIAS(mkstemps64, mkstemps);
EXPORTED int mkostemp(char *template, int flags) { return mkostemps(template, 0, flags); }
ALIAS(mkostemp64, mkostemp);
EXPORTED int mkstemp(char *template) { return mkostemps(template, 0, 0); }
ALIAS(mkstemp64, mkstemp);
EXPORTED char *mkdtemp(char *template) {
    return returned(temporary(template, 0, 0, attempt_directory)) < 0 ? NULL : template;
}
