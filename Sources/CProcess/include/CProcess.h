/*
 * CProcess.h: processes and their sockets, where Swift can't call glibc itself (the functions and constants are behind
 * _GNU_SOURCE, or variadic). Every function returns an errno value, 0 for success.
 */
#ifndef LOCKSTEP_CPROCESS_H
#define LOCKSTEP_CPROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Starts a program with `standard` as its descriptors 0, 1 and 2 and no other, no signal blocked, all at their default.
   With `new_session` it also leaves the terminal's process group: it outlives its parent. */
int cprocess_spawn(const char *path, char *const arguments[], char *const environment[], const int standard[3],
                   int new_session, pid_t *pid);

/* A descriptor that means this process only, whatever becomes of its number; it is readable when the process ended. */
int cprocess_open(pid_t pid, int *descriptor);
int cprocess_signal(int descriptor, int signal);

/* Accepts a connection; the descriptor does not survive an exec. */
int cprocess_accept(int listener, int *descriptor);
/* Who is at the other end of a connected Unix socket, as the kernel recorded it. */
int cprocess_peer(int descriptor, uint32_t *user, pid_t *pid);

/* The type of the file system that holds `path` is one that gives files no lasting identity (overlayfs). */
int cprocess_is_overlay(const char *path, int *overlay);

#endif
