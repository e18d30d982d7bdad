/* stdio: every way to write through a FILE; all of it leaves libc by its vtable, never by a name that can be wrapped. */
#include "show.h"
#include <wchar.h>
static char bytes[30000];
static FILE *file(const char *call, FILE *stream) {
    int error = errno;
    printf("%s = %s\n", call, stream ? "a stream" : strerrorname_np(error));
    return stream;
}
#define FOPEN(call) file(#call, (call))
static void test(void) {
    fill(bytes, sizeof bytes, 6);
    FILE *f = FOPEN(fopen("w", "w"));
    SHOW(fprintf(f, "%s %d\n", "formatted", 42));
    SHOW(fputs("a line\n", f));
    SHOW(fwrite(bytes, 1, sizeof bytes, f));
    for (int i = 0; i < 9000; i++) putc('a' + i % 26, f);
    for (int i = 0; i < 100; i++) fputc_unlocked('A' + i % 26, f);
    SHOW(fflush(f));
    look("w");
    SHOW(fseek(f, 3, SEEK_SET));
    SHOW(fputs("OVERWRITTEN", f));
    SHOW(fseek(f, 0, SEEK_END));
    SHOW(ftell(f));
    SHOW(fputs("the end", f));
    rewind(f);
    SHOW(fputs("F", f));
    SHOW(fclose(f));
    look("w");
    f = FOPEN(fopen("w", "a+"));
    SHOW(fputs("appended", f));
    SHOW(fseek(f, 0, SEEK_SET));
    SHOW(fgetc(f));
    SHOW(fputs("appended again", f));
    SHOW(fclose(f));
    look("w");
    f = FOPEN(fopen("w", "r+"));
    SHOW(fseek(f, 100, SEEK_SET));
    SHOW(fwrite(bytes, 1, 10, f));
    SHOW(fseek(f, 0, SEEK_CUR));
    SHOW(fgetc(f));
    SHOW(fseek(f, 0, SEEK_CUR));
    SHOW(fputs("after a read", f));
    SHOW(fclose(f));
    look("w");
    FOPEN(fopen("w", "wx"));
    FOPEN(fopen("missing/x", "w"));
    FOPEN(fopen("missing", "r+"));
    FOPEN(fopen("w", "bad mode"));
    f = FOPEN(fopen("x", "w+x"));
    SHOW(fputs("exclusive", f));
    rewind(f);
    SHOW(fgetc(f));
    SHOW(fclose(f));
    f = FOPEN(fopen64("64", "we"));
    SHOW(fcntl(fileno(f), F_GETFD));
    SHOW(fprintf(f, "sixty-four"));
    SHOW(fclose(f));
    f = FOPEN(fopen("unbuffered", "w"));
    SHOW(setvbuf(f, NULL, _IONBF, 0));
    SHOW(fputs("at once", f));
    SHOW(fprintf(f, " %d %s", 7, "formatted"));
    look("unbuffered");
    SHOW(fclose(f));
    f = FOPEN(fopen("lines", "w"));
    SHOW(setvbuf(f, NULL, _IOLBF, 512));
    SHOW(fputs("first line\nsecond", f));
    look("lines");
    SHOW(fclose(f));
    look("lines");
    static char large[100000];
    f = FOPEN(fopen("large-buffer", "w"));
    SHOW(setvbuf(f, large, _IOFBF, sizeof large));
    for (int i = 0; i < 20; i++) fwrite(bytes, 1, 9999, f);
    SHOW(fclose(f));
    look("large-buffer");
    int fd = OPEN(open("mixed", O_CREAT | O_RDWR, 0644));
    f = FOPEN(fdopen(fd, "r+"));
    SHOW(fputs("by stdio, ", f));
    SHOW(fflush(f));
    SHOW(write(fd, "by write, ", 10));
    SHOW(fseek(f, 0, SEEK_END));
    SHOW(fputs("by stdio again", f));
    SHOW(dprintf(fd, "%s", "by dprintf "));
    SHOW(fclose(f));
    look("mixed");
    f = FOPEN(fopen("wide", "w"));
    SHOW(fwide(f, 1));
    SHOW(fputws(L"wide characters", f));
    SHOW(fwprintf(f, L" %d", 5));
    SHOW(fclose(f));
    look("wide");
    f = FOPEN(fopen("utf16", "w,ccs=UTF-16LE")); /* the one form that libc itself must open */
    if (f) {
        SHOW(fputws(L"two bytes each", f));
        SHOW(fclose(f));
    }
    look("utf16");
    f = FOPEN(fopen("not-closed", "w"));
    SHOW(fputs("flushed by fflush(NULL)", f));
    SHOW(fflush(NULL));
    look("not-closed");
    SHOW(fputs(", the rest by exit", f));
}
