/*
 * data.c: calls on descriptors. The duplicate of the caller's descriptor shares its offset and flags, so that this
 * process's own call does what the caller's would have done; through the library it is captured.
 */
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

#define MAX_RW_COUNT 0x7ffff000ul /* what one call writes at most */

enum { BUFFER_BYTES = 1 << 20, VALUE_BYTES_MAX = 65536, NAME_BYTES_MAX = 256 };

static __thread uint8_t *buffer; /* page-aligned: good for O_DIRECT */

bool data_prepare_thread(void) {
    void *made = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffer = made == MAP_FAILED ? NULL : made;
    return buffer != NULL;
}

static int64_t answered(long answer) { return answer < 0 ? -errno : answer; }

/* ------------------------------------------------------------------ writes */

struct source {
    struct iovec vector[IOV_MAX];
    size_t count;      /* of the vector */
    size_t bytes;      /* in all */
};

/* The caller's vector, or 0 bytes with the error that the kernel will find. False: -errno in `error`. */
static bool read_source(struct request *request, struct source *source, bool is_vector, long *error) {
    uint64_t address = request_argument(request, 1), count = request_argument(request, 2);
    source->count = 1;
    source->bytes = 0;
    source->vector[0] = (struct iovec){(void *)(uintptr_t)address, count < MAX_RW_COUNT ? count : MAX_RW_COUNT};
    if (is_vector) {
        if (count > IOV_MAX) return *error = -EINVAL, false;
        source->count = count;
        ssize_t bytes = count == 0 ? 0 : caller_read_bytes(&request->caller, source->vector, address, count * sizeof(struct iovec));
        if (bytes != (ssize_t)(count * sizeof(struct iovec))) return *error = bytes < 0 && bytes != -EFAULT ? bytes : -EFAULT, false;
    }
    for (size_t index = 0; index < source->count; index++) {
        size_t length = source->vector[index].iov_len;
        if ((ssize_t)length < 0) return *error = -EINVAL, false;
        if (length > MAX_RW_COUNT - source->bytes) length = source->vector[index].iov_len = MAX_RW_COUNT - source->bytes;
        source->bytes += length;
    }
    return true;
}

/* Moves the vector past `bytes`; the place of the first that is left. */
static size_t skip(struct source *source, size_t first, size_t bytes) {
    while (first < source->count && bytes >= source->vector[first].iov_len) bytes -= source->vector[first++].iov_len;
    if (first < source->count) {
        source->vector[first].iov_base = (char *)source->vector[first].iov_base + bytes;
        source->vector[first].iov_len -= bytes;
    }
    return first;
}

/* One piece, as the same call with a single buffer. `done` bytes went before it. */
static int64_t write_piece(const struct request *request, int file, void *bytes, size_t count, uint64_t done) {
    uint64_t offset = request_argument(request, 3);
    struct iovec vector = {bytes, count};
    switch (request->data->nr) {
    case SYS_write: return answered(write(file, bytes, count));
    case SYS_writev: return answered(writev(file, &vector, 1));
    case SYS_pwrite64: return answered(pwrite(file, bytes, count, (off_t)(offset + done)));
    case SYS_pwritev: return answered(pwritev(file, &vector, 1, (off_t)(offset + done)));
    default:
        return answered(pwritev2(file, &vector, 1, (off_t)(offset == UINT64_MAX ? offset : offset + done),
                                 (int)request_argument(request, 5)));
    }
}

