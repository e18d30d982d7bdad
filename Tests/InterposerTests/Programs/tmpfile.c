/* tmpfile and its like: files without a name, written, read back, linked to nothing, gone at the end. */
#include "show.h"
static void test(void) {
    char bytes[5000], back[5000];
    fill(bytes, sizeof bytes, 2);
    for (int i = 0; i < 3; i++) {
        FILE *f = POINTER(i == 1 ? tmpfile64() : tmpfile());
        if (!f) continue;
        SHOW(fwrite(bytes, 1, sizeof bytes, f));
        SHOW(fprintf(f, "%d", i));
        rewind(f);
        SHOW(fread(back, 1, sizeof back, f));
        SHOW(memcmp(bytes, back, sizeof bytes));
        struct stat status;
        SHOW(fstat(fileno(f), &status));
        SHOW(status.st_nlink);
        SHOW(status.st_size);
        SHOW(status.st_mode & 0777);
        SHOW(fcntl(fileno(f), F_GETFL) & (O_ACCMODE | O_APPEND));
        SHOW(fsync(fileno(f)));
        SHOW(fclose(f));
    }
    FILE *named = POINTER(fopen("named", "w"));
    SHOW(fputs("named", named));
    SHOW(fclose(named));
    look("named");
}
