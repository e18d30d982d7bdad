/*
 * aio_submit.c: io_submit. The payload is captured here, at submission; the kernel writes the copy.
 *
 *   block --> reads, files outside -------------------------> handed on as it is           \
 *         --> write of the tree --> intent, published ------> our block, with the copy      > one io_submit per batch
 *         --> fsync of the tree --> barrier, published -----> our block                    /
 *         --> append, longer than one operation ------------> carried out at once by a captured pwrite; the kernel gets a
 *                                                             write of no bytes, whose event takes the result along
 *
 * What the kernel does not accept is ended as failed.
 */
#define _GNU_SOURCE
#include "aio.h"
#include <limits.h>

#define BATCH 32u

struct batch {
    struct aio_context *context;
    struct iocb *given[BATCH];
    unsigned count;
    struct batch_signals signals;
};

static void depart(struct batch *batch, struct flight *flight, struct iocb *application, const struct iocb *block,
                   enum barred barred, enum phase phase) {
    flight->application = (uintptr_t)application;
    flight->data = block->aio_data;
    flight->block = *block;
    flight->block.aio_data = STATE_GENERATION(atomic_load(&flight->state));
    flight_depart(flight, barred, phase);
    batch->given[batch->count++] = &flight->block;
}

/* ------------------------------------------------------------------ one block */

static enum fate add_fsync(struct batch *batch, struct iocb *application, const struct iocb *block,
                           const struct target *target, long *error) {
    struct flight *flight = flight_take(batch->context);
    if (!flight)
        return *error = -EAGAIN, FAILED;
    enum fate fate = flight_begin_fsync(&batch->signals, flight, target, (int)block->aio_fildes, error);
    if (fate == ADDED)
        fate = flight_publish_fsync(flight, error);
    if (fate == ADDED)
        depart(batch, flight, application, block, BARRED, FLYING);
    else
        flight_free(flight);
    return fate;
}

static enum fate add_write(struct batch *batch, struct iocb *application, const struct iocb *block,
                           const struct writing *w, const struct source *source, long *error) {
    struct flight *flight = flight_take(batch->context);
    if (!flight)
        return *error = -EAGAIN, FAILED;
    size_t bytes = source->left;
    enum fate fate = flight_load_write(&batch->signals, flight, w, *source, &bytes, error);
    if (fate != ADDED) {
        flight_free(flight);
        return fate;
    }
    struct iocb ours = *block;
    ours.aio_lio_opcode = IOCB_CMD_PWRITE;
    ours.aio_buf = (uintptr_t)flight->write.payload;
    if (FAULT_SKIPS("aio-payload")) {
        ours.aio_lio_opcode = block->aio_lio_opcode;
        ours.aio_buf = block->aio_buf;
        bytes = block->aio_nbytes;
    }
    ours.aio_nbytes = bytes;
    depart(batch, flight, application, &ours, w->durable ? BARRED : UNBARRED, FLYING);
    return ADDED;
}

/* A write of the tree, as captured_pwritev would see it. */
struct request {
    struct iocb block;
    struct iovec single;
    const struct iovec *vector;
    int count;
    struct writing w;
    struct source source;
};

/* 1: a write to be captured; 0: the kernel's to answer; -errno. */
static long examine_write(struct request *r) {
    bool is_vector = r->block.aio_lio_opcode == IOCB_CMD_PWRITEV;
    long verdict = identify_regular((int)r->block.aio_fildes, &r->w.target);
    if (verdict != TRACKED)
        return verdict;
    r->w.descriptor = (int)r->block.aio_fildes;
    r->w.implicit = false;
    r->w.rwf = r->block.aio_rw_flags;
    r->w.offset = r->block.aio_offset;
    r->single = (struct iovec){(void *)(uintptr_t)r->block.aio_buf, r->block.aio_nbytes};
    r->vector = is_vector ? (const struct iovec *)(uintptr_t)r->block.aio_buf : &r->single;
    r->count = is_vector ? (int)r->block.aio_nbytes : 1;
    /* The kernel refuses these, or writes nothing. */
    if (r->block.aio_offset < 0 || r->block.aio_nbytes == 0 || (is_vector && r->block.aio_nbytes > IOV_MAX))
        return 0;
    if (writing_check_flags(&r->w) != 0)
        return -EOPNOTSUPP;
    return writing_prepare(&r->w, r->vector, r->count, &r->source);
}

