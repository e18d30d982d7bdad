/*
 * stdio.c: what stdio writes and opens inside libc.
 *
 *   FILE -> vtable (read-only after relocation) -> _IO_file_write -> libc's own write, past every wrapper
 *                                                   ^ each such slot is replaced by file_write below
 *
 * All buffered output of libc leaves through that one function, which is called through vtables only. The slots are
 * data: no code is changed, and the check of the vtable pointers is not touched. A self-test shows that the patch took.
 * What stdio opens is opened here (open.c) and handed to fdopen.
 */
#define _GNU_SOURCE
#include "library.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <linux/stat.h>
#include <mntent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAM_ERROR 0x0020     /* _IO_ERR_SEEN */
#define STREAM_APPENDING 0x1000 /* _IO_IS_APPENDING */

/* ------------------------------------------------------------------ vtable patch */

static int self_test_descriptor = -1, self_test_hits;

/* _IO_file_write, word for word, but for the call. */
static ssize_t file_write(FILE *stream, const void *bytes, ssize_t count) {
    if (__builtin_expect(stream->_fileno == self_test_descriptor, 0)) {
        self_test_hits++;
        return count;
    }
    ssize_t left = count;
    const char *at = bytes;
    while (left > 0) {
        pthread_testcancel();
        long written = audited ? kernel(SYS_write, stream->_fileno, at, left, 0, 0, LOCKSTEP_AUDITED_STDIO)
                               : captured_write(stream->_fileno, at, (size_t)left);
        if (written < 0) {
            errno = (int)-written;
            stream->_flags |= STREAM_ERROR;
            break;
        }
        left -= written;
        at += written;
    }
    count -= left;
    if (stream->_offset >= 0)
        stream->_offset += count;
    return count;
}

struct patch {
    uintptr_t original;
    int slots;
};

static int patch_object(struct dl_phdr_info *object, size_t bytes, void *argument) {
    (void)bytes;
    struct patch *patch = argument;
    bool holds = false;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + header->p_vaddr;
        holds = holds || (header->p_type == PT_LOAD && patch->original - start < header->p_memsz);
    }
    for (int i = 0; holds && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type != PT_GNU_RELRO)
            continue;
        uintptr_t start = object->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;
        uintptr_t page = start & ~4095ul, pages = ((end + 4095) & ~4095ul) - page;
        if (kernel(SYS_mprotect, page, pages, PROT_READ | PROT_WRITE) != 0)
            continue;
        for (uintptr_t *word = (uintptr_t *)start; (uintptr_t)(word + 1) <= end; word++)
            if (*word == patch->original) {
                *word = (uintptr_t)file_write;
                patch->slots++;
            }
        kernel(SYS_mprotect, page, pages, PROT_READ);
    }
    return 0;
}

static struct {
    FILE *(*fopen)(const char *, const char *);
    FILE *(*freopen)(const char *, const char *, FILE *);
    FILE *(*tmpfile)(void);
} libc;

static void libc_find(void) {
    libc.fopen = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    libc.freopen = (FILE * (*)(const char *, const char *, FILE *)) dlsym(RTLD_NEXT, "freopen");
    libc.tmpfile = (FILE * (*)(void)) dlsym(RTLD_NEXT, "tmpfile");
}

