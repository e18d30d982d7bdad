/*
 * uring_files.c: registered files.
 *
 *   program's numbers --> copied once --> the kernel's table
 *                                    `--> here: the number, the flags, and an O_PATH descriptor of each file and directory
 *
 * A normal duplicate would have to be closed some day, which drops the process's POSIX locks on the file; the closing of an O_PATH
 * descriptor does not. Its file is looked at anew for each entry: it may have come into a tree since.
 */
#define _GNU_SOURCE
#include "uring.h"
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILES_MAX 32768u /* the kernel's, of one registration */

static size_t bytes_for(unsigned count) { return (count * (sizeof(struct uring_file) + sizeof(int)) + 4095) & ~4095ul; }

/* A table of nothing, with room for `count` numbers behind it. NULL: no memory. */
static struct uring_file *table_make(unsigned count, int **numbers) {
    long made = kernel(SYS_mmap, 0, bytes_for(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made < 0 && made > -4096)
        return NULL;
    struct uring_file *files = (struct uring_file *)made;
    for (unsigned i = 0; i < count; i++)
        files[i] = (struct uring_file){-1, -1, 0};
    *numbers = (int *)(files + count);
    return files;
}

static void forget(struct uring_file *file) {
    if (file->path >= 0)
        kernel(SYS_close, file->path);
    *file = (struct uring_file){-1, -1, 0};
}

static void table_free(struct uring_file *files, unsigned count) {
    for (unsigned i = 0; files && i < count; i++)
        forget(&files[i]);
    if (files)
        kernel(SYS_munmap, files, bytes_for(count));
}

/* What is none, or can't be in a tree, is noted by its number only. 0 or -errno. */
static long note(struct uring_file *file, int number) {
    char path[DESCRIPTOR_PATH_BYTES];
    struct statx status;
    *file = (struct uring_file){number, -1, (int)kernel(SYS_fcntl, number, F_GETFL)};
    if (number < 0 || kernel(SYS_statx, number, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0
        || (!S_ISREG(status.stx_mode) && !S_ISDIR(status.stx_mode)))
        return 0;
    descriptor_path(number, path);
    long opened = moved_high(kernel(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0));
    file->path = (int)opened;
    return opened < 0 ? opened : 0;
}

/* The program's numbers, copied, and what is to be known of them. 0 or -errno. */
static long take(const int *numbers, unsigned count, struct uring_file **files, int **copy) {
    if (count == 0 || count > FILES_MAX)
        return count ? -EMFILE : -EINVAL;
    *files = table_make(count, copy);
    if (!*files)
        return -ENOMEM;
    long answer = !numbers || payload_copy(*copy, numbers, count * sizeof(int)) == count * sizeof(int) ? 0 : -EFAULT;
    for (unsigned i = 0; numbers && answer == 0 && i < count; i++)
        answer = note(&(*files)[i], (*copy)[i]);
    if (answer)
        table_free(*files, count);
    return answer;
}

long uring_files_register(struct uring *ring, const int *numbers, unsigned count) {
    struct uring_file *files;
    int *copy;
    long answer = take(numbers, count, &files, &copy);
    if (answer)
        return answer;
    for (unsigned i = 0; !numbers && i < count; i++)
        copy[i] = -1;
    answer = kernel(SYS_io_uring_register, ring->descriptor, IORING_REGISTER_FILES, copy, count);
    if (answer < 0) { /* one is registered: it stays */
        table_free(files, count);
        return answer;
    }
    ring->files = files;
    ring->file_count = count;
    return answer;
}

long uring_files_update(struct uring *ring, unsigned offset, const int *numbers, unsigned count) {
    struct uring_file *files;
    int *copy;
    if (!ring->files)
        return -ENXIO;
    if (offset > ring->file_count || count > ring->file_count - offset)
        return -EINVAL;
    long answer = take(numbers, count, &files, &copy);
    if (answer)
        return answer;
    struct io_uring_files_update update = {.offset = offset, .fds = (uintptr_t)copy};
    answer = kernel(SYS_io_uring_register, ring->descriptor, IORING_REGISTER_FILES_UPDATE, &update, count);
    /* So many from the first on. */
    for (long i = 0; i < answer; i++) {
        if (copy[i] == IORING_REGISTER_FILES_SKIP)
            continue;
        forget(&ring->files[offset + i]);
        ring->files[offset + i] = files[i];
        files[i].path = -1;
    }
    table_free(files, count);
    return answer;
}

void uring_files_forget(struct uring *ring) {
    table_free(ring->files, ring->file_count);
    ring->files = NULL;
    ring->file_count = 0;
}

long uring_files_unregister(struct uring *ring) {
    long answer = kernel(SYS_io_uring_register, ring->descriptor, IORING_UNREGISTER_FILES, 0, 0);
    if (answer == 0)
        uring_files_forget(ring);
    return answer;
}

const struct uring_file *uring_file(const struct uring *ring, const struct io_uring_sqe *entry) {
    return (unsigned)entry->fd < ring->file_count ? &ring->files[entry->fd] : NULL;
}
