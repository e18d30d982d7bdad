/*
 * uring_submit.c: io_uring_submit. The program's entries are taken chain by chain; what has no link is a chain of one.
 *
 *   chain --> goes to the kernel, its captured entries rewritten (a write only at its head)   \
 *         --> carried out here: no-ops for the kernel, submitted first; then its entries in order > one io_uring_enter per batch
 *         --> refused: no-ops with the error of one and ECANCELED of the others             /
 *
 * A captured write is written from the copy that was taken now. Behind an operation that may fill its buffer (a read, a poll) in
 * the same chain that would be the wrong copy, so such a chain is refused; behind others of the library's it is carried out here.
 * So is any write by a number that the kernel would look up later: it may mean a replicated file by then.
 * What the kernel does not accept is ended as failed, and stays in the program's ring.
 */
#define _GNU_SOURCE
#include "uring.h"

#define BATCH 32u
#define LINKS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

struct submission {
    struct uring *ring;
    const struct io_uring_sqe *entries;     /* the program's */
    unsigned mask, head, tail;
    unsigned count;                         /* prepared in the kernel's ring, not given yet */
    unsigned captured;
    struct batch_signals signals;
};

static struct io_uring_sqe *place(struct submission *s, unsigned index) {
    return &s->ring->given[(*s->ring->entry_tail + index) & (s->ring->entries - 1)];
}

/* ------------------------------------------------------------------ to the kernel */

/* All that is prepared; the count accepted, or -errno. */
static long give(struct submission *s) {
    struct uring *ring = s->ring;
    if (s->count == 0)
        return 0;
    unsigned tail = *ring->entry_tail;
    io_uring_smp_store_release(ring->entry_tail, tail + s->count);
    long answer = kernel(SYS_io_uring_enter, ring->descriptor, s->count, 0, 0, 0, 0);
    unsigned accepted = answer > 0 ? (unsigned)answer : 0;
    for (unsigned index = accepted; index < s->count; index++) {
        struct flight *flight = flight_at(ring->given[(tail + index) & (ring->entries - 1)].user_data, 0);
        if (flight)
            flight_abandon(flight, answer < 0 ? answer : -ECANCELED);
    }
    io_uring_smp_store_release(ring->entry_tail, tail + accepted);
    s->head += accepted;
    io_uring_smp_store_release(&ring->facade->entry_head, s->head);
    bool all = accepted == s->count, captured = s->captured > 0;
    s->count = s->captured = 0;
    batch_signals_restore(&s->signals);
    if (captured)
        uring_look(); /* a buffered write has ended by now */
    return all ? (long)accepted : answer < 0 ? answer : -EAGAIN;
}

/* ------------------------------------------------------------------ a chain that does not go as it is */

/* Copies of the entries that are carried out here; in a scratch buffer. */
enum { HERE_MAX = 60 };
struct here {
    struct io_uring_sqe entries[HERE_MAX];
    struct flight *flights[HERE_MAX];
};
_Static_assert(sizeof(struct here) <= PATH_BYTES, "a scratch buffer holds them");

/* The kernel gets a no-op instead of the entry. */
static struct flight *put_no_op(struct submission *s, const struct io_uring_sqe *entry) {
    struct flight *flight = flight_take(s->ring);
    if (!flight)
        return NULL;
    flight->data = entry->user_data;
    flight->quiet = (entry->flags & IOSQE_CQE_SKIP_SUCCESS) != 0;
    flight_depart(flight, UNBARRED, RUNNING);
    *place(s, s->count++) = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .fd = -1, .user_data = (uintptr_t)flight};
    return flight;
}

static void take_back(struct submission *s, unsigned count) {
    while (s->count > count)
        flight_free(flight_at(place(s, --s->count)->user_data, 0));
}

/* As the kernel ends a chain of which one entry can't be prepared. */
static long refuse(struct submission *s, unsigned length, unsigned which, long error) {
    unsigned before = s->count;
    for (unsigned i = 0; i < length; i++) {
        struct flight *flight = put_no_op(s, place(s, s->count));
        if (!flight) {
            take_back(s, before);
            return -EAGAIN;
        }
        flight_ran(flight, i == which ? error : -ECANCELED);
    }
    return 0;
}

