/*
 * map.h: shared mappings of files of the tree, between the files that deal with them.
 *
 *     READ       of a descriptor that is open for reading: nobody can store through it
 *     SLEEPING   read-only, of one that is open for writing: mapped from a read-only re-open, so that no mprotect can make
 *                it writable behind our back; beside it lies a hidden mapping of the real descriptor, from which it is made
 *                writable when the program asks
 *     TRACKED    writable: in the table of the process's arena (lockstep_mapping), its pages write-protected by userfaultfd
 *
 * All three are in the list because msync is a durability point. The list is this process's own, and forked with it.
 */
#ifndef LOCKSTEP_MAP_H
#define LOCKSTEP_MAP_H

#include "process_page.h"

#define PAGE_BYTES 4096ul
#define PAGE_UP(bytes) (((bytes) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1))

enum piece_kind { PIECE_NONE = 0, PIECE_READ, PIECE_SLEEPING, PIECE_TRACKED };

struct piece {
    uint8_t kind;       /* set last */
    bool barred;        /* READ: it may not become writable: a forked child could not be tracked */
    bool kept_from_children; /* the program's own MADV_DONTFORK */
    bool leaving;       /* of pieces_leave */
    bool told;          /* its line is given up */
    int16_t line;       /* TRACKED: in the arena */
    uintptr_t address;
    size_t bytes;       /* whole pages */
    uint64_t offset;
    uint64_t armed;     /* bytes that the file filled when it was mapped */
    uintptr_t hidden;   /* SLEEPING */
    struct lockstep_object object;
};

/* ------------------------------------------------------------------ pieces.c */

/* There may be some: looked at without the lock. */
bool pieces_exist(void);
/* Signals wait while it is held; all functions below need it. */
void pieces_lock(uint64_t *signals);
void pieces_unlock(const uint64_t *signals);
/* NULL: the list is full, and it is remembered that it is not whole. */
struct piece *piece_add(const struct piece *made);
/* The first one that overlaps the range and lies at or after `from` in the list; NULL: none (any more). */
struct piece *piece_next(struct piece *from, uintptr_t address, size_t bytes);
/* Whether mappings exist that the list had no place for. */
bool pieces_are_incomplete(void);
/* Makes the bounds of the range bounds of pieces; false: no place for that. */
bool pieces_cut(uintptr_t address, size_t bytes);

/* ------------------------------------------------------------------ unmap.c */

/* What lies in the range will be unmapped now: nobody can store to it any more, and what was written is told. */
void pieces_leave(uintptr_t address, size_t bytes);
/* It was, or could not be. */
void pieces_left(bool unmapped);

/* ------------------------------------------------------------------ track.c */

/* Registers the piece, write-protects the first `armed` bytes, and enters it into the arena's table: TRACKED. It may be
   made writable then. 0 or -errno, with the reason. */
long track(struct piece *piece, uint64_t armed, const char **reason);
/* Nobody has stored to it, or ever will. */
void track_undo(const struct piece *piece);
bool track_is_possible(const char **reason);
/* So many bytes of it are write-protected where they were not written. */
uint64_t track_armed(const struct piece *piece);
/* The same line in two; false: no line is free, all stays as it is. */
bool track_split(struct piece *front, struct piece *back);
/* Longer: what was added is not armed. */
bool track_extend(struct piece *piece, size_t bytes);
/* Before the piece is unmapped: nobody can store any more, what was written is told, and the line is given up. False: it
   is not, so the daemon will find it unmapped, and read all of it. */
bool track_leave(struct piece *piece);
/* It could not be unmapped after all. */
void track_return(struct piece *piece);
/* track_leave_all (library.h): this process ends, or becomes another program, now: told like track_leave if no other thread
   could still store. track_return_all: after an exec that failed. */
/* Around a fork: children see the mappings only while they can be told of it. */
void track_fork(bool inherited);
void track_forked(void);
/* In a child: the copy of its parent's userfaultfd goes. */
void track_forget_parent(void);

#endif
