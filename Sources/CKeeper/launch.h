/*
 * launch.h: CMD, its signals and its end.
 *
 * CMD starts as if nobody stood between: same process group and terminal, and the signal mask, dispositions and limit
 * of descriptors that the keeper itself was started with.
 */
#ifndef KEEPER_LAUNCH_H
#define KEEPER_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

/* Takes over the keeper's own signals, limit of descriptors and orphans. Returns a signalfd, or -1 with errno. */
int launch_prepare(void);

/* In a child: what only the keeper's CMD is to hear of is ignored. */
void launch_ignore_signals(void);

/* Signals and limit as they were before launch_prepare, for another program that takes this process's place. */
void launch_restore(void);

/* In a child: the program to come loads the library and finds the keeper. */
void launch_cover(const char *library, const char *socket_name);

/* Starts CMD, `program` being its file, under the filter if the guard is on. Only returns when it runs; else says why and exits. */
void launch_command(const char *program, char *const arguments[], const char *library, const char *socket_name);

/* Reads the signalfd: forwards to CMD, reaps. Returns true if a signal that asks to end came. */
bool launch_signals(int signals);

/* Reaps; true when CMD and all its descendants are gone. */
bool launch_has_ended(int64_t now);

/* CMD's exit status, 128 + signal if it was killed. */
int launch_exit_status(void);

#endif
