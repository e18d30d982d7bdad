/* varies: where the bytes end up. */
/* The offset, or the end of the file, is moved by another thread around each write: by calls that take no lock. Where the bytes
   went can't be asked for then. */
#include "show.h"
#include <pthread.h>

enum { WRITES = 20000, SIZE = 16 };
static int file, other;
static volatile bool over;

static unsigned next(unsigned *state) { return (*state = *state * 1103515245 + 12345) >> 16; }

static void *seek(void *unused) {
    unsigned state = 1;
    while (!over) lseek(file, next(&state) % 4000 * SIZE, SEEK_SET);
    return unused;
}

static void *resize(void *unused) {
    unsigned state = 1;
    while (!over) {
        off_t size = lseek(other, 0, SEEK_END);
        if (next(&state) % 2) pwrite(other, "moved", 5, size + next(&state) % 64);
        else if (ftruncate(other, size > 200000 ? 100 : size + next(&state) % 32)) perror("ftruncate");
    }
    return unused;
}

static void run(void *(*disturb)(void *), ssize_t (*call)(const char *)) {
    pthread_t thread;
    char bytes[SIZE + 1];
    long bad = 0;
    over = false;
    pthread_create(&thread, NULL, disturb, NULL);
    for (int i = 0; i < WRITES; i++) {
        snprintf(bytes, sizeof bytes, "%015d\n", i);
        bad += call(bytes) != SIZE;
    }
    over = true;
    pthread_join(thread, NULL);
    printf("%ld bad writes\n", bad);
}

static ssize_t implicit(const char *bytes) { return write(file, bytes, SIZE); }
static ssize_t positioned(const char *bytes) { return pwrite(file, bytes, SIZE, 0); }

static void test(void) {
    file = open("seek", O_CREAT | O_RDWR, 0644);
    run(seek, implicit);
    file = open("append", O_CREAT | O_RDWR | O_APPEND, 0644);
    other = open("append", O_RDWR);
    run(resize, positioned);
}
