/*
 * Pages.c: PAGEMAP_SCAN (linux/fs.h, Linux 6.7; the headers of Debian 12 do not have it).
 */
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define PAGE_BYTES 4096u

struct page_scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, pages_max, inverted, mask, any_of, returned;
};
_Static_assert(sizeof(struct page_scan) == 96, "pm_scan_arg");

enum {
    SCAN_PROTECTS = 1, /* PM_SCAN_WP_MATCHING */
    SCAN_CHECKS = 2,   /* PM_SCAN_CHECK_WPASYNC */
    IS_TRACKABLE = 1,  /* PAGE_IS_WPALLOWED */
    IS_WRITTEN = 2,    /* PAGE_IS_WRITTEN */
};

static int scan(int pagemap, struct page_scan *request) {
    request->size = sizeof *request;
    int answer;
    do answer = ioctl(pagemap, _IOWR('f', 16, struct page_scan), request); while (answer < 0 && errno == EINTR);
    return answer < 0 ? -errno : answer;
}

int lockstep_pagemap_open(int pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int lockstep_pages_written(int pagemap, uint64_t start, uint64_t end, struct lockstep_pages *found, int count, uint64_t *looked) {
    struct page_scan request = {.flags = SCAN_PROTECTS | SCAN_CHECKS, .start = start, .end = end, .regions = (uintptr_t)found,
                                .region_count = (uint64_t)count, .mask = IS_WRITTEN, .returned = IS_WRITTEN};
    int answer = scan(pagemap, &request);
    *looked = request.walk_end;
    return answer;
}

int lockstep_pages_protect(int pagemap, uint64_t start, uint64_t end) {
    while (start < end) {
        struct page_scan request = {.flags = SCAN_PROTECTS | SCAN_CHECKS, .start = start, .end = end};
        int answer = scan(pagemap, &request);
        if (answer < 0) return answer;
        if (request.walk_end <= start) return -EIO;
        start = request.walk_end;
    }
    return 0;
}

int lockstep_page_is_tracked(int pagemap, uint64_t address) {
    struct lockstep_pages found;
    struct page_scan request = {.start = address, .end = address + PAGE_BYTES, .regions = (uintptr_t)&found, .region_count = 1,
                                .mask = IS_TRACKABLE, .returned = IS_TRACKABLE};
    return scan(pagemap, &request);
}
