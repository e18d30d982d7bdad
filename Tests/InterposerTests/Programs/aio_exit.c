/* varies: what is looked at again. */
/* Processes that end with Linux AIO in flight: by exit, by exec, by SIGKILL. Nobody ever asks for the events. */
#include "show.h"
#include "linux_aio.h"
#include <signal.h>
#include <sys/mman.h>

enum { COUNT = 40, SIZE = 65536 };

static void leave(const char *path, int how) {
    pid_t child = fork();
    if (child == 0) {
        static struct iocb blocks[COUNT];
        struct iocb *list[COUNT];
        aio_context_t context = 0;
        int fd = open(path, O_CREAT | O_RDWR | O_DIRECT, 0644);
        if (fd < 0) fd = open(path, O_CREAT | O_RDWR, 0644);
        char *bytes = mmap(NULL, COUNT * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        fill(bytes, COUNT * SIZE, (unsigned)how);
        if (setup(64, &context)) _exit(1);
        for (int i = 0; i < COUNT; i++) {
            blocks[i] = block(IOCB_CMD_PWRITE, fd, bytes + i * SIZE, SIZE, (long)i * SIZE);
            list[i] = &blocks[i];
        }
        if (submit(context, COUNT, list) != COUNT) _exit(2);
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
