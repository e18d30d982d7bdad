/* O_CREAT, O_EXCL, O_TRUNC in their combinations, creat, modes and umask, and how opening fails. */
#include "show.h"
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_WRONLY, 0644));
    SHOW(write(fd, "first", 5));
    SHOW(close(fd));
    OPEN(open("a", O_CREAT | O_EXCL | O_WRONLY, 0644));
    fd = OPEN(open("a", O_CREAT | O_WRONLY, 0600)); /* exists: its mode stays */
    SHOW(write(fd, "S", 1));
    look("a");
    fd = OPEN(open("a", O_WRONLY | O_TRUNC));
    look("a");
    SHOW(write(fd, "xy", 2));
    fd = OPEN(open("a", O_CREAT | O_TRUNC | O_RDWR, 0600));
    look("a");
    SHOW(write(fd, "again", 5));
    OPEN(open("a", O_RDONLY | O_TRUNC));
    look("a");
    fd = OPEN(open("b", O_CREAT | O_EXCL | O_RDWR, 0666));
    look("b");
    umask(0);
    OPEN(open("c", O_CREAT | O_WRONLY, 0666));
    look("c");
    umask(077);
    OPEN(open("d", O_CREAT | O_WRONLY, 07777));
    look("d");
    umask(022);
    fd = OPEN(open("e", O_CREAT | O_RDONLY, 0644));
    SHOW(write(fd, "x", 1));
    look("e");
    fd = OPEN(creat("f", 0640));
    SHOW(write(fd, "creat", 5));
    fd = OPEN(creat("f", 0644));
    look("f");
    fd = OPEN(open64("g", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    SHOW(fcntl(fd, F_GETFD));
    fd = OPEN(open("h", O_CREAT | O_WRONLY, 0444)); /* writable through this descriptor only */
    SHOW(write(fd, "read-only", 9));
    look("h");
    OPEN(open("missing", O_WRONLY));
    OPEN(open("missing", O_WRONLY | O_TRUNC));
    OPEN(open("missing/x", O_CREAT | O_WRONLY, 0644));
    OPEN(open("a/x", O_CREAT | O_WRONLY, 0644));
    OPEN(open("a/", O_CREAT | O_WRONLY, 0644));
    OPEN(open("new/", O_CREAT | O_WRONLY, 0644));
    OPEN(open("", O_CREAT | O_WRONLY, 0644));
    OPEN(open(".", O_CREAT | O_WRONLY, 0644));
    OPEN(open(".", O_WRONLY));
    OPEN(open(".", O_RDONLY | O_TRUNC));
    OPEN(open(".", O_RDONLY | O_DIRECTORY));
    OPEN(open("a", O_RDONLY | O_DIRECTORY));
    OPEN(open((char *)8, O_CREAT | O_WRONLY, 0644));
    char name[300];
    memset(name, 'n', 255);
    name[255] = 0;
    OPEN(open(name, O_CREAT | O_WRONLY, 0644));
    name[255] = 'n';
    name[256] = 0;
    OPEN(open(name, O_CREAT | O_WRONLY, 0644));
    OPEN(open("blank and \xff \n", O_CREAT | O_WRONLY, 0644));
    OPEN(open("dir", O_CREAT | O_WRONLY | O_DIRECTORY, 0755));
    char *device = "/dev/null";
    fd = OPEN(open(device, O_CREAT | O_TRUNC | O_WRONLY, 0644));
    SHOW(write(fd, "x", 1));
}
