#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int status_of(long result) { return result < 0 ? -errno : (int)result; }

/* ------------------------------------------------------------------ files */

int lockstep_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    return status_of(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

int lockstep_statx(int directory, const char *path, int flags, uint32_t mask, struct lockstep_status *status)
{
    struct statx found;
    if (statx(directory, path ? path : "", flags | AT_STATX_SYNC_AS_STAT, mask, &found) < 0)
        return -errno;
    memset(status, 0, sizeof *status);
    status->device = makedev(found.stx_dev_major, found.stx_dev_minor);
    status->special_device = makedev(found.stx_rdev_major, found.stx_rdev_minor);
    status->inode = found.stx_ino;
    status->size = found.stx_size;
    status->blocks = found.stx_blocks;
    status->modified_nanoseconds = found.stx_mtime.tv_sec * 1000000000ll + found.stx_mtime.tv_nsec;
    status->mode = found.stx_mode;
    status->links = found.stx_nlink;
    status->owner = found.stx_uid;
    status->group = found.stx_gid;
    if (found.stx_mask & STATX_CTIME & mask)
        status->changed_nanoseconds = found.stx_ctime.tv_sec * 1000000000ll + found.stx_ctime.tv_nsec;
    status->mount_root = (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return 0;
}

int lockstep_generation_of_descriptor(int descriptor, uint32_t *generation)
{
    /* The ioctl is declared with a long and writes an int. */
    long version = 0;
    if (ioctl(descriptor, FS_IOC_GETVERSION, &version) == 0) {
        *generation = (uint32_t)version;
        return 0;
    }
    /* tmpfs has none; an O_PATH descriptor takes no ioctl; overlayfs has neither, and the handle says so. */
    if (errno != ENOTTY && errno != EBADF)
        return -errno;
    return lockstep_generation(descriptor, "", generation);
}

int lockstep_generation(int directory, const char *path, uint32_t *generation)
{
    union {
        struct file_handle handle;
        uint8_t space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } u;
    const unsigned ino32_gen = 1, ino32_gen_parent = 2;       /* include/linux/exportfs.h: u32 inode, u32 generation */
    const unsigned xfs_64 = 0x80;                             /* XFS_FILEID_TYPE_64FLAG: u64 inode, u32 generation */
    const unsigned btrfs = 0x4d, btrfs_last = 0x4f;           /* u64 object, u64 root, u32 generation */
    const unsigned tmpfs_bytes = 12;                          /* shmem: type 1, but u32 generation, u64 inode */
    size_t at;
    int mount;

    memset(&u, 0, sizeof u);
    u.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(directory, path, &u.handle, &mount, path[0] ? 0 : AT_EMPTY_PATH) < 0)
        return -errno;
    unsigned type = (unsigned)u.handle.handle_type;
    if (type == ino32_gen && u.handle.handle_bytes == tmpfs_bytes) {
        *generation = 0;
        return 0;
    }
    if (type == ino32_gen || type == ino32_gen_parent)
        at = 4;
    else if (type == (xfs_64 | ino32_gen) || type == (xfs_64 | ino32_gen_parent))
        at = 8;
    else if (type >= btrfs && type <= btrfs_last)
        at = 16;
    else
        return -EOPNOTSUPP;
    if (u.handle.handle_bytes < at + 4)
        return -EOPNOTSUPP;
    memcpy(generation, u.handle.f_handle + at, 4);
    return 0;
}

int lockstep_renameat2(int directory, const char *path, int target_directory, const char *target, uint32_t flags)
{
    return status_of(renameat2(directory, path, target_directory, target, flags));
}

int lockstep_fallocate(int descriptor, int mode, int64_t offset, int64_t count)
{
    return status_of(fallocate(descriptor, mode, offset, count));
}

int64_t lockstep_list_attributes(const char *path, char *list, size_t count) {
    ssize_t result = listxattr(path, list, count);
    return result < 0 ? -errno : result;
}

int64_t lockstep_get_attribute(const char *path, const char *name, void *value, size_t count) {
    ssize_t result = getxattr(path, name, value, count);
    return result < 0 ? -errno : result;
}

int lockstep_set_attribute(const char *path, const char *name, const void *value, size_t count) {
    return setxattr(path, name, value, count, 0) < 0 ? -errno : 0;
}

int lockstep_remove_attribute(const char *path, const char *name) {
    return removexattr(path, name) < 0 ? -errno : 0;
}

int lockstep_syncfs(int descriptor) { return status_of(syncfs(descriptor)); }

int lockstep_ioctl_pointer(int descriptor, uint64_t request, void *argument)
{
    return status_of(ioctl(descriptor, request, argument));
}

int lockstep_ioctl_integer(int descriptor, uint64_t request, uint64_t argument)
{
    return status_of(ioctl(descriptor, request, argument));
}

int lockstep_open_flushed(int directory, const char *path, int flags, uint32_t mode, bool *direct)
{
    int descriptor = openat(directory, path, O_WRONLY | O_DSYNC | O_DIRECT | O_CLOEXEC | flags, mode);
    *direct = descriptor >= 0;
    if (descriptor < 0 && errno == EINVAL) /* the file system has no direct I/O */
        descriptor = openat(directory, path, O_WRONLY | O_DSYNC | O_CLOEXEC | flags, mode);
    return status_of(descriptor);
}

/* ------------------------------------------------------------------ memory */

int lockstep_memfd_create(const char *name, uint64_t bytes)
{
    int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0)
        return -errno;
    if (ftruncate(descriptor, (off_t)bytes) < 0 || fallocate(descriptor, 0, 0, (off_t)bytes) < 0
        || fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

int lockstep_memfd_is_sealed(int descriptor)
{
    int seals = fcntl(descriptor, F_GET_SEALS);
    return seals >= 0 && (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) == (F_SEAL_SHRINK | F_SEAL_GROW);
}

int lockstep_futex_wait(const void *word, uint32_t expected, int64_t timeout_nanoseconds)
{
    struct timespec timeout = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    return status_of(syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_nanoseconds < 0 ? NULL : &timeout, NULL, 0));
}

int lockstep_futex_wake(const void *word, int count)
{
    return status_of(syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0));
}

