/* mkstemp and its relatives open inside libc; tmpfile is outside the tree. */
#include "show.h"
static void finish(const char *call, int fd, const char *name, const char *final) {
    printf("%s: %s, name changed: %s\n", call, fd >= 0 ? "a descriptor" : strerrorname_np(errno), strstr(name, "XXXXXX") ? "no" : "yes");
    if (fd < 0) return;
    if (write(fd, call, strlen(call)) < 0 || rename(name, final)) printf("%s: %s\n", call, strerrorname_np(errno));
    close(fd);
    look(final);
}
static void test(void) {
    char a[] = "aXXXXXX", b[] = "bXXXXXX", c[] = "cXXXXXX.c", d[] = "dXXXXXX.d", e[] = "eXXXXXX", f[] = "fXXXXXX", bad[] = "bad", g[] = "missing/XXXXXX";
    finish("mkstemp", mkstemp(a), a, "a");
    finish("mkostemp", mkostemp(b, O_APPEND | O_CLOEXEC), b, "b");
    finish("mkstemps", mkstemps(c, 2), c, "c");
    finish("mkostemps", mkostemps(d, 2, O_CLOEXEC), d, "d");
    finish("mkstemp64", mkstemp64(e), e, "e");
    SHOW(mkstemp(bad));
    SHOW(mkstemp(g));
    printf("mkdtemp: %s\n", mkdtemp(f) ? "a name" : strerrorname_np(errno));
    SHOW(rename(f, "f"));
    look("f");
    FILE *t = tmpfile();
    SHOW(fputs("outside", t));
    SHOW(fclose(t));
}
