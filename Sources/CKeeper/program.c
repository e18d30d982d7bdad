#include "program.h"

#include "say.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#else
#error "the preload library knows x86-64 and aarch64"
#endif

enum {
    HEADERS_MAX = 128,
    LISTING_BYTES_MAX = 65536, /* the library comes first in it */
    LISTING_MILLISECONDS = 10000,
};

static bool is_no(char *why, size_t why_bytes, const char *reason) {
    snprintf(why, why_bytes, "%s", reason);
    return false;
}

static bool read_elf(int file, Elf64_Ehdr *header, char *why, size_t why_bytes) {
    if (pread(file, header, sizeof *header, 0) != sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return is_no(why, why_bytes, "is neither an ELF program nor a script with an interpreter line");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != MACHINE)
        return is_no(why, why_bytes, "is for another machine: it cannot be covered");
    return true;
}

static enum program_kind is_kind(enum program_kind kind, char *why, size_t why_bytes, const char *reason) {
    snprintf(why, why_bytes, "%s", reason);
    return kind;
}

enum program_kind program_kind(int file, char *why, size_t why_bytes) {
    Elf64_Ehdr header;
    if (!read_elf(file, &header, why, why_bytes)) return PROGRAM_FOREIGN;
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return is_kind(PROGRAM_FOREIGN, why, why_bytes, "is no program");
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > HEADERS_MAX)
        return is_kind(PROGRAM_FOREIGN, why, why_bytes, "has a malformed ELF header");
    Elf64_Phdr segments[HEADERS_MAX];
    ssize_t bytes = (ssize_t)(header.e_phnum * sizeof *segments);
    if (pread(file, segments, (size_t)bytes, (off_t)header.e_phoff) != bytes)
        return is_kind(PROGRAM_FOREIGN, why, why_bytes, "has a malformed ELF header");
    for (int index = 0; index < header.e_phnum; index++) {
        if (segments[index].p_type != PT_INTERP) continue;
        char loader[PATH_MAX];
        size_t length = segments[index].p_filesz;
        if (length == 0 || length > sizeof loader
            || pread(file, loader, length, (off_t)segments[index].p_offset) != (ssize_t)length || loader[length - 1] != 0)
            return is_kind(PROGRAM_FOREIGN, why, why_bytes, "has a malformed ELF header");
        const char *base = strrchr(loader, '/');
        if (base != NULL && strncmp(base + 1, "ld-linux", 8) == 0) return PROGRAM_DYNAMIC;
        snprintf(why, why_bytes, "is started by %.100s, not by glibc's loader: it cannot be covered", loader);
        return PROGRAM_WITHOUT;
    }
    return is_kind(PROGRAM_STATIC, why, why_bytes, "is statically linked: it cannot be covered");
}

bool program_is_library(int file, char *why, size_t why_bytes) {
    Elf64_Ehdr header;
    if (!read_elf(file, &header, why, why_bytes)) return is_no(why, why_bytes, "is no shared object of this machine");
    return header.e_type == ET_DYN ? true : is_no(why, why_bytes, "is no shared object of this machine");
}

/* ------------------------------------------------------------------ asking the loader */

static _Noreturn void list_in_child(const char *path, const char *library, int output) {
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nowhere, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
    setenv("LD_PRELOAD", library, 1);
    char *const arguments[] = {(char *)(uintptr_t)path, NULL};
    execv(path, arguments);
    _exit(1);
}

/* True when the listing that comes through the pipe before the bound names the library, and nothing that is missing:
   if the library itself needs it, the loader will go on without the library. */
static bool listing_is_good(int input, const char *library) {
    char listing[LISTING_BYTES_MAX], wanted[PATH_MAX + 8];
    size_t filled = 0;
    int64_t until = milliseconds_now() + LISTING_MILLISECONDS;
    struct pollfd readable = {.fd = input, .events = POLLIN};
    snprintf(wanted, sizeof wanted, "\t%s (0x", library);
    while (filled < sizeof listing - 1) {
        int64_t left = until - milliseconds_now();
        if (left <= 0 || poll(&readable, 1, (int)left) <= 0) break;
        ssize_t bytes = read(input, listing + filled, sizeof listing - 1 - filled);
        if (bytes <= 0) break;
        filled += (size_t)bytes;
    }
    listing[filled] = 0;
    return strstr(listing, wanted) != NULL && strstr(listing, "not found") == NULL;
}

bool program_takes_library(const char *path, const char *library) {
    int listing[2];
    if (pipe2(listing, O_CLOEXEC) != 0) return false;
    pid_t child = fork();
    if (child == 0) list_in_child(path, library, listing[1]);
    close(listing[1]);
    bool takes = child > 0 && listing_is_good(listing[0], library);
    close(listing[0]);
    if (child > 0) {
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    }
    return takes;
}
