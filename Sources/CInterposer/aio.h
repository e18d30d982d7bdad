/* aio.h: Linux AIO's contexts. What is in flight lies in the table of flights.h. */
#ifndef LOCKSTEP_AIO_H
#define LOCKSTEP_AIO_H

#include "flights.h"

struct aio_context {
    _Atomic(uint64_t) ring;        /* what the application calls the context: the address of the kernel's ring. 0: free */
    _Atomic(uint32_t) looking;     /* threads that read the ring now */
    _Atomic(uint32_t) reaping;     /* threads that wait for its events, or hand them on */
    _Atomic(uint32_t) closing;
};

/* NULL: none. */
struct aio_context *aio_context_of(uint64_t ring);
/* The flight whose block this is; NULL: the application's own block. The kernel gets a block of ours, so its event names the
   flight; the application's own is only read, and its address and data are put back into the event. */
static inline struct flight *flight_of(uint64_t block) { return flight_at(block, offsetof(struct flight, block)); }

#endif
