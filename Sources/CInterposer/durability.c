/*
 * durability.c: a durability point returns when both servers have it.
 *
 *   barrier_publish ----------------------------------> daemon: ships, peer flushes, acknowledges
 *   local flush, meanwhile                                        |
 *   barrier_wait: answer word of the barrier's place  <-----------'
 *
 * The cost is the maximum of the two flushes. Success needs both. The wait is bounded, and what happens at the bound
 * is configured: wait on, EIO, or the end of the process; never success. Signals wait with it, a few milliseconds long: for
 * one that waits longer the barrier is given up, and published anew when its handler has returned.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/stat.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

long barrier_publish_begun(struct capture *capture, const struct lockstep_object *object, int descriptor) {
    if (object)
        capture->intent->object = *object;
    capture->intent->descriptor = descriptor;
    /* The flush starts after this look: it covers everything that is done by now. */
    capture->intent->local_flushed = atomic_load(&ring->reserved);
    long answer = capture_publish(capture);
    FAULT_POINT("barrier-published");
    return answer;
}

long barrier_publish(struct capture *capture, const struct lockstep_object *object, int descriptor) {
    long answer = capture_begin(capture, LOCKSTEP_KIND_BARRIER, 0, false);
    return answer ? answer : barrier_publish_begun(capture, object, descriptor);
}

long barrier_publish_now(struct capture *capture, const struct lockstep_object *object, int descriptor) {
    long answer = capture_begin_now(capture, LOCKSTEP_KIND_BARRIER, 0, false);
    return answer ? answer : barrier_publish_begun(capture, object, descriptor);
}

/* The answer so far; LOCKSTEP_ANSWER_NONE: none yet. */
static uint32_t answer_of(const struct capture *capture, uint32_t word) {
    uint32_t lap = (uint32_t)(capture->sequence / control->ring_slots) & 0x3fffffffu;
    uint32_t ahead = (LOCKSTEP_ANSWER_LAP(word) - lap) & 0x3fffffffu;
    if (ahead == 0)
        return LOCKSTEP_ANSWER_STATUS(word);
    /* The place serves a later lap: the answer was kept in the intent. */
    return ahead < 0x20000000u ? atomic_load(&capture->intent->answer) : LOCKSTEP_ANSWER_NONE;
}

static _Atomic(uint32_t) *answer_word(const struct capture *capture) {
    return (_Atomic(uint32_t) *)((uintptr_t)control + control->answers_offset) + capture->sequence % control->ring_slots;
}

uint32_t barrier_answer(const struct capture *capture) { return answer_of(capture, atomic_load(answer_word(capture))); }

static long at_bound(void) {
    if (control->on_bound == LOCKSTEP_ON_BOUND_KILL) {
        line(LINE_WAIT, "durability point", -1, NULL, "no answer within the bound: this process ends, as configured");
        kernel(SYS_kill, kernel(SYS_getpid), SIGKILL);
    }
    if (control->on_bound == LOCKSTEP_ON_BOUND_WAIT) {
        line(LINE_WAIT, "durability point", -1, NULL, "no answer within the bound: waiting on, as configured");
        return 0;
    }
    line(LINE_WAIT, "durability point", -1, NULL, "no answer within the bound: EIO");
    return -ETIMEDOUT;
}

