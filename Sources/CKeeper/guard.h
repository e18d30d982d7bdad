/*
 * guard.h: the keeper's part of the guard: the listener, the agent process that answers its notifications, their counts.
 *
 *              guard_probe            guard_start       'r'            listener (from CMD, before its exec)
 *     off <----- no listener    possible ------> starting --> ready ------------------> serving
 *      ^                                            |                                  |      ^
 *      +------------ not covered -------------------+           agent died: another ---+------+
 *                                                                too often: closed, every such call fails (ENOSYS)
 *
 * The keeper keeps the listener and the memory of what is in flight, so that an agent may die at any moment: the next one
 * answers for it.
 */
#ifndef KEEPER_GUARD_H
#define KEEPER_GUARD_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { GUARD_TEXT_BYTES = 160 };

/* Whether programs can be put under the filter here, tried in a child. */
void guard_probe(void);
bool guard_is_possible(void);
/* The filter needs no no_new_privs: setuid programs gain their privileges as ever. */
bool guard_keeps_privileges(void);

/* Starts the agent. It attaches as every program does: the keeper must serve meanwhile. */
void guard_start(const char *library, const char *socket_name);
bool guard_is_starting(int64_t now);

/* The agent is ready, or serves: static programs may be started. */
bool guard_is_on(void);
/* Why it is off; "" when it is on. */
const char *guard_reason(void);

/* CMD's listener; the keeper owns it from here on. */
void guard_listen(int listener, bool no_new_privileges);

struct pollfd guard_interest(void);
int guard_timeout(int64_t now);
void guard_serve(short events, int64_t now);
/* A child of the keeper has ended; true: it was the agent. */
bool guard_reap(pid_t ended, int status, int64_t now);

/* Tells the daemon what it does not know yet. `at_once`: before the keeper ends. */
void guard_report(int64_t now, bool at_once);

#endif
