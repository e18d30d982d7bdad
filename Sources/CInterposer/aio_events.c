/*
 * aio_events.c: io_getevents and io_pgetevents.
 *
 *   the kernel's events --> the intents of their writes are ended --> durable ones: their answers are waited for
 *                                                                  --> the application's own address and data put back
 *
 * An event of a durable write or of an fsync is given to the application when the peer has acknowledged it. The descriptor of
 * IOCB_FLAG_RESFD is signalled by the kernel, when the local write is durable: then io_getevents waits for the rest, beyond its
 * own time-out if need be.
 */
#define _GNU_SOURCE
#include "aio.h"

static void hand_over(struct flight *flight, struct io_event *event) {
    event->obj = flight->application;
    event->data = flight->data;
    event->res = flight_conclude(flight, event->res);
}

/* Ends what came, all of it before the first is waited for: what is durable covers what is done. */
static void hand_over_all(struct io_event *events, long taken) {
    for (long index = 0; index < taken; index++) {
        struct flight *flight = flight_of(events[index].obj);
        if (flight)
            flight_end(flight, events[index].res);
    }
    for (long index = 0; index < taken; index++) {
        struct flight *flight = flight_of(events[index].obj);
        if (flight)
            hand_over(flight, &events[index]);
    }
}

/* What is left of a time-out that began at `start`. */
static struct timespec left_of(const struct timespec *timeout, uint64_t start) {
    int64_t left = timeout->tv_sec * 1000000000 + timeout->tv_nsec - (int64_t)(nanoseconds_now() - start);
    return left > 0 ? (struct timespec){left / 1000000000, left % 1000000000} : (struct timespec){0, 0};
}

/* The kernel takes events while it waits for `least` of them, and says so when it has them all; the space that they hold may be
   what the others need to be submitted at all. So it is asked for one, and again. */
long captured_io_getevents(unsigned long address, long least, long count, void *where, void *timeout, void *signals,
                           long number) {
    struct aio_context *context = aio_context_of(address);
    struct io_event *events = where;
    struct timespec whole = {0}, left;
    bool is_timed = timeout && payload_copy(&whole, timeout, sizeof whole) == sizeof whole;
    /* Others are the kernel's to refuse, or to read in its own way. */
    bool in_steps = context && least > 1 && least <= count
        && (!timeout || (is_timed && whole.tv_nsec >= 0 && whole.tv_nsec < 1000000000 && whole.tv_sec >= 0 && whole.tv_sec < 1l << 32));
    uint64_t start = nanoseconds_now();
    if (context)
        atomic_fetch_add(&context->reaping, 1);
    long taken = kernel(number, address, in_steps ? 1 : least, count, events, timeout, signals);
    hand_over_all(events, taken);
    while (in_steps && taken > 0 && taken < least) {
        if (is_timed)
            left = left_of(&whole, start);
        long more = kernel(number, address, 1, count - taken, events + taken, is_timed ? &left : NULL, signals);
        if (more <= 0)
            break;
        hand_over_all(events + taken, more);
        taken += more;
    }
    if (context)
        atomic_fetch_sub(&context->reaping, 1);
    return taken;
}
