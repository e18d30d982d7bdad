/* varies: what is left depends on who came first.
   Processes write the same bytes, the same names and the same size at once: whatever the kernel made of it, the mirror
   has the same. */
#include "show.h"
static void test(void) {
    int fd = open("a", O_CREAT | O_RDWR, 0644);
    pid_t children[4];
    for (int c = 0; c < 4; c++) {
        if ((children[c] = fork())) continue;
        char bytes[20000], own[32];
        memset(bytes, 'a' + c, sizeof bytes);
        snprintf(own, sizeof own, "own-%d", c);
        for (int i = 0; i < 150; i++) {
            pwrite(fd, bytes, (size_t)(i * 131 % 20000), i % 7 * 3000);
            if (i % 10 == c) ftruncate(fd, i * 100);
            close(open("contested", O_CREAT | O_WRONLY, 0644));
            if (i % 3 == 0) unlink("contested");
            close(open(own, O_CREAT | O_WRONLY, 0644));
            rename(own, "target");
            mkdir("directory", 0755);
            rmdir("directory");
        }
        _exit(0);
    }
    for (int c = 0; c < 4; c++) ended("child", children[c]);
    unlink("b");
    SHOW(rename("a", "b") == 0);
    int other = open("c", O_CREAT | O_WRONLY, 0644); /* proof that capture goes on */
    SHOW(write(other, "after", 5));
}