void stdio_attach(char *const envp[]) {
    (void)envp;
    libc_find();
    struct patch patch = {.original = (uintptr_t)dlsym(RTLD_NEXT, "_IO_file_write")};
    if (!patch.original || !libc.fopen || !libc.freopen || !libc.tmpfile)
        line_exit(LOCKSTEP_EXIT_UNCOVERED, "this libc lacks what the coverage of stdio needs", "");
#ifdef LOCKSTEP_FAULTS
    for (; *envp; envp++)
        if (strncmp(*envp, "LOCKSTEP_NO_VTABLE_PATCH=", 25) == 0)
            return;
#endif
    dl_iterate_phdr(patch_object, &patch);
    self_test_descriptor = (int)kernel(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
    if (self_test_descriptor >= 0)
        dprintf(self_test_descriptor, "x");
    if (self_test_hits == 0)
        line_exit(LOCKSTEP_EXIT_UNCOVERED, "the self-test of stdio failed", "its writes can't be seen with this libc");
    kernel(SYS_close, self_test_descriptor);
    self_test_descriptor = -1;
}

/* ------------------------------------------------------------------ openers */

struct mode {
    int flags; /* of open */
    bool charset;
};

/* As libc reads a mode: r, w or a, then up to six of + x b e m c, then ",ccs=". */
static bool mode_parse(const char *text, struct mode *mode) {
    if ((uintptr_t)text < 4096)
        return false;
    switch (*text) {
    case 'r': mode->flags = O_RDONLY; break;
    case 'w': mode->flags = O_WRONLY | O_CREAT | O_TRUNC; break;
    case 'a': mode->flags = O_WRONLY | O_CREAT | O_APPEND; break;
    default: return false;
    }
    mode->charset = strstr(text, ",ccs=") != NULL;
    for (int i = 1; i < 7 && text[i] && text[i] != ','; i++) {
        if (text[i] == '+')
            mode->flags = (mode->flags & ~O_ACCMODE) | O_RDWR;
        else if (text[i] == 'x')
            mode->flags |= O_EXCL;
        else if (text[i] == 'e')
            mode->flags |= O_CLOEXEC;
    }
    return true;
}

/* Opened inside libc: its number means a new file. */
static FILE *opened(FILE *stream) {
    if (stream && fileno(stream) >= 0)
        verdict_forget(fileno(stream));
    return stream;
}

/* Whether opening `path` for writing would create or change something in the tree: TRACKED, OUTSIDE or -errno. */
static long path_verdict(const char *path) {
    if (audited) { /* for the auditor every regular file is one of the tree */
        struct statx status = {.stx_mode = 0};
        long answer = kernel(SYS_statx, AT_FDCWD, path, 0, STATX_TYPE, &status);
        return answer == -ENOENT || (answer == 0 && S_ISREG(status.stx_mode)) ? TRACKED : OUTSIDE;
    }
    long descriptor = path_open(AT_FDCWD, path, 0);
    if (descriptor >= 0) {
        struct target target;
        long verdict = identify((int)descriptor, &target);
        kernel(SYS_close, descriptor);
        return verdict;
    }
    struct place place;
    long answer = place_resolve(AT_FDCWD, path, false, &place);
    if (answer < 0)
        return answer == -EIO ? answer : OUTSIDE;
    answer = place.whole ? OUTSIDE : place_verdict(&place);
    char target[8];
    /* A dangling link may lead anywhere. */
    if (answer == OUTSIDE && !place.whole && kernel(SYS_readlinkat, place.parent, place.name, target, sizeof target) > 0)
        answer = TRACKED;
    place_release(&place);
    return answer;
}

/* Makes the file exist and be empty, as the mode says, without keeping a descriptor of it. */
static long prepare_reopen(const char *path, int flags) {
    /* An audit counts what the application means: one open. */
    long descriptor = audited ? captured_open(AT_FDCWD, path, flags, 0666) : path_open(AT_FDCWD, path, 0);
    if (audited) {
        if (descriptor >= 0)
            kernel(SYS_close, descriptor);
        return descriptor < 0 ? descriptor : 0;
    }
    if (descriptor >= 0) {
        kernel(SYS_close, descriptor);
        if (flags & O_EXCL)
            return -EEXIST;
        return flags & O_TRUNC ? captured_truncate(path, 0) : 0;
    }
    if (descriptor != -ENOENT)
        return descriptor;
    descriptor = captured_open(AT_FDCWD, path, flags & ~O_TRUNC, 0666);
    if (descriptor >= 0)
        kernel(SYS_close, descriptor); /* just created: nobody can hold a lock on it */
    return descriptor < 0 ? descriptor : 0;
}

/* After prepare_reopen libc opens with "a", which neither creates nor truncates any more. */
static void append_mode(const struct mode *mode, const char *charset, char text[64]) {
    strcpy(text, "a");
    if ((mode->flags & O_ACCMODE) == O_RDWR)
        strcat(text, "+");
    if (mode->flags & O_CLOEXEC)
        strcat(text, "e");
    if (charset && strlen(charset) < 32)
        strcat(text, charset);
}

/* Takes the appending back when "w" was asked for. */
static FILE *not_appending(FILE *stream, const struct mode *mode) {
    if (stream && !(mode->flags & O_APPEND)) {
        stream->_flags &= ~STREAM_APPENDING;
        kernel(SYS_fcntl, fileno(stream), F_SETFL, kernel(SYS_fcntl, fileno(stream), F_GETFL) & ~(long)O_APPEND);
    }
    return stream;
}

static FILE *fopen_charset(const char *path, const char *mode_text, const struct mode *mode) {
    long verdict = path_verdict(path);
    if (verdict == OUTSIDE)
        return opened(libc.fopen(path, mode_text));
    if (verdict == TRACKED)
        verdict = prepare_reopen(path, mode->flags);
    if (returned(verdict) < 0)
        return NULL;
    char text[64];
    append_mode(mode, strstr(mode_text, ",ccs="), text);
    return not_appending(opened(libc.fopen(path, text)), mode);
}

EXPORTED FILE *fopen(const char *path, const char *mode_text) {
    struct mode mode;
    if (!attached() && !audited) {
        if (!libc.fopen)
            libc_find();
        return opened(libc.fopen(path, mode_text));
    }
    if (!mode_parse(mode_text, &mode) || !(mode.flags & (O_CREAT | O_TRUNC)))
        return opened(libc.fopen(path, mode_text));
    if (mode.charset)
        return fopen_charset(path, mode_text, &mode);
    pthread_testcancel();
    long descriptor = captured_open(AT_FDCWD, path, mode.flags, 0666);
    if (returned(descriptor) < 0)
        return NULL;
    if ((mode.flags & O_APPEND) && (mode.flags & O_ACCMODE) == O_WRONLY)
        kernel(SYS_lseek, descriptor, 0, SEEK_END);
    FILE *stream = fdopen((int)descriptor, mode_text);
    if (!stream)
        kernel(SYS_close, descriptor);
    return stream;
}
ALIAS(fopen64, fopen);
FILE *_IO_fopen(const char *, const char *);
ALIAS(_IO_fopen, fopen);

/* Of a table of mounts, and of anything else: an fopen inside libc. */
EXPORTED FILE *setmntent(const char *path, const char *mode_text) {
    char text[16];
    if (strlen(mode_text) > sizeof text - 3) {
        errno = EINVAL;
        return NULL;
    }
    strcat(strcpy(text, mode_text), "ce");
    FILE *stream = fopen(path, text);
    if (stream)
        __fsetlocking(stream, FSETLOCKING_BYCALLER);
    return stream;
}
FILE *__setmntent(const char *, const char *);
ALIAS(__setmntent, setmntent);

EXPORTED FILE *freopen(const char *path, const char *mode_text, FILE *stream) {
    struct mode mode;
    if (!libc.freopen)
        libc_find();
    if ((!attached() && !audited) || !mode_parse(mode_text, &mode) || !(mode.flags & (O_CREAT | O_TRUNC)))
        return opened(libc.freopen(path, mode_text, stream));
    /* Without a path libc opens the stream's own file once more, as we do. */
    char own[DESCRIPTOR_PATH_BYTES];
    const char *reopened = path;
    if (!path && fileno(stream) < 0)
        return opened(libc.freopen(path, mode_text, stream));
    if (!path)
        descriptor_path(fileno(stream), (char *)(reopened = own));
    long verdict = path_verdict(reopened);
    if (verdict == OUTSIDE)
        return opened(libc.freopen(path, mode_text, stream));
    fflush(stream); /* what is buffered belongs before the truncation */
    if (verdict == TRACKED)
        verdict = prepare_reopen(reopened, mode.flags);
    if (verdict < 0) {
        fclose(stream);
        errno = (int)-verdict;
        return NULL;
    }
    char text[64];
    append_mode(&mode, strstr(mode_text, ",ccs="), text);
    return not_appending(opened(libc.freopen(path, text, stream)), &mode);
}
ALIAS(freopen64, freopen);

EXPORTED FILE *tmpfile(void) {
    if (!libc.tmpfile)
        libc_find();
    long descriptor = attached() ? path_verdict(P_tmpdir) : audited ? TRACKED : OUTSIDE;
    if (descriptor == OUTSIDE)
        return opened(libc.tmpfile());
    if (descriptor == TRACKED)
        descriptor = temporary_unlinked();
    if (returned(descriptor) < 0)
        return NULL;
    FILE *stream = fdopen((int)descriptor, "w+");
    if (!stream)
        kernel(SYS_close, descriptor);
    return stream;
}
ALIAS(tmpfile64, tmpfile);
