/* writev, pwritev, pwritev2: gathering, many parts, empty parts, parts across payload blocks. */
#include "show.h"
#include <sys/uio.h>
static char bytes[200000];
static void test(void) {
    fill(bytes, sizeof bytes, 3);
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    struct iovec parts[1024];
    parts[0] = (struct iovec){"one ", 4};
    parts[1] = (struct iovec){NULL, 0};
    parts[2] = (struct iovec){"two ", 4};
    SHOW(writev(fd, parts, 3));
    SHOW(writev(fd, parts, 0));
    SHOW(writev(fd, parts + 1, 1));
    for (int i = 0; i < 1024; i++) parts[i] = (struct iovec){bytes + i * 100, (size_t)(i % 190)};
    SHOW(writev(fd, parts, 1024));
    SHOW(writev(fd, parts, 1025));
    SHOW(writev(fd, parts, -1));
    SHOW(pwritev(fd, parts, 100, 50000));
    SHOW(pwritev64(fd, parts, 3, 7));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwritev2(fd, parts, 50, 60000, 0));
    SHOW(pwritev2(fd, parts, 50, -1, 0)); /* at the implicit offset */
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwritev2(fd, parts, 5, 70000, RWF_DSYNC));
    SHOW(pwritev2(fd, parts, 5, 70000, 0x40000000));
    SHOW(pwritev(fd, parts, 5, -1));
    parts[0] = (struct iovec){bytes, sizeof bytes};
    parts[1] = (struct iovec){bytes + 5, sizeof bytes - 5};
    SHOW(pwritev(fd, parts, 2, 1));
    parts[1] = (struct iovec){(char *)8, 10}; /* the kernel writes the good part */
    parts[0] = (struct iovec){"good part", 9};
    long result = pwritev(fd, parts, 2, 0);
    printf("a bad second part: %s\n", result == 9 || (result == -1 && errno == EFAULT) ? "9 or EFAULT" : "something else");
    pwrite(fd, "good part", 9, 0);
    look("a");
}
