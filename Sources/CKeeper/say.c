#include "say.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Below PIPE_BUF: a pipe that poll calls writable takes it whole. */
enum { LINE_BYTES_MAX = 1024 };

static void say_line(const char *format, va_list arguments) {
    static const char prefix[] = "lockstep: ";
    char line[LINE_BYTES_MAX];
    size_t start = sizeof prefix - 1;
    memcpy(line, prefix, start);
    int wanted = vsnprintf(line + start, sizeof line - start - 1, format, arguments);
    if (wanted < 0) return;
    size_t bytes = strlen(line);
    line[bytes++] = '\n';
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&writable, 1, 0) == 1 && (writable.revents & POLLOUT) != 0) {
        ssize_t written = write(STDERR_FILENO, line, bytes);
        (void)written; /* there is nobody to tell */
    }
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_line(format, arguments);
    va_end(arguments);
}

void refuse(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_line(format, arguments);
    va_end(arguments);
    exit(code);
}

int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
