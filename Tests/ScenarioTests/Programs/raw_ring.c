/* raw_ring FILE: a ring of liburing's, on whose descriptor the program itself calls the kernel by an instruction of its own; then the
   ring is used as it should be. Prints the answers. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static long raw(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return answer;
}

int main(int count, char **values) {
    struct io_uring ring;
    if (count < 2 || io_uring_queue_init(8, &ring, 0)) return 1;
    int file = open(values[1], O_CREAT | O_RDWR, 0644);
    printf("enter %s\n", strerrorname_np((int)-raw(SYS_io_uring_enter, ring.ring_fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0)));
    printf("register %s\n", strerrorname_np((int)-raw(SYS_io_uring_register, ring.ring_fd, IORING_UNREGISTER_FILES, 0, 0, 0, 0)));
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.ring_fd, IORING_OFF_SQES);
    printf("mmap %s\n", memory == MAP_FAILED ? strerrorname_np(errno) : "done");
    io_uring_prep_write(io_uring_get_sqe(&ring), file, "by liburing", 11, 0);
    struct io_uring_cqe *completion;
    io_uring_submit(&ring);
    if (io_uring_wait_cqe(&ring, &completion)) return 1;
    printf("written %d\n", completion->res);
    return 0;
}
