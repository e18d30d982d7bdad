/* Bytes that can't be read: EFAULT, or the count up to the first unreadable page, for every call that takes memory; also
   when the page was readable a moment ago. */
#include "show.h"
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#define PAGE 4096
static char *pages; /* 300 readable, 300 of no access, 300 readable, 300 not mapped, one readable */
static void test(void) {
    pages = mmap(NULL, 1201 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(pages, 1201 * PAGE, 9);
    mprotect(pages + 300 * PAGE, 300 * PAGE, PROT_NONE);
    munmap(pages + 900 * PAGE, 300 * PAGE);
    char *end = pages + 300 * PAGE, *second_end = pages + 900 * PAGE, *none = pages + 310 * PAGE, *hole = pages + 910 * PAGE;
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644)), append = OPEN(open("b", O_CREAT | O_APPEND | O_WRONLY, 0644));
    int durable = OPEN(open("c", O_CREAT | O_DSYNC | O_WRONLY, 0644)), read_only = OPEN(open("a", O_RDONLY));
    SHOW(write(fd, none, 10));
    SHOW(write(fd, hole, 10));
    SHOW(write(fd, (char *)0x10000, 10));
    SHOW(write(fd, (char *)0x10000, 600000));
    SHOW(write(fd, (char *)(1ul << 46), 10));
    SHOW(write(fd, (char *)(1ul << 47), 10));
    SHOW(write(fd, (char *)-1ul, 10));
    SHOW(write(fd, (char *)-4096ul, 4096));
    SHOW(write(read_only, hole, 10));
    SHOW(pwrite(fd, none, 100, 0));
    SHOW(pwrite(fd, hole, 100000, 0));
    SHOW(write(append, hole, 10));
    SHOW(write(durable, none, 10));
    look("a"); look("b"); look("c");
    SHOW(write(fd, end - 10, 20));
    SHOW(write(fd, second_end - 5000, 10000));
    SHOW(write(fd, end - 8192, 8193));
    SHOW(pwrite(fd, end - 1, 2, 100000));
    SHOW(write(append, end - 3000, 3001));
    SHOW(write(durable, second_end - 1, 2));
    SHOW(write(fd, pages, 2 << 20)); /* ends inside the third piece of a call that is continued */
    SHOW(pwrite(fd, pages + 172 * PAGE, 1 << 20, 3 << 20)); /* and exactly at the end of the first */
    SHOW(lseek(fd, 0, SEEK_CUR));
    look("a"); look("b"); look("c");
    struct iovec good_bad[3] = {{pages, 10}, {hole, 10}, {pages, 10}}, bad_good[2] = {{none, 10}, {pages, 10}};
    struct iovec empty_bad[2] = {{hole, 0}, {pages, 10}}, beyond[2] = {{pages, 10}, {(char *)(1ul << 47), 10}};
    SHOW(writev(fd, good_bad, 3));
    SHOW(writev(fd, bad_good, 2));
    SHOW(writev(fd, empty_bad, 2));
    SHOW(writev(fd, beyond, 2));
    SHOW(writev(fd, (struct iovec *)hole, 2));
    SHOW(writev(read_only, (struct iovec *)hole, 2));
    memcpy(end - 16, &good_bad[0], 16);
    SHOW(pwritev(fd, (struct iovec *)(end - 16), 2, 0));
    SHOW(pwritev2(fd, good_bad, 3, -1, RWF_DSYNC));
    SHOW(pwritev(fd, (struct iovec *)8, 1, 0));
    look("a");
    /* Known as readable, and then no more. */
    char *later = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(write(fd, later, 4 * PAGE));
    SHOW(munmap(later + PAGE, PAGE));
    SHOW(write(fd, later, 4 * PAGE));
    SHOW(mprotect(later, PAGE, PROT_NONE));
    SHOW(write(fd, later, PAGE));
    SHOW(write(fd, later + 2 * PAGE, PAGE));
    SHOW(mmap(later + 2 * PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == later + 2 * PAGE);
    SHOW(write(fd, later + 2 * PAGE, PAGE));
    SHOW(write(fd, later + 3 * PAGE, 100));
    SHOW(mremap(later + 3 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
    SHOW(syscall(SYS_mprotect, pages, PAGE, PROT_NONE));
    SHOW(write(fd, pages, 100));
    SHOW(mprotect(pages, PAGE, PROT_READ));
    SHOW(write(fd, pages, 100));
    SHOW(pkey_mprotect(pages, PAGE, PROT_NONE, -1));
    SHOW(write(fd, pages, 100));
    SHOW(mprotect(pages, PAGE, PROT_READ));
    SHOW(write(fd, pages, 100));
    SHOW(syscall(SYS_pkey_mprotect, pages, PAGE, PROT_NONE, -1));
    SHOW(write(fd, pages, 100));
    SHOW(syscall(SYS_mmap, pages, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)pages);
    SHOW(write(fd, pages, 100));
    SHOW(syscall(SYS_mmap, pages, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)pages);
    SHOW(write(fd, pages, 100));
    int segment = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
    char *shared = shmat(segment, NULL, 0);
    shmctl(segment, IPC_RMID, NULL);
    SHOW(write(fd, shared, 100));
    SHOW(syscall(SYS_shmdt, shared));
    SHOW(write(fd, shared, 100));
    look("a");
    /* Mapped beyond the end of its file: the kernel says EFAULT where a load would be SIGBUS. */
    int small = OPEN(open("small", O_CREAT | O_RDWR, 0644));
    SHOW(write(small, "ten bytes.", 10));
    char *mapped = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, small, 0);
    SHOW(write(fd, mapped, 20));
    SHOW(write(fd, mapped + PAGE, 20));
    SHOW(write(fd, mapped + PAGE - 4, 20));
    look("a");
    /* Short for want of readable bytes, again and again: the space of what was not copied comes back. */
    int turn = 0;
    while (turn < 300 && pwrite(fd, second_end - 100, 500000, 0) == 100) turn++;
    SHOW(turn);
    look("a");
    /* Names. */
    OPEN(open(hole, O_CREAT | O_WRONLY, 0644));
    OPEN(open((char *)0x10000, O_CREAT | O_WRONLY, 0644));
    OPEN(open(NULL, O_CREAT | O_WRONLY, 0644));
    memset(second_end - 300, 'n', 300);
    OPEN(open(second_end - 300, O_CREAT | O_WRONLY, 0644)); /* does not end before the hole */
    strcpy(second_end - 4, "new");
    OPEN(open(second_end - 4, O_CREAT | O_WRONLY, 0644));
    SHOW(unlink(hole));
    SHOW(mkdir(none, 0755));
    SHOW(rename("new", hole));
    SHOW(rename(none, "new"));
    SHOW(truncate(hole, 0));
    SHOW(syscall(SYS_openat2, AT_FDCWD, "x", hole, sizeof(struct open_how)));
    SHOW(chmod(none, 0600));
    SHOW(symlink("x", hole));
    SHOW(symlink(hole, "x"));
}
