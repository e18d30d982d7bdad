/*
 * uring_entry.c: what an entry would do, and what becomes of it.
 *
 *   reads, polls, time-outs, the network ------------------------------------------> the kernel's, as they are
 *   write of the tree --> captured; append, implicit offset, more than one operation -> carried out here
 *   fsync of the tree --> its barrier
 *   names, opens, space, attributes, registered files ------------------------------> carried out here, wherever they are
 *   any other opcode, or one that would fill the table of files unseen --------------> refused: EOPNOTSUPP
 *
 * A number of liburing's later than its version 2.3 is not known, and so refused, whatever it does.
 */
#define _GNU_SOURCE
#include "uring.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <sys/stat.h>

enum sort { UNKNOWN, PASSES, WRITES, FSYNCS, ALLOCATES, OPENS, NAMES, CLOSES, SPLICES, TABLE, INSTALLS };

/* By opcode. INSTALLS: passes, unless it puts what it opens into the table of files. */
static const uint8_t sorts[] = {
    [IORING_OP_NOP] = PASSES, [IORING_OP_READV] = PASSES, [IORING_OP_READ_FIXED] = PASSES, [IORING_OP_READ] = PASSES,
    [IORING_OP_POLL_ADD] = PASSES, [IORING_OP_POLL_REMOVE] = PASSES, [IORING_OP_SYNC_FILE_RANGE] = PASSES,
    [IORING_OP_SENDMSG] = PASSES, [IORING_OP_RECVMSG] = PASSES, [IORING_OP_TIMEOUT] = PASSES, [IORING_OP_TIMEOUT_REMOVE] = PASSES,
    [IORING_OP_ASYNC_CANCEL] = PASSES, [IORING_OP_LINK_TIMEOUT] = PASSES, [IORING_OP_CONNECT] = PASSES, [IORING_OP_STATX] = PASSES,
    [IORING_OP_FADVISE] = PASSES, [IORING_OP_MADVISE] = PASSES, [IORING_OP_SEND] = PASSES, [IORING_OP_RECV] = PASSES,
    [IORING_OP_EPOLL_CTL] = PASSES, [IORING_OP_PROVIDE_BUFFERS] = PASSES, [IORING_OP_REMOVE_BUFFERS] = PASSES,
    [IORING_OP_TEE] = PASSES, [IORING_OP_SHUTDOWN] = PASSES, [IORING_OP_FGETXATTR] = PASSES, [IORING_OP_GETXATTR] = PASSES,
    [IORING_OP_SEND_ZC] = PASSES, [IORING_OP_SENDMSG_ZC] = PASSES,
    [IORING_OP_WRITE] = WRITES, [IORING_OP_WRITEV] = WRITES, [IORING_OP_WRITE_FIXED] = WRITES, [IORING_OP_FSYNC] = FSYNCS,
    [IORING_OP_FALLOCATE] = ALLOCATES, [IORING_OP_OPENAT] = OPENS, [IORING_OP_OPENAT2] = OPENS,
    [IORING_OP_RENAMEAT] = NAMES, [IORING_OP_UNLINKAT] = NAMES, [IORING_OP_MKDIRAT] = NAMES, [IORING_OP_SYMLINKAT] = NAMES,
    [IORING_OP_LINKAT] = NAMES, [IORING_OP_SETXATTR] = NAMES, [IORING_OP_FSETXATTR] = ALLOCATES,
    [IORING_OP_CLOSE] = CLOSES, [IORING_OP_SPLICE] = SPLICES, [IORING_OP_FILES_UPDATE] = TABLE,
    [IORING_OP_ACCEPT] = INSTALLS, [IORING_OP_SOCKET] = INSTALLS,
    [IORING_OP_MSG_RING] = UNKNOWN, [IORING_OP_URING_CMD] = UNKNOWN,
};

static enum sort sort_of(unsigned opcode) { return opcode < sizeof sorts ? sorts[opcode] : UNKNOWN; }

bool uring_knows(unsigned opcode) { return sort_of(opcode) != UNKNOWN; }

