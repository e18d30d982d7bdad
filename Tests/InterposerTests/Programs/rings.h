/* rings.h: io_uring by liburing's functions. */
#include <liburing.h>

__attribute__((unused)) static struct io_uring_sqe *named(struct io_uring_sqe *entry, uint64_t name, unsigned flags) {
    io_uring_sqe_set_data64(entry, name);
    entry->flags |= (uint8_t)flags;
    return entry;
}

__attribute__((unused)) static void show_result(unsigned long long name, int result) {
    if (result < 0) printf("  %llu: -%s\n", name, strerrorname_np(-result));
    else printf("  %llu: %d\n", name, result);
}

/* So many completions, however long it takes, by their names 0 to 63. */
__attribute__((unused)) static void results(const char *what, struct io_uring *ring, unsigned count) {
    int found[64] = {0}, result[64];
    struct io_uring_cqe *completion;
    printf("%s:\n", what);
    for (unsigned got = 0; got < count;) {
        int answer = io_uring_wait_cqe(ring, &completion);
        if (answer == -EINTR) continue;
        if (answer) {
            printf("  io_uring_wait_cqe: %s\n", strerrorname_np(-answer));
            break;
        }
        if (completion->user_data >= 64 || found[completion->user_data]++) printf("  an unexpected name %llx\n", completion->user_data);
        else result[completion->user_data] = completion->res;
        io_uring_cqe_seen(ring, completion);
        got++;
    }
    for (unsigned name = 0; name < 64; name++)
        if (found[name]) show_result(name, result[name]);
    if (io_uring_peek_cqe(ring, &completion) == 0) printf("  one too many: %llu\n", completion->user_data);
}

/* liburing's functions answer -errno. */
__attribute__((unused)) static int show_answer(const char *call, int answer) {
    if (answer < 0) printf("%s = -%s\n", call, strerrorname_np(-answer));
    else printf("%s = %d\n", call, answer);
    return answer;
}
#define ANSWER(call) show_answer(#call, (call))
