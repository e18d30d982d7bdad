/* numbers.h: for programs in which one descriptor number comes to mean another file at every turn. */
#include "show.h"
#include <sys/syscall.h>
#define NUMBER 40
static char paths[3][PATH_MAX + 80]; /* outside, and two in the tree */
/* Files of its own for each route: what a later one truncates would hide what an earlier one missed. */
static void make_files(const char *route) {
    snprintf(paths[0], sizeof paths[0], "%s/%s", outside, route);
    snprintf(paths[1], sizeof paths[1], "%s", route);
    snprintf(paths[2], sizeof paths[2], "%s too", route);
    for (int i = 0; i < 3; i++) fclose(fopen(paths[i], "w"));
}
/* `to` opens the path with the number of the turn before; `end` closes it after its writes. */
static void turns(const char *route, int (*to)(const char *path), void (*end)(int number)) {
    int number = -1, wrong = 0;
    make_files(route);
    for (int turn = 0; turn < 9; turn++) {
        char text[64];
        int bytes = snprintf(text, sizeof text, "%s %d.", route, turn), fd = to(paths[turn % 3]);
        if (number < 0) number = fd;
        wrong += fd < 0 || fd != number || pwrite(fd, text, bytes, turn * 40) != bytes || write(fd, text, bytes) != bytes;
        if (end) end(fd);
    }
    printf("%s: %d wrong\n", route, wrong);
    look(paths[1]);
    look(paths[2]);
}
