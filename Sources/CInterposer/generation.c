/*
 * generation.c: what tells two files apart that had the same inode number one after the other.
 *
 *   descriptor of a file or directory   FS_IOC_GETVERSION (0.2 us)
 *   O_PATH descriptor, symbolic link    name_to_handle_at (0.6 us): the same number, inside the handle
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

struct handle {
    uint32_t bytes;
    int32_t type;
    uint32_t words[32];
};

/* The generation inside a file handle: ext4 {inode, generation}; xfs {inode 64, generation}; btrfs {object 64,
   subvolume 64, generation 64}. tmpfs never reuses an inode number and counts as 0, as FS_IOC_GETVERSION says. */
long generation_of_handle(int descriptor, uint32_t *generation) {
    struct handle handle;
    int mount;
    handle.bytes = sizeof handle.words;
    long answer = kernel(SYS_name_to_handle_at, descriptor, "", &handle, &mount, AT_EMPTY_PATH);
    if (answer < 0)
        return answer;
    *generation = 0;
    if ((handle.type == 1 || handle.type == 2) && handle.bytes != 12)
        *generation = handle.words[1];
    else if (handle.type == 0x81 || handle.type == 0x82)
        *generation = handle.words[2];
    else if (handle.type == 0x4d || handle.type == 0x4e || handle.type == 0x4f)
        *generation = handle.words[4];
    else if (!(handle.type == 1 && handle.bytes == 12))
        return -EOPNOTSUPP;
    return 0;
}

long generation_of_descriptor(int descriptor, uint32_t mode, uint32_t *generation) {
    if (S_ISREG(mode) || S_ISDIR(mode)) {
        long version = 0;
        long answer = kernel(SYS_ioctl, descriptor, FS_IOC_GETVERSION, &version);
        *generation = (uint32_t)version;
        if (answer == 0)
            return 0;
        if (answer == -ENOTTY) {
            *generation = 0;
            return 0;
        }
    }
    return generation_of_handle(descriptor, generation);
}
