/*
 * backtrace.c: backtrace_symbols_fd, with which servers end their error log when they crash. libc's own writes each line by
 * a call of its own, past every wrapper. Like that one: no allocation, so that a handler of SIGSEGV can use it.
 *
 *   /usr/sbin/mariadbd(my_print_stacktrace+0x2e)[0x55d1c0a1b2c3]
 */
#define _GNU_SOURCE
#include "library.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <string.h>

#define LINE_BYTES 512

struct text {
    char bytes[LINE_BYTES];
    size_t count;
};

static void add(struct text *text, const char *part) {
    size_t bytes = strlen(part), room = LINE_BYTES - text->count;
    if (bytes > room)
        bytes = room;
    memcpy(text->bytes + text->count, part, bytes);
    text->count += bytes;
}

static void add_number(struct text *text, uintptr_t number) {
    char digits[2 * sizeof number + 1];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = "0123456789abcdef"[number % 16];
    while (number /= 16);
    add(text, digits + at);
}

/* Names of any length: a full buffer is written, and the rest of the line goes on in a new one. */
static void add_name(struct text *text, int descriptor, const char *name) {
    for (size_t bytes = strlen(name); bytes; bytes = strlen(name)) {
        size_t room = LINE_BYTES - 64 - text->count, piece = bytes < room ? bytes : room;
        memcpy(text->bytes + text->count, name, piece);
        text->count += piece;
        name += piece;
        if (piece == room) {
            captured_write(descriptor, text->bytes, text->count);
            text->count = 0;
        }
    }
}

static void write_line(int descriptor, void *address) {
    Dl_info info;
    struct link_map *map = NULL;
    struct text text = {.count = 0};
    if (dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) && info.dli_fname && info.dli_fname[0]) {
        add_name(&text, descriptor, info.dli_fname);
        if (info.dli_sname || (map && map->l_addr)) {
            add(&text, "(");
            uintptr_t start = info.dli_sname ? (uintptr_t)info.dli_saddr : map->l_addr;
            if (info.dli_sname)
                add_name(&text, descriptor, info.dli_sname);
            bool after = (uintptr_t)address >= start;
            add(&text, after ? "+0x" : "-0x");
            add_number(&text, after ? (uintptr_t)address - start : start - (uintptr_t)address);
            add(&text, ")");
        }
    }
    add(&text, "[0x");
    add_number(&text, (uintptr_t)address);
    add(&text, "]\n");
    captured_write(descriptor, text.bytes, text.count);
}

EXPORTED void backtrace_symbols_fd(void *const *addresses, int count, int descriptor) {
    for (int i = 0; i < count; i++)
        write_line(descriptor, addresses[i]);
}
void __backtrace_symbols_fd(void *const *, int, int);
ALIAS(__backtrace_symbols_fd, backtrace_symbols_fd);
