/*
 * line.c: the library's only way to say something: one line on standard error, few per call and process.
 *
 * Standard error may itself be a file of the tree: then the line is captured like any other write, but never from
 * within another line.
 */
#define _GNU_SOURCE
#include "process_page.h"
#include <string.h>

static __thread bool speaking;

static size_t append(char *buffer, size_t at, size_t limit, const char *text) {
    while (text && *text && at < limit)
        buffer[at++] = *text++;
    return at;
}

void line(enum line_call call, const char *name, int descriptor, const char *path, const char *text) {
    /* The first four, then those at powers of two: loud, but no flood. */
    uint32_t count = atomic_fetch_add(&process_page->lines[call], 1) + 1;
    if (speaking || (count > 4 && (count & (count - 1))))
        return;
    speaking = true;
    char buffer[640];
    size_t limit = sizeof buffer - 1;
    size_t at = append(buffer, 0, limit, "lockstep: ");
    at = append(buffer, at, limit, name);
    if (descriptor >= 0 || path) {
        at = append(buffer, at, limit, " on ");
        char *scratch = path ? NULL : scratch_take();
        if (scratch && path_of_descriptor(descriptor, scratch) < 0)
            scratch[0] = 0;
        at = append(buffer, at, limit - 200, path ? path : scratch ? scratch : "?");
        scratch_return(scratch);
    }
    at = append(buffer, at, limit, ": ");
    at = append(buffer, at, limit, text);
    buffer[at++] = '\n';
    captured_write(2, buffer, at);
    speaking = false;
}

_Noreturn void line_exit(int code, const char *text, const char *detail) {
    char buffer[640];
    size_t limit = sizeof buffer - 1;
    size_t at = append(buffer, 0, limit, "lockstep: ");
    at = append(buffer, at, limit, text);
    if (detail && *detail) {
        at = append(buffer, at, limit, ": ");
        at = append(buffer, at, limit, detail);
    }
    buffer[at++] = '\n';
    kernel(SYS_write, 2, buffer, at);
    for (;;)
        kernel(SYS_exit_group, code);
}