static enum fate add(struct batch *batch, struct iocb *application, struct request *r, long *error) {
    struct target target;
    if (!payload_plausible(application, sizeof r->block) || payload_copy(&r->block, application, sizeof r->block) != sizeof r->block)
        return *error = -EFAULT, FAILED;
    switch (r->block.aio_lio_opcode) {
    case IOCB_CMD_PWRITE:
    case IOCB_CMD_PWRITEV:
        *error = examine_write(r);
        if (*error > 0)
            return r->w.append || r->source.left > LOCKSTEP_OPERATION_BYTES_MAX
                ? ALONE : add_write(batch, application, &r->block, &r->w, &r->source, error);
        break;
    case IOCB_CMD_FSYNC:
    case IOCB_CMD_FDSYNC:
        *error = identify((int)r->block.aio_fildes, &target);
        if (*error == TRACKED)
            return add_fsync(batch, application, &r->block, &target, error);
        break;
    default: *error = 0;
    }
    if (*error < 0)
        return FAILED;
    batch->given[batch->count++] = application;
    return ADDED;
}

/* ------------------------------------------------------------------ to the kernel */

/* The count accepted, or -errno; the batch is empty then. */
static long submit(struct batch *batch) {
    long accepted = batch->count ? kernel(SYS_io_submit, atomic_load(&batch->context->ring), batch->count, batch->given) : 0;
    for (unsigned index = accepted > 0 ? (unsigned)accepted : 0; index < batch->count; index++) {
        struct flight *flight = flight_of((uintptr_t)batch->given[index]);
        if (flight)
            flight_abandon(flight, accepted < 0 ? accepted : -ECANCELED);
    }
    batch_signals_restore(&batch->signals);
    batch->count = 0;
    aio_look(); /* a buffered write has ended by now */
    return accepted;
}

/* One that can't be left to the kernel: accepted by it first, then carried out. */
static long run(struct batch *batch, struct iocb *application, const struct request *r) {
    struct flight *flight = flight_take(batch->context);
    if (!flight)
        return -EAGAIN;
    struct iocb ours = r->block;
    ours.aio_lio_opcode = IOCB_CMD_PWRITE;
    ours.aio_buf = ours.aio_nbytes = 0;
    depart(batch, flight, application, &ours, UNBARRED, RUNNING);
    long accepted = submit(batch);
    if (accepted != 1)
        return accepted;
    const struct writing *w = &r->w;
    flight_ran(flight, captured_pwritev(w->descriptor, r->vector, r->count, w->offset, w->rwf,
                                        w->rwf ? SYS_pwritev2 : SYS_pwritev));
    return 1;
}

long captured_io_submit(unsigned long address, long count, void *blocks) {
    struct batch batch = {.context = aio_context_of(address)};
    struct iocb **list = blocks;
    struct request request;
    long total = 0, error = 0;
    if (!batch.context || count < 0)
        return -EINVAL;
    for (long index = 0; index < count && error == 0;) {
        if (!payload_readable(&list[index], sizeof *list)) {
            error = -EFAULT;
            break;
        }
        enum fate fate = add(&batch, list[index], &request, &error);
        index += fate == ADDED;
        if (fate == ADDED)
            error = 0;
        if (fate == ADDED && batch.count < BATCH && index < count)
            continue;
        long given = batch.count, accepted = submit(&batch);
        if (accepted > 0)
            total += accepted;
        if (accepted < given)
            return total ? total : accepted;
        if (fate == FULL)
            error = 0;
        if (fate == ALONE) {
            error = 0;
            accepted = run(&batch, list[index], &request);
            if (accepted != 1)
                return total ? total : accepted;
            total++;
            index++;
        }
    }
    return total ? total : error;
}
