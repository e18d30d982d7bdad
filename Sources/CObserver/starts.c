#include "starts.h"

#include "../CKeeper/program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SCRIPT_LINE_BYTES = 256, SCRIPT_DEPTH_MAX = 5 };

static const char *privileges_of(int file, const struct stat *status) {
    if (status->st_mode & S_ISUID) return "setuid";
    if ((status->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) return "setgid";
    return fgetxattr(file, "security.capability", NULL, 0) >= 0 ? "capabilities" : "";
}

static enum start note_elf(int file, const struct stat *status, struct evidence_program **noted) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0) return START_PLAIN;
    path[bytes] = 0;
    struct evidence_program *program = *noted = evidence_program(path);
    if (program == NULL) return START_PLAIN;
    enum program_kind kind = program_kind(file, program->why, sizeof program->why);
    program->started++;
    program->privileges = privileges_of(file, status);
    program->kind = kind == PROGRAM_DYNAMIC ? "dynamic" : kind == PROGRAM_STATIC ? "static" : kind == PROGRAM_WITHOUT ? "other-loader" : "foreign";
    if (kind == PROGRAM_DYNAMIC) program->why[0] = 0;
    return kind == PROGRAM_FOREIGN ? START_FOREIGN : program->privileges[0] != 0 ? START_PRIVILEGED : START_PLAIN;
}

enum start starts_note(int base, const char *given, struct evidence_program **program) {
    char path[PATH_MAX];
    *program = NULL;
    snprintf(path, sizeof path, "%s", given);
    for (int depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
        char line[SCRIPT_LINE_BYTES] = "";
        struct stat status;
        int file = openat(base, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (file < 0) return START_PLAIN; /* the kernel knows why */
        ssize_t bytes = fstat(file, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & 0111) ? pread(file, line, sizeof line - 1, 0) : -1;
        if (bytes >= SELFMAG && memcmp(line, ELFMAG, SELFMAG) == 0) {
            enum start start = note_elf(file, &status, program);
            close(file);
            return start;
        }
        close(file);
        if (bytes < 3 || line[0] != '#' || line[1] != '!') return START_PLAIN;
        line[bytes] = 0;
        char *interpreter = line + 2 + strspn(line + 2, " \t");
        interpreter[strcspn(interpreter, " \t\n")] = 0;
        strcpy(path, interpreter);
    }
    return START_PLAIN;
}
