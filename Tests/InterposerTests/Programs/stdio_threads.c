/* varies in the order of the lines. Three threads on one FILE: every line arrives whole, once. */
#include "show.h"
#include <pthread.h>
static FILE *f;
static void *lines(void *argument) {
    for (int i = 0; i < 500; i++) fprintf(f, "a line of forty characters with its end.%c\n", *(char *)argument);
    return NULL;
}
static int compare(const void *a, const void *b) { return memcmp(a, b, 42); }
static void test(void) {
    f = fopen("a", "w");
    setvbuf(f, NULL, _IOFBF, 1000);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, lines, &"abc"[i]);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    SHOW(fclose(f));
    static char all[1500 * 42];
    int fd = OPEN(open("a", O_RDONLY));
    SHOW(read(fd, all, sizeof all));
    qsort(all, 1500, 42, compare);
    for (int i = 0; i < 3; i++) SHOW(memcmp(all + i * 500 * 42, all + (i * 500 + 499) * 42, 42));
    for (int i = 0; i < 3; i++) printf("%.42s", all + i * 500 * 42);
}
