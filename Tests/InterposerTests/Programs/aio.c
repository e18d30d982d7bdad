/* Asynchronous input and output is refused for now, so that programs fall back to plain calls. */
#include <aio.h>
#include "show.h"
#include <linux/aio_abi.h>
#include <sys/syscall.h>
static void test(void) {
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    aio_context_t context = 0;
    SHOW(syscall(SYS_io_setup, 8, &context));
    SHOW(syscall(SYS_io_uring_setup, 8, NULL));
    struct aiocb block = {.aio_fildes = fd, .aio_buf = (void *)"text", .aio_nbytes = 4};
    SHOW(aio_write(&block));
    struct aiocb *list[] = {&block};
    block.aio_lio_opcode = LIO_WRITE;
    SHOW(lio_listio(LIO_WAIT, list, 1, NULL));
    SHOW(write(fd, "plainly", 7));
    look("a");
}
