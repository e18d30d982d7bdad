/* linux_aio.h: Linux AIO by its numbers, as libaio makes its calls. */
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <time.h>

__attribute__((unused)) static long setup(unsigned events, aio_context_t *context) { return syscall(SYS_io_setup, events, context); }
__attribute__((unused)) static long destroy(aio_context_t context) { return syscall(SYS_io_destroy, context); }
__attribute__((unused)) static long submit(aio_context_t context, long count, struct iocb **blocks) {
    return syscall(SYS_io_submit, context, count, blocks);
}
/* All of them, however long it takes; the count. */
__attribute__((unused)) static long reap(aio_context_t context, long count, struct io_event *events) {
    long got = 0;
    while (got < count) {
        long more = syscall(SYS_io_getevents, context, count - got, count - got, events + got, NULL);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) return more ? more : got;
        got += more;
    }
    return got;
}
__attribute__((unused)) static struct iocb block(int operation, int fd, const void *bytes, size_t count, long offset) {
    return (struct iocb){.aio_lio_opcode = (unsigned short)operation, .aio_fildes = (unsigned)fd, .aio_buf = (uintptr_t)bytes,
                         .aio_nbytes = count, .aio_offset = offset};
}
/* Results in the order of the blocks, whatever the order of the events; they must name block and data. */
__attribute__((unused)) static void results(const char *what, aio_context_t context, struct iocb *blocks, long count) {
    struct io_event events[count + 1];
    long got = reap(context, count, events);
    printf("%s: %ld events\n", what, got);
    for (long i = 0; i < count; i++)
        for (long e = 0; e < got; e++)
            if (events[e].obj == (uintptr_t)&blocks[i])
                printf("  %ld: data %llx %s%s\n", i, (unsigned long long)events[e].data,
                       events[e].res < 0 ? "-" : "", events[e].res < 0 ? strerrorname_np((int)-events[e].res) : ({
                           static char text[24];
                           sprintf(text, "%lld", (long long)events[e].res);
                           text;
                       }));
}
