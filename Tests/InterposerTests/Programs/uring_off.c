/* io_uring without the option: liburing's own calls, and raw ones, find that it can't be set up. */
#include "show.h"
#include "rings.h"
#include <sys/syscall.h>
static void test(void) {
    struct io_uring ring;
    struct io_uring_params p = {0};
    ANSWER(io_uring_queue_init(8, &ring, 0));
    ANSWER(io_uring_queue_init_params(8, &ring, &p));
    ANSWER(io_uring_setup(8, &p));
    SHOW(syscall(SYS_io_uring_setup, 8, &p));
    SHOW(syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0));
    SHOW(syscall(SYS_io_uring_register, 0, 0, NULL, 0));
    printf("probe: %d\n", io_uring_get_probe() != NULL);
}
