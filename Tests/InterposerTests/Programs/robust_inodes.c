/* Inode numbers that change sides: a file is removed outside and the next one is made inside, and the reverse; what was known
   about the number must not be believed of its next owner. */
#include "show.h"
static void test(void) {
    char elsewhere[PATH_MAX + 20], name[32];
    int wrong = 0;
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "in-%d", i % 50);
        snprintf(elsewhere, sizeof elsewhere, "%s/out-%d", outside, i % 50);
        int out = open(elsewhere, O_CREAT | O_RDWR, 0644);
        wrong += out < 0 || write(out, "outside", 7) != 7 || close(out) || unlink(elsewhere);
        int in = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
        wrong += in < 0 || write(in, name, strlen(name)) != (ssize_t)strlen(name) || (i % 10 == 0 && fsync(in));
        if (i % 2) { /* the other way: removed inside while it is open, and used again outside */
            wrong += unlink(name) != 0 || pwrite(in, "gone", 4, 0) != 4 || close(in);
            out = open(elsewhere, O_CREAT | O_RDWR, 0644);
            wrong += out < 0 || write(out, "outside again", 13) != 13 || close(out) || unlink(elsewhere);
        } else wrong += close(in) != 0;
    }
    SHOW(wrong);
    look("in-0"); look("in-1"); look("in-48");
}