static void refuse(struct examined *x, long error, const char *text) {
    x->way = WAY_REFUSED;
    x->error = error;
    if (text)
        line(LINE_URING, "io_uring_submit", x->descriptor, NULL, text);
}

/* ------------------------------------------------------------------ the file of an entry */

/* Flags of the open file on which it depends how a write is captured. */
#define FLAGS_THAT_MATTER (O_ACCMODE | O_APPEND | O_DSYNC | O_DIRECT)

/* The number by which a registered file was registered, if that is what it still means; else -1. Its path keeps the inode. */
static int number_of(const struct uring_file *file) {
    struct statx now, then;
    const unsigned wanted = STATX_INO;
    if (kernel(SYS_statx, file->number, "", AT_EMPTY_PATH, wanted, &now) != 0
        || kernel(SYS_statx, file->path, "", AT_EMPTY_PATH, wanted, &then) != 0 || now.stx_ino != then.stx_ino
        || now.stx_dev_major != then.stx_dev_major || now.stx_dev_minor != then.stx_dev_minor)
        return -1;
    return file->number;
}

/* Descriptor and flags of the file behind the entry: 1, or 0: none that could be in the tree; the kernel's to answer. */
static int find_file(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x, long *flags) {
    x->descriptor = entry->fd;
    if (!(entry->flags & IOSQE_FIXED_FILE)) {
        *flags = kernel(SYS_fcntl, entry->fd, F_GETFL);
        return *flags >= 0;
    }
    const struct uring_file *file = uring_file(ring, entry);
    x->descriptor = file ? file->path : -1;
    *flags = file ? file->flags : -1;
    return x->descriptor >= 0;
}

/* One with which an ordinary call can be made; -1: the entry was refused. */
static int usable_number(const struct uring *ring, const struct io_uring_sqe *entry) {
    if (!(entry->flags & IOSQE_FIXED_FILE))
        return entry->fd;
    const struct uring_file *file = uring_file(ring, entry);
    int number = file && file->path >= 0 ? number_of(file) : -1;
    long flags = number >= 0 ? kernel(SYS_fcntl, number, F_GETFL) : -1;
    return number >= 0 && !((flags ^ file->flags) & FLAGS_THAT_MATTER) ? number : -1;
}

/* Its flags may have been changed by a descriptor that is the same open file; by another one of the same file they look so. */
static bool flags_are_known(const struct uring *ring, const struct io_uring_sqe *entry) {
    const struct uring_file *file = entry->flags & IOSQE_FIXED_FILE ? uring_file(ring, entry) : NULL;
    int number = file && file->path >= 0 ? number_of(file) : -1;
    return number < 0 || !((kernel(SYS_fcntl, number, F_GETFL) ^ file->flags) & FLAGS_THAT_MATTER);
}

/* ------------------------------------------------------------------ writes and fsyncs */

static void examine_write(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x) {
    long flags;
    if (!find_file(ring, entry, x, &flags))
        return;
    bool is_vector = entry->opcode == IORING_OP_WRITEV;
    long verdict = identify_regular(x->descriptor, &x->w.target);
    x->can_be_here = S_ISREG(x->w.target.mode) && usable_number(ring, entry) >= 0;
    if (verdict < 0) {
        refuse(x, verdict, NULL);
        return;
    }
    if (verdict != TRACKED || (entry->opcode == IORING_OP_WRITEV && FAULT_SKIPS("uring-writev")))
        return;
    x->w.descriptor = x->descriptor;
    x->w.rwf = (int)entry->rw_flags;
    x->w.offset = (off_t)entry->off;
    x->w.implicit = x->w.offset == -1;
    x->single = (struct iovec){(void *)(uintptr_t)entry->addr, entry->len};
    x->vector = is_vector ? (const struct iovec *)(uintptr_t)entry->addr : &x->single;
    x->count = is_vector ? (int)entry->len : 1;
    /* The kernel refuses these, or writes nothing. */
    if ((x->w.offset < 0 && !x->w.implicit) || entry->len == 0 || (is_vector && entry->len > IOV_MAX))
        return;
    if ((entry->flags & IOSQE_BUFFER_SELECT) || writing_check_flags(&x->w) != 0) {
        refuse(x, -EOPNOTSUPP, NULL);
        return;
    }
    if (!flags_are_known(ring, entry)) {
        refuse(x, -EOPNOTSUPP, "the flags of a registered file are not what they were: refused");
        return;
    }
    long answer = writing_prepare_flags(&x->w, flags, x->vector, x->count, &x->source);
    if (answer < 0)
        refuse(x, answer, NULL);
    else if (answer > 0)
        x->way = x->w.append || x->w.implicit || x->source.left > LOCKSTEP_OPERATION_BYTES_MAX ? WAY_HERE : WAY_WRITE;
    if (x->way == WAY_HERE && !x->can_be_here)
        refuse(x, -EOPNOTSUPP, "an append, or a long write, to a registered file whose descriptor has been closed: refused");
}

