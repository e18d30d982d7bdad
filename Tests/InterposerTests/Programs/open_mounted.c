/* A file of the tree that is mounted on a name of another file system: creat() and its like truncate it by that name too.
   Without the privilege to mount it is an ordinary file outside. */
#include "show.h"
#include <sched.h>
#include <sys/mount.h>

static void test(void) {
    char place[PATH_MAX], name[PATH_MAX + 8], own[PATH_MAX];
    puts("standard output is looked at while its mount is this process's");
    fflush(stdout);
    bool mounts = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    snprintf(place, sizeof place, "%s/other", outside);
    snprintf(name, sizeof name, "%s/name", place);
    SHOW(mkdir(place, 0755));
    if (mounts) SHOW(mount("other", place, "tmpfs", 0, NULL));
    for (int way = 0; way < 4; way++) {
        char file_name[] = {'f', (char)('0' + way), 0};
        int file = OPEN(open(file_name, O_CREAT | O_RDWR, 0644));
        SHOW(write(file, "0123456789", 10));
        close(file);
        close(open(name, O_CREAT | O_WRONLY, 0644));
        if (mounts && realpath(file_name, own)) SHOW(mount(own, name, NULL, MS_BIND, NULL));
        int opened = way == 0 ? open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644)
            : way == 1 ? creat(name, 0644)
            : way == 2 ? open(name, O_CREAT | O_TRUNC | O_NOFOLLOW | O_RDWR, 0644)
            : open(name, O_TRUNC | O_WRONLY);
        show_descriptor("open", opened);
        close(opened);
        look(file_name);
        if (mounts) SHOW(umount(name));
    }
}
