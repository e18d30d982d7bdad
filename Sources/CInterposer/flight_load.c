/*
 * flight_load.c: the payload is captured here, at submission; the kernel writes the copy.
 *
 *   write of the tree --> intent and copy --> published (SUBMIT) --> durable: its barrier, published
 *   fsync of the tree --> barrier, published
 *
 * Whoever has no space waits only while nothing of his is published and not submitted.
 */
#define _GNU_SOURCE
#include "flights.h"
#include <fcntl.h>

void batch_signals_restore(struct batch_signals *signals) {
    if (signals->held)
        capture_signals_restore(&signals->first);
    signals->held = false;
}

static long begin(struct batch_signals *signals, struct capture *capture, enum lockstep_kind kind, size_t bytes, bool in_blocks) {
    long answer = signals->held ? capture_begin_now(capture, kind, bytes, in_blocks)
                                : capture_begin(capture, kind, bytes, in_blocks);
    if (answer == 0 && !signals->held)
        signals->first = *capture;
    signals->held = signals->held || answer == 0;
    return answer;
}

/* Intent and copy; a durable write's barrier too. Nothing is published yet. ADDED, or what else becomes of it. */
static enum fate load(struct batch_signals *signals, struct flight *flight, const struct writing *w, struct source source,
                      size_t *bytes, long *error) {
    bool direct = (w->flags & O_DIRECT) != 0;
    *error = begin(signals, &flight->write, LOCKSTEP_KIND_SUBMIT, *bytes, direct);
    if (*error)
        return *error == -EAGAIN ? FULL : FAILED;
    size_t copied = source_copy(&source, flight->write.payload, *bytes);
    if (copied < *bytes && (copied == 0 || direct)) {
        capture_drop(&flight->write);
        return ALONE; /* EFAULT, but in a completion */
    }
    if (copied < *bytes)
        capture_shorten(&flight->write, *bytes = copied);
    writing_describe(w, flight->write.intent, (uint64_t)w->offset, *bytes);
    if (w->durable && capture_begin_now(&flight->barrier, LOCKSTEP_KIND_BARRIER, 0, false) != 0) {
        capture_drop(&flight->write);
        return ALONE; /* its barrier is published when there is space */
    }
    return ADDED;
}

enum fate flight_load_write(struct batch_signals *signals, struct flight *flight, const struct writing *w, struct source source,
                            size_t *bytes, long *error) {
    enum fate fate = load(signals, flight, w, source, bytes, error);
    if (fate != ADDED)
        return fate;
    *error = capture_publish_held(&flight->write);
    if (*error && w->durable)
        capture_drop(&flight->barrier);
    else if (w->durable && *error == 0) {
        *error = barrier_publish_begun(&flight->barrier, &w->target.object, w->descriptor);
        if (*error) /* without its barrier it can't be made durable on both sides: it is not made at all */
            capture_end_asynchronous(&flight->write, *error);
    }
    if (*error)
        return FAILED;
    capture_actual_offset(&flight->write, (uint64_t)w->offset);
    flight->writes = true;
    return ADDED;
}

enum fate flight_begin_fsync(struct batch_signals *signals, struct flight *flight, const struct target *target, int descriptor,
                             long *error) {
    *error = begin(signals, &flight->barrier, LOCKSTEP_KIND_BARRIER, 0, false);
    if (*error)
        return *error == -EAGAIN ? FULL : FAILED;
    flight->barrier.intent->object = target->object;
    flight->barrier.intent->descriptor = descriptor;
    return ADDED;
}

enum fate flight_publish_fsync(struct flight *flight, long *error) {
    *error = barrier_publish_begun(&flight->barrier, NULL, flight->barrier.intent->descriptor);
    return *error == 0 ? ADDED : FAILED;
}
