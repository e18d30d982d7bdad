/*
 * flights.h: operations that the kernel carries out while their caller goes on: Linux AIO and io_uring.
 *
 *   submission ---> FLYING --- seen to have ended, in passing ---> ENDED ---.
 *             \      `------------ completion taken ------------------------+--> the application, FREE
 *              `-> RUNNING (carried out by its submitter) --> RAN ----------'
 *
 * The kernel gets the flight's address instead of what the application named its operation by, so a completion tells exactly
 * which operation it ends. One table per process; a forked child, to which none of them belongs, finds it empty. The table is
 * lock-free: every change is one compare-and-swap of the flight's state word.
 */
#ifndef LOCKSTEP_FLIGHTS_H
#define LOCKSTEP_FLIGHTS_H

#include "library.h"
#include "writing.h"
#include <linux/aio_abi.h>

enum phase { FREE, FLYING, ENDED, RUNNING, RAN };
/* Of the operation's durability point: none, not answered yet, or its intent is given back and the answer was this. */
enum barred { UNBARRED, BARRED, GRANTED, DENIED };

/* | generation 48 | barred 8 | phase 8 | */
#define STATE(generation, barred, phase) ((uint64_t)(generation) << 16 | (uint64_t)(barred) << 8 | (uint64_t)(phase))
#define STATE_PHASE(state) ((enum phase)((state) & 0xff))
#define STATE_BARRED(state) ((enum barred)((state) >> 8 & 0xff))
#define STATE_GENERATION(state) ((state) >> 16)

struct flight {
    _Atomic(uint64_t) state;
    const void *owner;             /* its aio_context, or its uring */
    uint64_t application;          /* the address of its block; unused by io_uring */
    uint64_t data;                 /* what it named the operation by: aio_data, user_data */
    int64_t result;                /* RAN */
    bool writes;                   /* has an intent of its own; an fsync has its barrier only */
    bool quiet;                    /* no completion when it succeeds: IOSQE_CQE_SKIP_SUCCESS */
    struct iocb block;             /* the kernel's, of Linux AIO */
    struct capture write, barrier;
};

/* ------------------------------------------------------------------ flights.c */

/* Mapped at the first set-up, for good; false: no memory. */
bool flights_prepare(void);
/* A free flight with a new generation; NULL: as many are in flight as the table holds. */
struct flight *flight_take(const void *owner);
void flight_free(struct flight *flight);
/* The flight that lies `inside` bytes before this address; NULL: it is something of the application's. */
struct flight *flight_at(uint64_t address, size_t inside);
/* The next one of this owner, from *index on; NULL: no more. */
struct flight *flight_next(const void *owner, unsigned *index);
/* The kernel will get it. */
void flight_depart(struct flight *flight, enum barred barred, enum phase phase);
/* The operation has ended with `result`, or never began: its intent is ended, unless somebody did that already. */
void flight_end(struct flight *flight, int64_t result);
/* The same for one whose completion stays where it is, seen by the only one who could take it: its answer too, if it is there. */
void flight_pass(struct flight *flight, int64_t result);
/* Its submitter has carried it out. */
void flight_ran(struct flight *flight, int64_t result);
/* Ends what is left, of a flight whose completion never comes, and frees it. */
void flight_abandon(struct flight *flight, int64_t result);
/* Its completion has been taken: waits for what is still missing, frees it, and says what the application is to be told. */
int64_t flight_conclude(struct flight *flight, int64_t result);

/* ------------------------------------------------------------------ flight_load.c */

/* Signals wait from the first intent of a batch until the kernel has it. */
struct batch_signals {
    bool held;
    struct capture first;
};
void batch_signals_restore(struct batch_signals *signals);

/* What becomes of one operation: it goes with the batch, is carried out alone, waits for the next batch, or fails. */
enum fate { ADDED, ALONE, FULL, FAILED };

/* Intent, copy of the payload, and a durable write's barrier; published. *bytes is what the kernel is to write. */
enum fate flight_load_write(struct batch_signals *signals, struct flight *flight, const struct writing *w, struct source source,
                            size_t *bytes, long *error);
/* The barrier of an fsync: begun; then published, or not after all. */
enum fate flight_begin_fsync(struct batch_signals *signals, struct flight *flight, const struct target *target, int descriptor,
                             long *error);
enum fate flight_publish_fsync(struct flight *flight, long *error);

#endif
