/*
 * daemon.h: the connection to the daemon, NODE_DIRECTORY/capture.sock.
 *
 *              connect, HELLO [control, ring]         WELCOME
 *     away  ------------------------------->  asked  --------->  serving
 *       ^  every 50 ms                          |                   |
 *       +---------------------------------------+-------------------+   closed, refused, no answer within the bound
 *
 * While it is not serving, applications go on: attach works, what they publish stays in the memory that the keeper
 * holds, and their waits end by the bound in the control object. On WELCOME all living arenas are announced again.
 */
#ifndef KEEPER_DAEMON_H
#define KEEPER_DAEMON_H

#include "memory.h"

#include <poll.h>

/* Opens the directory, connects, takes over the memory and the range of numbers; any failure ends the keeper. */
void daemon_meet(const char *directory, int wait_bound_seconds, struct memory *memory);

bool daemon_is_serving(void);

/* How often a daemon has welcomed this keeper: a new one knows nothing of what the last one was told. */
uint32_t daemon_meetings(void);

/* Tells it something without descriptors. False: not now. */
struct lockstep_message;
bool daemon_tell(const struct lockstep_message *message);

/* Refused: this incarnation of the memory has ended; nobody will ever take what is in it. */
bool daemon_has_refused(void);

/* What to poll for, and for how long at most (-1: no end). The descriptor is -1 while it is away. */
struct pollfd daemon_interest(void);
int daemon_timeout(int64_t now);

/* Reads what has come, reconnects when it is time, reports a long absence once. */
void daemon_serve(short events, int64_t now);

/* Tells the daemon of every arena that it does not know. */
void daemon_announce(int64_t now);

/* True once the daemon has been away for longer than the bound. */
bool daemon_is_overdue(int64_t now);

#endif