static void execute_write(struct request *request, int file) {
    static __thread struct source source;
    int number = request->data->nr;
    long error = 0;
    bool is_known = read_source(request, &source, number != SYS_write && number != SYS_pwrite64, &error);
    if (error == -EPERM || error == -ESRCH) {
        request_refuse(request, EOPNOTSUPP, "its memory can't be read");
        return;
    }
    if (!is_known) { /* the kernel would look at the descriptor first */
        request_value(request, (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY ? -EBADF : error);
        return;
    }
    if (!request_begin(request)) return;
    int64_t done = 0;
    size_t first = 0;
    do {
        size_t wanted = source.bytes - (size_t)done;
        if (wanted > BUFFER_BYTES) wanted = BUFFER_BYTES;
        struct iovec here = {buffer, wanted};
        ssize_t copied = wanted == 0 ? 0 : caller_read(&request->caller, &here, source.vector + first, source.count - first);
        /* An address that nobody can read, for the kernel to find. */
        void *bytes = wanted > 0 && copied <= 0 ? NULL : buffer;
        int64_t written = write_piece(request, file, bytes, bytes == NULL ? wanted : (size_t)copied, (uint64_t)done);
        if (written < 0) {
            if (done == 0) done = written;
            break;
        }
        done += written;
        first = skip(&source, first, (size_t)written);
        if (written < copied || copied < (ssize_t)wanted) break;
    } while ((size_t)done < source.bytes);
    request_value(request, done);
}

/* A limit of the caller would not hold for this process. */
static bool is_limited(struct request *request) {
    struct rlimit limit;
    if (caller_identify(&request->caller) == 0 && prlimit(request->caller.process, RLIMIT_FSIZE, NULL, &limit) == 0
        && limit.rlim_cur == RLIM_INFINITY)
        return false;
    request_refuse(request, EOPNOTSUPP, "it runs under a limit of file size");
    return true;
}

/* ------------------------------------------------------------------ extended attributes */

static void execute_attribute(struct request *request, int file) {
    static __thread char name[NAME_BYTES_MAX];
    size_t bytes = request_argument(request, 3);
    ssize_t read = caller_read_text(&request->caller, name, request_argument(request, 1), sizeof name);
    if (read < 0) {
        request_value(request, read == -ENAMETOOLONG ? -ERANGE : read);
        return;
    }
    if (request->data->nr == SYS_fsetxattr) {
        if (bytes > VALUE_BYTES_MAX) read = -E2BIG;
        else if (bytes > 0 && caller_read_bytes(&request->caller, buffer, request_argument(request, 2), bytes) != (ssize_t)bytes)
            read = -EFAULT;
        if (read < 0) {
            request_value(request, read);
            return;
        }
    }
    if (!request_begin(request)) return;
    request_value(request, answered(request->data->nr == SYS_fsetxattr
        ? fsetxattr(file, name, buffer, bytes, (int)request_argument(request, 4)) : fremovexattr(file, name)));
}

/* ------------------------------------------------------------------ mappings */

static void map(struct request *request, int file) {
    if ((fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        request_continue(request); /* mprotect can't make it writable later */
        return;
    }
    /* bbolt, and with it etcd: maps what it opened for writing, and only reads. The filter sees what the same text makes
       writable later; a C library's own mprotect, which is the allocator's and must be quick, it does not see. */
    bool is_own_text = request->slot->notification.data.instruction_pointer >> 32 == 0;
    if (is_own_text && !(request_argument(request, 2) & PROT_WRITE)) {
        atomic_store(&request->shared->mapped, 1);
        request_continue(request);
        return;
    }
    bool is_synchronous = (request_argument(request, 3) & MAP_TYPE) == MAP_SHARED_VALIDATE && (request_argument(request, 3) & MAP_SYNC);
    request_refuse(request, is_synchronous ? EOPNOTSUPP : EACCES, "a shared mapping that is or can be made writable");
}

/* "START-END rw-s OFFSET MAJOR:MINOR INODE   PATH": may it be made writable? */
static bool is_replicated(char *line, uint64_t first, uint64_t end) {
    unsigned long from, to, inode;
    char permissions[5];
    int path = 0;
    if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %n", &from, &to, permissions, &inode, &path) < 4) return true;
    if (to <= first || from >= end || permissions[3] != 's' || inode == 0) return false;
    line[strcspn(line, "\n")] = 0;
    int file = open(line + path, O_PATH | O_CLOEXEC);
    struct stat status;
    bool is_other = file >= 0 && fstat(file, &status) == 0 && status.st_ino == inode && library_verdict(file) == 0;
    if (file >= 0) close(file);
    return !is_other;
}

static void protect(struct request *request) {
    static __thread char line[PATH_MAX + 128];
    uint64_t first = request_argument(request, 0), end = first + request_argument(request, 1);
    bool found = false;
    char path[64];
    if (atomic_load(&request->shared->mapped)) {
        snprintf(path, sizeof path, "/proc/%d/maps", request->caller.tid);
        FILE *maps = fopen(path, "re");
        found = maps == NULL;
        while (!found && fgets(line, sizeof line, maps) != NULL) found = is_replicated(line, first, end);
        if (maps != NULL) fclose(maps);
    }
    request->is_tracked = found;
    if (found) request_refuse(request, EACCES, "a shared mapping to be made writable");
    else request_continue(request);
}

/* ------------------------------------------------------------------ by number */

static void execute_tracked(struct request *request, int file) {
    int number = request->data->nr;
    const __u64 *args = request->data->args;
    switch (number) {
    case SYS_mmap: map(request, file); return;
    case SYS_ioctl: request_refuse(request, EOPNOTSUPP, "clones, extents and flags are not replicated"); return;
    /* Who calls these writes by itself when they are not to be had. */
    case SYS_copy_file_range: request_refuse(request, EOPNOTSUPP, "copied by the kernel"); return;
    case SYS_sendfile:
    case SYS_splice: request_refuse(request, EINVAL, "copied by the kernel"); return;
    default: break;
    }
    if (caller_become(&request->caller) != 0) {
        request_refuse(request, EOPNOTSUPP, "its credentials can't be taken on");
        return;
    }
    switch (number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        if (!is_limited(request)) execute_write(request, file);
        break;
    case SYS_fsetxattr:
    case SYS_fremovexattr: execute_attribute(request, file); break;
    case SYS_ftruncate:
    case SYS_fallocate:
        if (is_limited(request)) break;
        /* fall through */
    default: /* numbers only: the same call on the duplicate */
        if (request_begin(request))
            request_value(request, answered(syscall(number, file, args[1], args[2], args[3], args[4], args[5])));
    }
    caller_become_self();
}

/* The argument that is the descriptor whose file is changed; -1: the call is none of ours. */
static int changed_argument(int number) {
    switch (number) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2: case SYS_fsync: case SYS_fdatasync:
    case SYS_syncfs: case SYS_ftruncate: case SYS_fallocate: case SYS_fchmod: case SYS_fchown: case SYS_fsetxattr:
    case SYS_fremovexattr: case SYS_ioctl: case SYS_sendfile:
        return 0;
    case SYS_copy_file_range:
    case SYS_splice: return 2;
    case SYS_mmap: return 4;
    default: return -1;
    }
}

bool data_execute(struct request *request) {
    if (request->data->nr == SYS_mprotect || request->data->nr == SYS_pkey_mprotect) {
        protect(request);
        return true;
    }
    int changed = changed_argument(request->data->nr);
    if (changed < 0) return false;
    int file = caller_descriptor(&request->caller, request_descriptor(request, changed));
    if (file == -EBADF) {
        request_value(request, -EBADF);
        return true;
    }
    if (file < 0) {
        request->is_tracked = true; /* perhaps */
        request_refuse(request, EOPNOTSUPP, "its descriptor can't be looked at");
        return true;
    }
    int verdict = library_verdict(file);
    request->is_tracked = verdict != 0;
    if (verdict < 0) request_refuse(request, -verdict, "not known whether it is in the replicated tree");
    /* A file outside may lie on the file system of the tree: then this is a durability point of everything. */
    else if (verdict == 0 && request->data->nr != SYS_syncfs) request_continue(request);
    else execute_tracked(request, file);
    close(file);
    return true;
}