/* ------------------------------------------------------------------ processes and sockets */

int lockstep_pidfd_open(int pid) { return status_of(syscall(SYS_pidfd_open, pid, 0)); }

int lockstep_pidfd_send_signal(int pidfd, int signal)
{
    return status_of(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int lockstep_gettid(void) { return (int)syscall(SYS_gettid); }

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(LOCKSTEP_DESCRIPTORS_MAX * sizeof(int))];
};

int64_t lockstep_send_message(int socket, const void *bytes, size_t count, const int *descriptors, int descriptor_count)
{
    union control control;
    struct iovec vector = {(void *)bytes, count};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor_count < 0 || descriptor_count > LOCKSTEP_DESCRIPTORS_MAX)
        return -EINVAL;
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE((size_t)descriptor_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)descriptor_count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, (size_t)descriptor_count * sizeof(int));
    }
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int64_t lockstep_receive_message(int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count, int flags)
{
    union control control;
    struct iovec vector = {bytes, count};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space,
        .msg_controllen = sizeof control.space};
    *descriptor_count = 0;
    ssize_t received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (received < 0)
        return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < came && *descriptor_count < LOCKSTEP_DESCRIPTORS_MAX; index++)
            memcpy(&descriptors[(*descriptor_count)++], CMSG_DATA(header) + index * sizeof(int), sizeof(int));
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (*descriptor_count > 0)
            close(descriptors[--*descriptor_count]);
        return -EMSGSIZE;
    }
    return received;
}

int lockstep_peer_credentials(int socket, int *pid, uint32_t *user, uint32_t *group)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
        return -errno;
    *pid = peer.pid;
    *user = peer.uid;
    *group = peer.gid;
    return 0;
}
