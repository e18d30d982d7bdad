/*
 * memory.h: the module's shared memory as this keeper holds it. It is made by the daemon and kept here, so that it
 * outlives a daemon: a new one takes it back (HELLO) and continues without a gap.
 *
 *     control            read and write: for a daemon that comes back, never for an application
 *     control_read_only  the same object, opened again: what applications get
 *     ring               read and write, for everybody
 */
#ifndef KEEPER_MEMORY_H
#define KEEPER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory {
    int control;
    int control_read_only;
    int ring;
    uint64_t incarnation[2];
};

/* Checks what a daemon gave: seals, sizes, magic, versions, that both belong together. On failure `why` says what is wrong. */
bool memory_check(int control, int ring, uint64_t incarnation[2], char *why, size_t why_bytes);

/* Takes over checked descriptors and opens the read-only one. False: errno. */
bool memory_adopt(struct memory *memory, int control, int ring, const uint64_t incarnation[2]);

#endif
