/* A FIFO in the tree: opening never hangs where the plain call does not, and what goes through it is not captured. */
#include "show.h"
static void test(void) {
    OPEN(open("fifo", O_WRONLY | O_NONBLOCK));
    int reader = OPEN(open("fifo", O_RDONLY | O_NONBLOCK));
    int writer = OPEN(open("fifo", O_WRONLY | O_CREAT | O_TRUNC, 0644));
    SHOW(write(writer, "through the fifo", 16));
    char text[32];
    SHOW(read(reader, text, sizeof text));
    SHOW(pwrite(writer, "x", 1, 0));
    close(reader);
    close(writer);
    pid_t child = fork(); /* both ends block until the other comes */
    if (!child) {
        int fd = open("fifo", O_WRONLY);
        _exit(write(fd, "blocking", 8) == 8 ? 0 : 1);
    }
    reader = OPEN(open("fifo", O_RDONLY));
    SHOW(read(reader, text, sizeof text));
    ended("writer", child);
    SHOW(fsync(reader));
    look("fifo");
    SHOW(unlink("fifo"));
}
