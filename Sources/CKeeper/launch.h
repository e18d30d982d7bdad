/*
 * launch.h: CMD, its signals and its end.
 *
 * CMD starts as if nobody stood between: same process group and terminal, and the signal mask, dispositions and limit
 * of descriptors that the keeper itself was started with.
 */
#ifndef KEEPER_LAUNCH_H
#define KEEPER_LAUNCH_H

#include <stdbool.h>

/* Takes over the keeper's own signals, limit of descriptors and orphans. Returns a signalfd, or -1 with errno. */
int launch_prepare(void);

/* Starts CMD, `program` being its file. Only returns when it runs; else says why and exits. */
void launch_command(const char *program, char *const arguments[], const char *library, const char *socket_name);

/* Reads the signalfd: forwards to CMD, reaps. Returns true if a signal that asks to end came. */
bool launch_signals(int signals);

/* Reaps; true when CMD and all its descendants are gone. */
bool launch_has_ended(void);

/* CMD's exit status, 128 + signal if it was killed. */
int launch_exit_status(void);

#endif
