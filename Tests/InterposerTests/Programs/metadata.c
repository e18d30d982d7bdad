/* chmod, chown and times in all their forms; set-user-id bits that chown takes away. */
#include "show.h"
#include <sys/time.h>
#include <utime.h>
static void owners(const char *path) {
    struct stat status;
    if (lstat(path, &status)) printf("%s: %s\n", path, strerrorname_np(errno));
    else printf("%s: mode %o owner %u:%u mtime %ld.%09ld\n", path, status.st_mode, status.st_uid == geteuid() ? 0 : status.st_uid,
                status.st_gid == getegid() ? 0 : status.st_gid, status.st_mtim.tv_sec < 1500000000 ? (long)status.st_mtim.tv_sec : -1,
                status.st_mtim.tv_sec < 1500000000 ? status.st_mtim.tv_nsec : 0);
}
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(mkdir("d", 0755));
    SHOW(symlink("a", "link"));
    int directory = OPEN(open("d", O_RDONLY | O_DIRECTORY));
    SHOW(close(openat(directory, "x", O_CREAT | O_WRONLY, 0644)));
    SHOW(chmod("a", 0600)); owners("a");
    SHOW(chmod("link", 0640)); owners("a");
    SHOW(fchmod(fd, 04755)); owners("a");
    SHOW(fchmodat(AT_FDCWD, "a", 0444, 0)); owners("a");
    SHOW(fchmodat(directory, "x", 0604, 0)); owners("d/x");
    SHOW(fchmod(directory, 0711)); owners("d");
    SHOW(fchmodat(AT_FDCWD, "link", 0600, AT_SYMLINK_NOFOLLOW)); owners("link");
    SHOW(chmod("missing", 0600));
    SHOW(chmod((char *)8, 0600));
    SHOW(fchmod(-1, 0600));
    SHOW(fchmod(OPEN(open("a", O_PATH)), 0600));
    if (geteuid() == 0) {
        SHOW(chown("a", 12, 34)); owners("a");
        SHOW(chmod("a", 06755)); owners("a");
        SHOW(chown("link", -1, 56)); owners("a");
        SHOW(lchown("link", 78, 90)); owners("link");
        SHOW(fchown(fd, 11, -1)); owners("a");
        SHOW(fchown(fd, -1, -1)); owners("a");
        SHOW(fchownat(directory, "x", 21, 22, 0)); owners("d/x");
        SHOW(fchownat(directory, "", 23, 24, AT_EMPTY_PATH)); owners("d");
        SHOW(fchownat(AT_FDCWD, "link", 31, 32, AT_SYMLINK_NOFOLLOW)); owners("link");
        SHOW(chown("a", 0, 0)); owners("a");
    }
    SHOW(chown("missing", -1, -1));
    SHOW(fchown(-1, -1, -1));
    SHOW(lchown("missing", -1, -1));
    struct timespec times[2] = {{1000000001, 5}, {1000000002, 123456789}};
    SHOW(utimensat(AT_FDCWD, "a", times, 0)); owners("a");
    times[1].tv_sec = 1000000003;
    SHOW(futimens(fd, times)); owners("a");
    times[1].tv_sec = 1000000004;
    SHOW(utimensat(directory, "x", times, 0)); owners("d/x");
    SHOW(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW)); owners("link");
    struct utimbuf seconds = {1000000005, 1000000006};
    SHOW(utime("a", &seconds)); owners("a");
    struct timeval micro[2] = {{1000000007, 8}, {1000000009, 10}};
    SHOW(utimes("a", micro)); owners("a");
    SHOW(futimes(fd, micro)); owners("a");
    SHOW(lutimes("link", micro)); owners("link");
    micro[1].tv_sec = 1000000011;
    SHOW(futimesat(directory, "x", micro)); owners("d/x");
    times[0].tv_nsec = times[1].tv_nsec = UTIME_OMIT;
    SHOW(utimensat(AT_FDCWD, "a", times, 0)); owners("a");
    times[1].tv_nsec = 1000000000;
    SHOW(utimensat(AT_FDCWD, "a", times, 0));
    SHOW(utimensat(AT_FDCWD, "missing", NULL, 0));
    SHOW(futimens(-1, NULL));
    SHOW(utimes("d", NULL)); owners("d");
    SHOW(write(fd, "written after its time was set", 30)); owners("a");
    SHOW(futimens(fd, (struct timespec[2]){{1, 0}, {2, 0}})); owners("a");
}
