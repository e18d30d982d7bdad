/*
 * wild.c: calls that no file system can do, among ones that it can.   wild DIR ROUNDS
 *
 * Two threads a file: one writes and flushes, so that the daemon takes intents all the time, also those of the other,
 * whose calls have not returned yet. Each wild call must fail; ends with 1 if one doesn't.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int file, rounds;
static atomic_bool ended;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void *write_and_flush(void *unused) {
    char block[4096];
    for (unsigned round = 0; !ended; round++) {
        memset(block, 'a' + (int)(round % 26), sizeof block);
        if (pwrite(file, block, sizeof block, 4096 * (round % 32)) != sizeof block) fail("pwrite");
        if (fdatasync(file) != 0) fail("fdatasync");
    }
    return unused;
}

int main(int count, char **arguments) {
    char path[4096];
    pthread_t writer;
    if (count != 3) return 64;
    rounds = atoi(arguments[2]);
    snprintf(path, sizeof path, "%s/wild", arguments[1]);
    file = open(path, O_RDWR | O_CREAT, 0644);
    if (file < 0) fail(path);
    if (pthread_create(&writer, NULL, write_and_flush, NULL) != 0) fail("pthread_create");
    for (int round = 0; round < rounds; round++) {
        if (ftruncate(file, (off_t)1 << 60) == 0) { errno = 0; fail("ftruncate to 1 EiB"); }
        if (pwrite(file, "far away", 8, INT64_MAX - 2) >= 0) { errno = 0; fail("pwrite behind the last offset"); }
        if (pwrite(file, "far away", 8, (off_t)1 << 50) >= 0) { errno = 0; fail("pwrite at 1 PiB"); }
        if (fallocate(file, 0, 4096, (off_t)96 << 40) == 0) { errno = 0; fail("fallocate of 96 TiB"); }
        if (fallocate(file, FALLOC_FL_KEEP_SIZE, 0, (off_t)96 << 40) == 0) { errno = 0; fail("fallocate of 96 TiB"); }
    }
    ended = true;
    pthread_join(writer, NULL);
    return 0;
}