/* Whether what comes behind it in its chain is not done. To the kernel a name operation that fails, or an fsync, does not matter. */
static bool breaks(const struct io_uring_sqe *entry, long result) {
    const struct iovec *vector = (const struct iovec *)(uintptr_t)entry->addr;
    uint64_t wanted = 0;
    if (entry->flags & IOSQE_IO_HARDLINK)
        return false;
    switch (entry->opcode) {
    case IORING_OP_WRITEV:
        for (unsigned i = 0; result > 0 && i < entry->len; i++)
            wanted += vector[i].iov_len;
        return result < 0 || (uint64_t)result < wanted;
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED: return result < 0 || (uint64_t)result < entry->len;
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_FILES_UPDATE:
    case IORING_OP_CLOSE: return result < 0;
    default: return false;
    }
}

/* Accepted by the kernel first, then carried out, in order. */
static long run(struct submission *s, unsigned length) {
    long answer = give(s);
    if (answer < 0)
        return answer;
    struct here *here = (struct here *)scratch_take();
    if (!here)
        return -ENOMEM;
    for (unsigned i = 0; i < length; i++)
        here->entries[i] = *place(s, i);
    for (unsigned i = 0; answer == 0 && i < length; i++)
        if (!(here->flights[i] = put_no_op(s, &here->entries[i]))) {
            take_back(s, 0);
            answer = -EAGAIN;
        }
    unsigned before = s->head;
    if (answer == 0)
        answer = give(s);
    bool broken = answer < 0;
    for (unsigned i = 0; i < s->head - before; i++) {
        long result = broken ? -ECANCELED : uring_carry_out(s->ring, &here->entries[i]);
        broken = broken || breaks(&here->entries[i], result);
        flight_ran(here->flights[i], result);
    }
    scratch_return((char *)here);
    return answer < 0 ? answer : 0;
}

/* ------------------------------------------------------------------ a chain that the kernel gets */

static struct flight *flight_in(struct submission *s, unsigned index) { return flight_at(place(s, index)->user_data, 0); }

static struct flight *rename_entry(struct submission *s, struct io_uring_sqe *entry) {
    struct flight *flight = flight_take(s->ring);
    if (!flight)
        return NULL;
    flight->data = entry->user_data;
    flight->quiet = (entry->flags & IOSQE_CQE_SKIP_SUCCESS) != 0;
    entry->user_data = (uintptr_t)flight;
    entry->flags &= (uint8_t)~IOSQE_CQE_SKIP_SUCCESS;
    return flight;
}

/* The intents of fsyncs, before anything is published. */
static enum fate begin_fsyncs(struct submission *s, unsigned length, long *error) {
    enum fate fate = ADDED;
    struct examined x;
    for (unsigned i = 0; fate == ADDED && i < length; i++) {
        struct io_uring_sqe *entry = place(s, s->count + i);
        if (entry->opcode != IORING_OP_FSYNC)
            continue;
        uring_examine(s->ring, entry, &x);
        if (x.way != WAY_FSYNC)
            continue;
        struct flight *flight = rename_entry(s, entry);
        if (!flight)
            return *error = -EAGAIN, FAILED;
        fate = flight_begin_fsync(&s->signals, flight, &x.w.target, x.descriptor, error);
        if (fate != ADDED) {
            entry->user_data = 0;
            flight_free(flight);
        }
    }
    return fate;
}

static enum fate load_write(struct submission *s, const struct examined *x, long *error) {
    struct io_uring_sqe *entry = place(s, s->count);
    struct flight *flight = rename_entry(s, entry);
    if (!flight)
        return *error = -EAGAIN, FAILED;
    size_t bytes = x->source.left;
    enum fate fate = flight_load_write(&s->signals, flight, &x->w, x->source, &bytes, error);
    if (fate != ADDED) {
        entry->user_data = 0;
        flight_free(flight);
        return fate;
    }
    flight_depart(flight, x->w.durable ? BARRED : UNBARRED, FLYING);
    if (FAULT_SKIPS("uring-payload"))
        return ADDED;
    entry->opcode = IORING_OP_WRITE;
    entry->addr = (uintptr_t)flight->write.payload;
    entry->len = (uint32_t)bytes;
    entry->buf_index = 0;
    return ADDED;
}

/* Published: abandoned. Begun only: given back. */
static void undo(struct submission *s, unsigned length, long error) {
    for (unsigned i = 0; i < length; i++) {
        struct flight *flight = flight_in(s, s->count + i);
        if (!flight)
            continue;
        if (STATE_PHASE(atomic_load(&flight->state)) == FLYING)
            flight_abandon(flight, error);
        else {
            capture_drop(&flight->barrier);
            flight_free(flight);
        }
    }
    if (s->count == 0)
        batch_signals_restore(&s->signals);
}

