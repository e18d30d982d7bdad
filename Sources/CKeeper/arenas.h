/*
 * arenas.h: one fixed table of the arenas that this keeper made, one per attached process.
 *
 *     free --make--> living, not announced --announced--> living --RETIRED--> free
 *                          ^------- the daemon went away ------|
 *
 * An arena outlives its process: what the process published and the daemon has not yet taken lies in it. Only the
 * daemon knows when that is done, so only RETIRED frees an arena. Its descriptor is kept to be announced again to a
 * daemon that comes back; the pidfd with it, because by then the pid may mean somebody else.
 */
#ifndef KEEPER_ARENAS_H
#define KEEPER_ARENAS_H

#include <stdbool.h>
#include <stdint.h>

enum { ARENAS_MAX = 4096, ARENAS_PREPARED_MAX = 2 };

struct arena {
    bool living;
    bool announced;  /* to the daemon that is connected now */
    int descriptor;
    int process;     /* pidfd */
    uint32_t number;
    int32_t pid;
    uint64_t start_time;
    uint64_t made;   /* counts: of two arenas of one process, before and after an exec, the daemon must hear of the later one last */
};

/* The range of numbers that the daemon gave to this keeper; living arenas keep theirs when it changes. */
void arenas_set_range(uint32_t first, uint32_t count);
uint32_t arenas_first(void);
uint32_t arenas_count(void);

/* A living arena for the process, not announced; it takes over `process`. NULL: errno (EAGAIN: no number is free). */
struct arena *arenas_make(int process, int32_t pid, uint64_t start_time, const uint64_t incarnation[2]);

/* Frees the arena of that number. False: there is none, or the daemon was never told of it. */
bool arenas_retire(uint32_t number);

uint32_t arenas_living(void);

/* The one made first of those that the daemon does not know yet, or NULL. */
struct arena *arenas_first_unannounced(void);
void arenas_announced(struct arena *arena);
/* The daemon is gone: the next one knows none. */
void arenas_forget_announcements(void);

/* Allocates ahead, so that an exec does not wait for 1 MiB of zeroed memory. Failing is harmless here. */
void arenas_prepare(void);

#endif