/* 0, -EIO, -ETIMEDOUT, or -EINTR: a signal waits. `start`: when the waiting began, 0 before. */
static long answer_wait(struct capture *capture, uint64_t *start) {
    _Atomic(uint32_t) *word = answer_word(capture);
    for (;;) {
        uint32_t seen = atomic_load(word), status = answer_of(capture, seen);
        if (status == LOCKSTEP_ANSWER_NONE) {
            /* Said before the second look, as the daemon answers before it looks whether somebody sleeps. */
            atomic_store(&capture->intent->waiting, 1);
            seen = atomic_load(word);
            status = answer_of(capture, seen);
        }
        if (status != LOCKSTEP_ANSWER_NONE)
            return status == LOCKSTEP_ANSWER_OK ? 0 : -EIO;
        if (atomic_load(&control->switches) & LOCKSTEP_SWITCH_CLOSED)
            return -EIO;
        uint64_t now = milliseconds_now();
        if (*start == 0)
            *start = now;
        else if (now - *start >= control->wait_bound_milliseconds) {
            long answer = at_bound();
            if (answer)
                return answer;
            *start = now;
        }
        struct timespec bound = {.tv_nsec = 50000000};
        kernel(SYS_futex, word, FUTEX_WAIT, seen, &bound, 0, 0);
        /* An answer that is there goes first: else a timer that is fast enough would have the barrier published for ever. */
        if (answer_of(capture, atomic_load(word)) == LOCKSTEP_ANSWER_NONE && capture_is_wanted(capture))
            return -EINTR;
    }
}

/* The same barrier, when the signals have been delivered that waited for it. */
static long publish_again(struct capture *capture) {
    const struct lockstep_intent before = *capture->intent;
    capture_end(capture, -ETIMEDOUT);
    long answer = capture_begin(capture, LOCKSTEP_KIND_BARRIER, 0, false);
    if (answer)
        return answer;
    capture->intent->object = before.object;
    capture->intent->descriptor = before.descriptor;
    capture->intent->local_flushed = before.local_flushed;
    return capture_publish(capture);
}

long barrier_wait(struct capture *capture, long flushed) {
    FAULT_POINT("barrier-waiting");
    uint64_t start = 0;
    long answer = 0;
    while (control->wait_mode != LOCKSTEP_WAIT_NEVER && (answer = answer_wait(capture, &start)) == -EINTR)
        if ((answer = publish_again(capture)) != 0)
            return flushed < 0 ? flushed : answer;
    atomic_store(&capture->intent->waiting, 0);
    /* The result is the local flush's; -ETIMEDOUT tells that nobody waits for the answer any more. */
    capture_end(capture, flushed == 0 && answer == -ETIMEDOUT ? answer : flushed);
    if (answer == -ETIMEDOUT)
        answer = -EIO;
    return flushed < 0 ? flushed : answer;
}

/* ------------------------------------------------------------------ the calls */

long durable_sync(int descriptor, long number) {
    struct target target;
    long verdict = identify(descriptor, &target);
    if (verdict == OUTSIDE)
        return kernel(number, descriptor);
    if (verdict < 0)
        return verdict;
    struct capture capture;
    long answer = barrier_publish(&capture, &target.object, descriptor);
    if (answer)
        return answer;
    return barrier_wait(&capture, kernel(number, descriptor));
}

long captured_sync(void) {
    struct capture capture;
    if (!attached() || barrier_publish(&capture, NULL, -1) != 0)
        return kernel(SYS_sync);
    return barrier_wait(&capture, kernel(SYS_sync));
}

long captured_syncfs(int descriptor) {
    struct target target = {.device = 0};
    if (attached())
        identify(descriptor, &target);
    bool ours = false;
    for (uint32_t i = 0; attached() && i < control->root_count; i++)
        ours = ours || (target.mode != 0 && target.device == control->roots[i].device);
    struct capture capture;
    if (!ours)
        return kernel(SYS_syncfs, descriptor);
    long answer = barrier_publish(&capture, NULL, descriptor);
    if (answer)
        return answer;
    return barrier_wait(&capture, kernel(SYS_syncfs, descriptor));
}

EXPORTED int fsync(int descriptor) {
    pthread_testcancel();
    return (int)returned(durable_sync(descriptor, SYS_fsync));
}

EXPORTED int fdatasync(int descriptor) {
    pthread_testcancel();
    return (int)returned(durable_sync(descriptor, SYS_fdatasync));
}

EXPORTED void sync(void) { captured_sync(); }

EXPORTED int syncfs(int descriptor) { return (int)returned(captured_syncfs(descriptor)); }