static void examine_fsync(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x) {
    long flags, verdict;
    if (!find_file(ring, entry, x, &flags))
        return;
    verdict = identify(x->descriptor, &x->w.target);
    x->can_be_here = usable_number(ring, entry) >= 0 && entry->off == 0 && entry->len == 0
                     && !(entry->fsync_flags & ~IORING_FSYNC_DATASYNC);
    if (verdict < 0)
        refuse(x, verdict, NULL);
    else if (verdict == TRACKED)
        x->way = WAY_FSYNC;
}

/* ------------------------------------------------------------------ the others */

static void examine_on_file(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x) {
    long flags;
    if (!find_file(ring, entry, x, &flags))
        return;
    x->way = WAY_HERE;
    if (usable_number(ring, entry) < 0)
        refuse(x, -EOPNOTSUPP, "on a registered file whose descriptor has been closed: refused");
}

static void examine_splice(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x) {
    long flags;
    struct target target;
    /* Carried out here it might wait for a pipe that this thread is to fill. */
    if (find_file(ring, entry, x, &flags) && identify_regular(x->descriptor, &target) != OUTSIDE)
        refuse(x, -EINVAL, "splice into a replicated file: refused");
}

void uring_examine(const struct uring *ring, const struct io_uring_sqe *entry, struct examined *x) {
    *x = (struct examined){.way = WAY_KERNEL, .descriptor = -1};
    const uint64_t renamed = entry->opcode == IORING_OP_POLL_REMOVE ? entry->off : 0;
    if (flight_at(entry->user_data, 0) || flight_at(renamed, 0)) {
        refuse(x, -EINVAL, "its name for the entry is an address of the library's: refused");
        return;
    }
    if (entry->flags & IOSQE_IO_DRAIN) {
        refuse(x, -EOPNOTSUPP, "IOSQE_IO_DRAIN is not captured: refused");
        return;
    }
    enum sort sort = sort_of(entry->opcode);
    if (sort != PASSES && entry->personality) {
        refuse(x, -EINVAL, NULL);
        return;
    }
    x->is_bound_late = (sort == WRITES || sort == SPLICES) && !(entry->flags & IOSQE_FIXED_FILE);
    switch (sort) {
    case PASSES: x->can_be_here = entry->opcode == IORING_OP_NOP || entry->opcode == IORING_OP_LINK_TIMEOUT; break;
    case WRITES: examine_write(ring, entry, x); break;
    case FSYNCS: examine_fsync(ring, entry, x); break;
    case ALLOCATES: examine_on_file(ring, entry, x); break;
    case SPLICES: examine_splice(ring, entry, x); break;
    case TABLE: x->way = WAY_HERE; break;
    case CLOSES:
        x->can_be_here = true;
        x->way = entry->file_index ? WAY_HERE : WAY_KERNEL;
        break;
    case NAMES:
    case OPENS:
    case INSTALLS:
        if (sort != NAMES && entry->file_index)
            refuse(x, -EOPNOTSUPP, "direct descriptors are not captured: refused");
        else if (sort != INSTALLS)
            x->way = WAY_HERE;
        if (x->way == WAY_HERE && (entry->flags & IOSQE_FIXED_FILE))
            refuse(x, -EBADF, NULL);
        break;
    default: refuse(x, -EOPNOTSUPP, "an operation that is not captured: refused");
    }
    x->can_be_here = x->can_be_here || x->way == WAY_HERE;
}

