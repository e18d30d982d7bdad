/*
 * observe.h: the thread that answers the filter's notifications: it looks whose file each call is about, notes it, and lets it go
 * on, or refuses it as it would be refused under `lockstep run`.
 */
#ifndef OBSERVER_OBSERVE_H
#define OBSERVER_OBSERVE_H

#include <stdbool.h>

/* False: errno. `keeps_privileges`: programs may gain some. */
bool observe_start(int listener, bool keeps_privileges);

/* Returns when no program is left under the filter. */
void observe_wait(void);

#endif