static enum fate load(struct submission *s, unsigned length, const struct examined *head, long *error) {
    enum fate fate = begin_fsyncs(s, length, error);
    if (fate == ADDED && head->way == WAY_WRITE)
        fate = load_write(s, head, error);
    for (unsigned i = 0; fate == ADDED && i < length; i++) {
        struct flight *flight = flight_in(s, s->count + i);
        if (!flight || flight->writes)
            continue;
        fate = flight_publish_fsync(flight, error);
        if (fate == ADDED)
            flight_depart(flight, BARRED, FLYING);
        else { /* its intent has been given back */
            place(s, s->count + i)->user_data = 0;
            flight_free(flight);
        }
    }
    if (fate != ADDED)
        undo(s, length, *error);
    return fate;
}

/* ------------------------------------------------------------------ which of them */

struct chain {
    unsigned length, captured, odd;     /* odd: the first that can't go to the kernel as it is */
    bool is_odd, is_refused, can_be_here;
    long error;
    struct examined head;
};

static void parse(struct submission *s, struct chain *c) {
    struct examined other;
    *c = (struct chain){.can_be_here = true};
    for (unsigned at = s->head + s->count;; at++) {
        struct io_uring_sqe *entry = place(s, s->count + c->length);
        struct examined *x = c->length == 0 ? &c->head : &other; /* it points into itself */
        *entry = s->entries[at & s->mask];
        uring_examine(s->ring, entry, x);
        c->captured += x->way == WAY_WRITE || x->way == WAY_FSYNC;
        if (x->is_bound_late)
            entry->flags &= (uint8_t)~IOSQE_ASYNC; /* now, by this thread */
        bool odd = x->way == WAY_HERE || x->way == WAY_REFUSED || (c->length > 0 && (x->way == WAY_WRITE || x->is_bound_late));
        if (odd && (!c->is_odd || (x->way == WAY_REFUSED && !c->is_refused))) {
            c->odd = c->length;
            c->error = x->error;
        }
        c->is_odd = c->is_odd || odd;
        c->is_refused = c->is_refused || x->way == WAY_REFUSED;
        c->can_be_here = c->can_be_here && x->can_be_here;
        c->length++;
        if (!(entry->flags & LINKS) || at + 1 == s->tail)
            break;
    }
    c->can_be_here = c->can_be_here && c->length <= HERE_MAX;
}

/* 0, or -errno: nothing more can be taken now. */
static long add(struct submission *s) {
    struct chain c;
    long error = 0;
    parse(s, &c);
    if (c.is_refused)
        return refuse(s, c.length, c.odd, c.error);
    if (c.is_odd && c.can_be_here)
        return run(s, c.length);
    if (c.is_odd) {
        line(LINE_URING, "io_uring_submit", -1, NULL, "a chain that writes to a file behind other operations: refused");
        return refuse(s, c.length, c.odd, -EOPNOTSUPP);
    }
    enum fate fate = c.captured ? load(s, c.length, &c.head, &error) : ADDED;
    if (fate == ADDED) {
        s->count += c.length;
        s->captured += c.captured;
        return 0;
    }
    if (fate == FULL && s->count) /* and again, when this batch is the kernel's */
        return error = give(s), error < 0 ? error : 0;
    if (fate == FAILED)
        return s->count ? (give(s), error) : error;
    for (unsigned i = 0; i < c.length; i++) /* as they were */
        *place(s, s->count + i) = s->entries[(s->head + s->count + i) & s->mask];
    return c.can_be_here ? run(s, c.length) : refuse(s, c.length, 0, -EAGAIN);
}

long uring_submit(struct uring *ring, struct io_uring *given) {
    struct capture held;
    struct submission s = {.ring = ring, .entries = given->sq.sqes, .mask = ring->entries - 1, .tail = given->sq.sqe_tail};
    if (!uring_lock(&ring->submitting, &held))
        return -EBUSY;
    capture_signals_restore(&held); /* it may take its time */
    s.head = ring->facade->entry_head;
    unsigned start = s.head;
    given->sq.sqe_head = s.tail;
    ring->facade->entry_tail = s.tail;
    long answer = s.tail - s.head > ring->entries ? -EINVAL : 0;
    while (answer == 0 && s.head + s.count != s.tail) {
        answer = add(&s);
        if (answer == 0 && s.captured >= BATCH)
            answer = give(&s);
        answer = answer > 0 ? 0 : answer;
    }
    long last = give(&s);
    answer = answer < 0 ? answer : last;
    capture_signals_hold(&held);
    uring_unlock(&ring->submitting, &held);
    return s.head != start ? (long)(s.head - start) : answer;
}
