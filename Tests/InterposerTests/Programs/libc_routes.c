/* Calls that open or write inside libc under other names: setmntent, backtrace_symbols_fd, wordexp, the _IO_ names. */
#include "show.h"
#include <execinfo.h>
#include <mntent.h>
#include <wordexp.h>
FILE *_IO_fopen(const char *, const char *);
FILE *_IO_popen(const char *, const char *);
static void test(void) {
    FILE *f = POINTER(setmntent("table", "w"));
    struct mntent entry = {"/dev/x", "/mnt x", "ext4", "rw", 0, 2};
    SHOW(addmntent(f, &entry));
    SHOW(endmntent(f));
    look("table");
    f = POINTER(setmntent("table", "a+"));
    SHOW(addmntent(f, &entry));
    SHOW(getmntent(f) != NULL);
    SHOW(endmntent(f));
    look("table");
    POINTER(setmntent("missing/table", "w"));
    POINTER(setmntent("missing", "r"));
    POINTER(setmntent("x", "bad"));
    f = POINTER(_IO_fopen("io", "w"));
    SHOW(fputs("by the other name", f));
    SHOW(fclose(f));
    look("io");
    f = POINTER(_IO_popen("cat > io-piped", "w"));
    SHOW(fputs("by the other name", f));
    SHOW(pclose(f));
    look("io-piped");
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    wordexp_t words;
    SHOW(wordexp("$(echo expanded > words; echo a b) c", &words, 0));
    SHOW(words.we_wordc);
    wordfree(&words);
    look("words");
    int fd = OPEN(open("trace", O_CREAT | O_RDWR | O_APPEND, 0644));
    void *addresses[] = {(void *)16, (char *)fputs + 5, (void *)0x1234567890ab, (void *)strerror};
    backtrace_symbols_fd(addresses, 4, fd);
    backtrace_symbols_fd(addresses, 0, fd);
    backtrace_symbols_fd(addresses, 4, -1);
    char text[2000] = "";
    SHOW(pread(fd, text, sizeof text - 1, 0) > 80);
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *start = strstr(line, "[0x");
        if (lines % 2 == 0) printf("%s\n", line); /* no addresses that differ from run to run */
        else printf("%.*s\n", start ? (int)(start - line) : 0, line);
        lines++;
    }
    SHOW(lines);
    SHOW(ftruncate(fd, 0));
}