/* ------------------------------------------------------------------ carried out */

static long write_here(const struct uring *ring, const struct io_uring_sqe *entry) {
    struct iovec single = {(void *)(uintptr_t)entry->addr, entry->len};
    bool is_vector = entry->opcode == IORING_OP_WRITEV;
    return captured_pwritev(usable_number(ring, entry), is_vector ? (const struct iovec *)(uintptr_t)entry->addr : &single,
                            is_vector ? (int)entry->len : 1, (off_t)entry->off, (int)entry->rw_flags,
                            entry->rw_flags || entry->off == UINT64_MAX ? SYS_pwritev2 : SYS_pwritev);
}

static long close_here(struct uring *ring, const struct io_uring_sqe *entry) {
    static const int nothing = -1;
    if (!entry->file_index)
        return kernel(SYS_close, entry->fd);
    if (entry->fd || entry->file_index > ring->file_count)
        return entry->fd ? -EINVAL : ring->files ? -EINVAL : -ENXIO;
    if (ring->files[entry->file_index - 1].number < 0)
        return -EBADF;
    long answer = uring_files_update(ring, entry->file_index - 1, &nothing, 1);
    return answer < 0 ? answer : 0;
}

long uring_carry_out(struct uring *ring, const struct io_uring_sqe *entry) {
    const char *first = (const char *)(uintptr_t)entry->addr, *second = (const char *)(uintptr_t)entry->addr2;
    switch (entry->opcode) {
    case IORING_OP_NOP: return 0;
    case IORING_OP_LINK_TIMEOUT: return -ECANCELED; /* what it was for has ended */
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
    case IORING_OP_WRITE_FIXED: return write_here(ring, entry);
    case IORING_OP_FSYNC:
        return durable_sync(usable_number(ring, entry), entry->fsync_flags & IORING_FSYNC_DATASYNC ? SYS_fdatasync : SYS_fsync);
    case IORING_OP_FALLOCATE:
        return captured_fallocate(usable_number(ring, entry), (int)entry->len, (off_t)entry->off, (off_t)entry->addr);
    case IORING_OP_OPENAT: return captured_open(entry->fd, first, (int)entry->open_flags, (mode_t)entry->len);
    case IORING_OP_OPENAT2: return captured_openat2(entry->fd, first, (void *)(uintptr_t)entry->addr2, entry->len);
    case IORING_OP_RENAMEAT: return captured_rename(entry->fd, first, (int)entry->len, second, entry->rename_flags);
    case IORING_OP_UNLINKAT: return captured_unlink(entry->fd, first, (int)entry->unlink_flags);
    case IORING_OP_MKDIRAT: return captured_mkdir(entry->fd, first, (mode_t)entry->len);
    case IORING_OP_SYMLINKAT: return captured_symlink(first, entry->fd, second);
    case IORING_OP_LINKAT: return captured_link(entry->fd, first, (int)entry->len, second, (int)entry->hardlink_flags);
    case IORING_OP_SETXATTR:
        return captured_setxattr((const char *)(uintptr_t)entry->addr3, first, second, entry->len, (int)entry->xattr_flags, 0);
    case IORING_OP_FSETXATTR:
        return captured_fsetxattr(usable_number(ring, entry), first, second, entry->len, (int)entry->xattr_flags);
    case IORING_OP_FILES_UPDATE: return uring_files_update(ring, (unsigned)entry->off, (const int *)(uintptr_t)entry->addr, entry->len);
    case IORING_OP_CLOSE: return close_here(ring, entry);
    default: return -EOPNOTSUPP;
    }
}
