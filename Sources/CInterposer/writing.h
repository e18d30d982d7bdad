/* writing.h: one write in progress: what write.c, aio_submit.c and the files of io_uring share. */
#ifndef LOCKSTEP_WRITING_H
#define LOCKSTEP_WRITING_H

#include "library.h"

/* The bytes of one call, taken piece by piece. */
struct source {
    const struct iovec *vector;
    size_t at;
    size_t left; /* in total */
};
/* The count that was copied: less than `bytes` when the rest can't be read. */
size_t source_copy(struct source *source, uint8_t *to, size_t bytes);

struct writing {
    struct target target;
    int descriptor;
    int flags;          /* of the open file */
    int rwf;
    bool append, implicit, durable;
    off_t offset;       /* of a positioned write: of the next chunk */
    uint64_t first;     /* sequence number of the first chunk */
};
/* Looks at the open file; 1: capture it, 0: let the kernel answer (it fails or writes nothing), else -errno. */
long writing_prepare(struct writing *w, const struct iovec *vector, int count, struct source *source);
/* The same for an open file with these flags. */
long writing_prepare_flags(struct writing *w, long flags, const struct iovec *vector, int count, struct source *source);
/* -EOPNOTSUPP, and a line, for RWF flags that would be lost. */
long writing_check_flags(const struct writing *w);
/* Object, range and flags, before publication. */
void writing_describe(const struct writing *w, struct lockstep_intent *intent, uint64_t offset, size_t bytes);

#endif
