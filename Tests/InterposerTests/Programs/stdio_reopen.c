/* freopen in every form: another file, the same one, the stream's own without a path, standard output and error, from and
   to a file outside; and what perror, warn, error, psignal and the like then write. */
#include "show.h"
#include <err.h>
#include <error.h>
#include <signal.h>
#include <wchar.h>
extern char *program_invocation_name;
static void test(void) {
    FILE *f = POINTER(fopen("first", "w"));
    SHOW(fputs("buffered in the first", f));
    f = POINTER(freopen("second", "w", f));
    SHOW(fputs("in the second", f));
    SHOW(fflush(f));
    look("first"); look("second");
    SHOW(fputs(", buffered, then gone", f));
    f = POINTER(freopen("second", "w", f)); /* the same file: empty again */
    look("second");
    SHOW(fputs("again", f));
    f = POINTER(freopen("second", "a", f));
    SHOW(fputs(" appended", f));
    f = POINTER(freopen("second", "a+e", f));
    SHOW(fputs(" and more", f));
    SHOW(fseek(f, 0, SEEK_SET));
    SHOW(fgetc(f));
    SHOW(fcntl(fileno(f), F_GETFD));
    SHOW(fcntl(fileno(f), F_GETFL) & (O_ACCMODE | O_APPEND));
    f = POINTER(freopen("second", "r+", f));
    SHOW(fputs("START", f));
    SHOW(fclose(f));
    look("second");
    f = POINTER(fopen("own", "w"));
    SHOW(fputs("some bytes that go", f));
    f = POINTER(freopen(NULL, "w", f)); /* without a path: its own file, truncated */
    look("own");
    SHOW(fputs("own bytes", f));
    f = POINTER(freopen(NULL, "a", f));
    SHOW(fputs(" appended", f));
    f = POINTER(freopen(NULL, "w+", f));
    SHOW(fputs("own again", f));
    SHOW(fcntl(fileno(f), F_GETFL) & (O_ACCMODE | O_APPEND));
    f = POINTER(freopen(NULL, "r", f));
    SHOW(fgetc(f));
    SHOW(fclose(f));
    look("own");
    f = fopen("gone", "w");
    SHOW(fputs("x", f));
    SHOW(unlink("gone"));
    f = POINTER(freopen(NULL, "w", f)); /* its file has no name any more */
    if (f) SHOW(fclose(f));
    POINTER(freopen("missing/x", "w", fopen("closed-all-the-same", "w")));
    look("closed-all-the-same");
    POINTER(freopen("first", "wx", fopen("closed-all-the-same", "w")));
    char elsewhere[PATH_MAX + 10];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", outside);
    f = POINTER(freopen(elsewhere, "w", fopen("left", "w")));
    SHOW(fputs("outside", f));
    f = POINTER(freopen("returned", "w", f));
    SHOW(fputs("inside", f));
    SHOW(fclose(f));
    look("left"); look("returned");
    f = POINTER(freopen("utf", "w,ccs=UTF-16LE", fopen("narrow", "w")));
    if (f) {
        SHOW(fputws(L"wide", f));
        SHOW(fclose(f));
    }
    look("utf");
    pid_t child = fork();
    if (!child) {
        program_invocation_name = "program";
        if (!freopen("stdout", "w", stdout) || !freopen("stderr", "a", stderr)) _exit(1);
        printf("printf %d\n", 1);
        puts("puts");
        putchar('c');
        wprintf(L"not wide");
        errno = EEXIST;
        perror("perror");
        error(0, ENOENT, "error %d", 2);
        error_at_line(0, 0, "file", 3, "line");
        psignal(SIGTERM, "psignal");
        fprintf(stderr, "%s\n", "fprintf");
        fflush(stdout);
        write(1, "write", 5);
        dprintf(1, " dprintf");
        exit(0);
    }
    ended("standard streams", child);
    look("stdout"); look("stderr");
}
