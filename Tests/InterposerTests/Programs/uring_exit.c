/* varies: what is looked at again. */
/* Processes that end with io_uring in flight: by exit, by exec, by SIGKILL. Nobody ever asks for the completions. */
#include "show.h"
#include "rings.h"
#include <signal.h>
#include <sys/mman.h>

enum { COUNT = 40, SIZE = 65536 };

static void leave(const char *path, int how) {
    pid_t child = fork();
    if (child == 0) {
        struct io_uring ring;
        int fd = open(path, O_CREAT | O_RDWR | O_DIRECT, 0644);
        if (fd < 0) fd = open(path, O_CREAT | O_RDWR, 0644);
        char *bytes = mmap(NULL, COUNT * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        fill(bytes, COUNT * SIZE, (unsigned)how);
        if (io_uring_queue_init(64, &ring, 0)) _exit(1);
        for (int i = 0; i < COUNT; i++)
            io_uring_prep_write(io_uring_get_sqe(&ring), fd, bytes + i * SIZE, SIZE, (uint64_t)i * SIZE);
        if (io_uring_submit(&ring) != COUNT) _exit(2);
        if (how == 1) execl("/bin/true", "true", NULL);
        if (how == 2) raise(SIGKILL);
        _exit(0);
    }
    ended(path, child);
}

static void test(void) {
    leave("exit", 0);
    leave("exec", 1);
    leave("kill", 2);
}
