/* fopen's letters, wide streams and ccs=, fdopen, buffers and their flush at fclose, fcloseall, exit, quick_exit, abort. */
#include "show.h"
#include <stdio_ext.h>
#include <sys/resource.h>
#include <locale.h>
#include <wchar.h>
static char bytes[70000];
static void leave(const char *name, void (*how)(int), int code) { /* what is in the buffer when a process ends */
    pid_t child = fork();
    if (!child) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        FILE *f = fopen(name, "w");
        fputs("first", f);
        fflush(f);
        fputs(", last", f);
        how(code);
    }
    ended(name, child);
    look(name);
}
static void aborting(int code) { (void)code; abort(); }
static void all_closed(int code) { fcloseall(); _exit(code); }
static void all_flushed(int code) { _flushlbf(); fflush(NULL); _exit(code); }
static void test(void) {
    fill(bytes, sizeof bytes, 3);
    const char *modes[] = {"w", "w+", "wb", "wc", "wce", "wm", "a", "a+b", "ae", "r+", "r+e", "rm", "w+x", "wxe", "r", "", "q", "w+++++x"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char name[16];
        snprintf(name, sizeof name, "mode%zu", i / 3);
        FILE *f = POINTER(fopen(name, modes[i]));
        if (!f) continue;
        SHOW(fcntl(fileno(f), F_GETFL) & (O_ACCMODE | O_APPEND | O_TRUNC | O_EXCL));
        SHOW(fcntl(fileno(f), F_GETFD));
        SHOW(fputs(modes[i], f));
        SHOW(ferror(f));
        SHOW(ftell(f));
        SHOW(fclose(f));
        look(name);
    }
    FILE *f = POINTER(fopen("counts", "w+"));
    SHOW(fwrite(bytes, 7, 9000, f));
    SHOW(fwrite(bytes, 0, 5, f));
    SHOW(fseek(f, 4095, SEEK_SET));
    SHOW(fwrite(bytes, 1, 2, f));
    SHOW(putw(0x41424344, f));
    SHOW(fputc('x', f));
    SHOW(ungetc('y', f));
    SHOW(fseeko64(f, 5000000000, SEEK_SET));
    SHOW(fputs("beyond 4 GiB", f));
    SHOW(fflush_unlocked(f));
    SHOW(ftruncate(fileno(f), 70000));
    SHOW(fclose(f));
    look("counts");
    f = POINTER(fopen("full", "w"));
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY}, small = {5000, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    SHOW(setrlimit(RLIMIT_FSIZE, &small));
    SHOW(fwrite(bytes, 1, 4000, f));
    SHOW(fflush(f));
    SHOW(fwrite(bytes, 1, 20000, f)); /* ends short */
    SHOW(ferror(f));
    SHOW(fflush(f));
    clearerr(f);
    SHOW(fputs("no room", f));
    SHOW(fclose(f));
    SHOW(setrlimit(RLIMIT_FSIZE, &limit));
    look("full");
    int fd = OPEN(open("readable", O_CREAT | O_RDONLY, 0644));
    f = POINTER(fdopen(fd, "w")); /* EINVAL */
    f = POINTER(fdopen(fd, "r"));
    SHOW(fputs("x", f));
    SHOW(fclose(f));
    f = POINTER(fopen("descriptor-closed", "w"));
    SHOW(fputs("x", f));
    SHOW(close(fileno(f)));
    SHOW(fclose(f)); /* EBADF */
    setlocale(LC_ALL, "C.UTF-8");
    const char *charsets[] = {"w,ccs=UTF-8", "w+,ccs=UTF-16LE", "a,ccs=ISO-8859-1", "w,ccs=none-such", "wx,ccs=UTF-8", "r+,ccs=UTF-8"};
    for (size_t i = 0; i < sizeof charsets / sizeof *charsets; i++) {
        f = POINTER(fopen("charset", charsets[i]));
        if (!f) continue;
        SHOW(fwide(f, 0) > 0);
        SHOW(fputws(L"gr\u00fc\u00df", f));
        SHOW(fputwc(L'!', f));
        SHOW(fwprintf(f, L"%ls %d", L"wide", 7));
        SHOW(fclose(f));
        look("charset");
    }
    f = POINTER(fopen("oriented", "w"));
    SHOW(putwc(L'\u20ac', f));
    SHOW(fputws_unlocked(L"\u00e9t\u00e9", f));
    SHOW(fputs("narrow", f));
    SHOW(fclose(f));
    look("oriented");
    leave("exit", exit, 4);
    leave("quick", quick_exit, 5);
    leave("abort", aborting, 0);
    leave("fcloseall", all_closed, 6);
    leave("flush-all", all_flushed, 7);
}
