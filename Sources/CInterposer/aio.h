/*
 * aio.h: operations given to the kernel by io_submit, until their events are given to the application.
 *
 *   io_submit ---> FLYING --- event in the ring, seen in passing (aio_look) ---> ENDED ---.
 *             \      `------------------- event taken by io_getevents --------------------+--> the application, FREE
 *              `-> RUNNING (carried out by its submitter) --> RAN ------------------------'
 *
 * The kernel gets a block of ours, so its event names the flight exactly; the application's own block is only read, and its
 * address and data are put back into the event. One table per process; a forked child, which has no contexts, finds it empty.
 * All of it is lock-free: every change is one compare-and-swap of the flight's state word.
 */
#ifndef LOCKSTEP_AIO_H
#define LOCKSTEP_AIO_H

#include "library.h"
#include <linux/aio_abi.h>

enum phase { FREE, FLYING, ENDED, RUNNING, RAN };
/* Of the operation's durability point: none, not answered yet, or its intent is given back and the answer was this. */
enum barred { UNBARRED, BARRED, GRANTED, DENIED };

/* | generation 48 | barred 8 | phase 8 | */
#define STATE(generation, barred, phase) ((uint64_t)(generation) << 16 | (uint64_t)(barred) << 8 | (uint64_t)(phase))
#define STATE_PHASE(state) ((enum phase)((state) & 0xff))
#define STATE_BARRED(state) ((enum barred)((state) >> 8 & 0xff))
#define STATE_GENERATION(state) ((state) >> 16)

struct aio_context;
struct flight {
    _Atomic(uint64_t) state;
    struct aio_context *context;
    struct iocb *application;      /* its block */
    uint64_t data;                 /* its aio_data: ours holds the generation */
    int64_t result;                /* RAN */
    bool writes;                   /* has an intent of its own; an fsync has its barrier only */
    struct iocb block;             /* the kernel's */
    struct capture write, barrier;
};

struct aio_context {
    _Atomic(uint64_t) ring;        /* what the application calls the context: the address of the kernel's ring. 0: free */
    _Atomic(uint32_t) looking;     /* threads that read the ring now */
    _Atomic(uint32_t) reaping;     /* threads that wait for its events, or hand them on */
    _Atomic(uint32_t) closing;
};

/* NULL: none. */
struct aio_context *aio_context_of(uint64_t ring);
/* A free flight with a new generation; NULL: as many are in flight as the table holds. */
struct flight *flight_take(struct aio_context *context);
void flight_free(struct flight *flight);
/* The flight whose block this is; NULL: the application's own block. */
struct flight *flight_of(uint64_t block);
/* The operation has ended with `result`, or never began: its intent is ended, unless somebody did that already. */
void flight_end(struct flight *flight, int64_t result);
/* Ends what is left, of a flight whose event never comes, and frees it. */
void flight_abandon(struct flight *flight, int64_t result);

#endif
