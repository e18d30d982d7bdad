#include "routes.h"

#include "../CInterposer/kernel.h"
#include "CCaptureABI.h"

#include <linux/audit.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define STUB_RETURN (STUB_PAGE + 29)

enum { KNOWN_MAX = 1024, LINE_BYTES = PATH_MAX + 128 };

static const char *library_path;

/* Few instructions make most calls: what was found out about one is kept. */
static struct {
    pid_t tid;
    uint64_t address;
    enum route route;
    char object[EVIDENCE_NAME_BYTES];
} known[KNOWN_MAX];

void routes_prepare(const char *library) { library_path = library; }
void routes_forget(void) { memset(known, 0, sizeof known); }

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* "START-END r-xp OFFSET MAJOR:MINOR INODE   PATH" for each mapping. */
static enum route look_up(pid_t tid, uint64_t address, const char *program, char object[EVIDENCE_NAME_BYTES]) {
    char name[64], line[LINE_BYTES], text[PATH_MAX] = "";
    bool has_loader = false, has_library = false;
    snprintf(name, sizeof name, "/proc/%d/maps", tid);
    FILE *maps = fopen(name, "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        int at = 0;
        if (sscanf(line, "%lx-%lx %*s %*x %*x:%*x %*u %n", &from, &to, &at) < 2) continue;
        line[strcspn(line, "\n")] = 0;
        const char *path = line + at;
        has_library |= strcmp(path, library_path) == 0;
        has_loader |= strncmp(base_of(path), "ld-linux", 8) == 0 || strncmp(base_of(path), "ld-musl", 7) == 0;
        if (address >= from && address < to) snprintf(text, sizeof text, "%s", path);
    }
    if (maps != NULL) fclose(maps);
    snprintf(object, EVIDENCE_NAME_BYTES, "%s", text[0] == 0 ? "memory without a file" : base_of(text));
    if (!has_library && !has_loader) return ROUTE_STATIC;
    if (!has_library) return ROUTE_UNLOADED;
    if (strcmp(text, program) == 0) return ROUTE_PROGRAM;
    return strncmp(base_of(text), "libc.so", 7) == 0 || strncmp(base_of(text), "libc-2", 6) == 0 ? ROUTE_LIBC : ROUTE_OBJECT;
}

static enum route through_library(const struct seccomp_data *data) {
    bool takes_six = data->nr != SYS_write && data->nr != SYS_pwrite64 && data->nr != SYS_fsync && data->nr != SYS_fdatasync;
    if (!takes_six && data->args[5] == LOCKSTEP_AUDITED_STDIO) return ROUTE_STDIO;
    if (!takes_six && data->args[5] == LOCKSTEP_AUDITED_AIO) return ROUTE_AIO;
    return ROUTE_WRAPPER;
}

enum route routes_of(pid_t tid, const struct seccomp_data *data, const char *program, char object[EVIDENCE_NAME_BYTES]) {
    object[0] = 0;
    if (data->arch != AUDIT_ARCH_X86_64 || (data->nr & 0x40000000) != 0) return ROUTE_FOREIGN;
    uint64_t address = data->instruction_pointer;
    if (address == STUB_RETURN) return through_library(data);
    size_t place = (address * 0x9e3779b97f4a7c15ull >> 40 ^ (uint64_t)tid) % KNOWN_MAX;
    if (known[place].tid != tid || known[place].address != address) {
        known[place].route = look_up(tid, address, program, known[place].object);
        known[place].tid = tid;
        known[place].address = address;
    }
    memcpy(object, known[place].object, EVIDENCE_NAME_BYTES);
    return known[place].route;
}
