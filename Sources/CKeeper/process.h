/*
 * process.h: who a peer is, in a way that a reused pid cannot falsify.
 */
#ifndef KEEPER_PROCESS_H
#define KEEPER_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* A pidfd of the process at the other end of `connection`, and its start time (/proc/PID/stat field 22).
   -1: errno; ESRCH: it is gone. */
int process_open(int connection, pid_t pid, uint64_t *start_time);

#endif
