/*
 * attach.h: the abstract socket at which processes get their arena, after every exec and in every forked child.
 *
 *     process: connect, ATTACH  ->  keeper: peer checked, arena made  ->  daemon: ARENA [arena, pidfd]
 *     process  <-  ATTACHED [control read-only, ring, arena]          <-  (sent, or the daemon is away)
 *
 * The daemon hears of an arena before the process can publish anything from it.
 */
#ifndef KEEPER_ATTACH_H
#define KEEPER_ATTACH_H

#include "memory.h"

#include <poll.h>

enum { ATTACH_CONNECTIONS_MAX = 64, ATTACH_NAME_BYTES = 48 };

/* Listens on an unguessable name and gives it. False: errno. */
bool attach_listen(const struct memory *memory, char name[ATTACH_NAME_BYTES]);

/* Fills at most 1 + ATTACH_CONNECTIONS_MAX places, returns how many. */
int attach_interest(struct pollfd *interests);
int attach_timeout(int64_t now);

/* Accepts, reads, makes arenas. `interests` as filled above, after poll. */
void attach_serve(const struct pollfd *interests, int count, int64_t now);

/* Answers those whose arena the daemon knows by now, or cannot be told of. */
void attach_answer(void);

#endif
