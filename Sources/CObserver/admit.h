/*
 * admit.h: the abstract socket at which each program's library asks, before its main, what it is to do: to be audited.
 */
#ifndef OBSERVER_ADMIT_H
#define OBSERVER_ADMIT_H

#include <poll.h>
#include <stdbool.h>

enum { ADMIT_NAME_BYTES = 48 };

/* Listens on an unguessable name and gives it. False: errno. */
bool admit_listen(char name[ADMIT_NAME_BYTES]);
struct pollfd admit_interest(void);
/* Answers all that have come; who says nothing is dropped after a second. */
void admit_serve(short events);

#endif
