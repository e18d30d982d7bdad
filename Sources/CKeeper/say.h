/*
 * say.h: what the keeper tells the operator: one line each on standard error, which is also the application's.
 */
#ifndef KEEPER_SAY_H
#define KEEPER_SAY_H

#include <stdint.h>

/* Writes "lockstep: ..." as one line, or drops it when nobody reads: the keeper never waits for a full pipe. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says it and exits: for everything found before the application was started. */
_Noreturn void refuse(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* CLOCK_MONOTONIC in milliseconds. */
int64_t milliseconds_now(void);

#endif
