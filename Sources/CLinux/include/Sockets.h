/*
 * Sockets.h: sockets and event descriptors of the daemon; part of CLinux.h, results as there.
 */
#pragma once

#include <stdint.h>

/* A non-blocking listening unix socket of `type` named `name` in `directory`, mode 0600, replacing an old one. The path
   may be longer than sun_path: it goes through /proc/self/fd. */
int lockstep_unix_listen(const char *directory, const char *name, int type);
/* Non-blocking and close-on-exec; -EAGAIN when nobody waits. */
int lockstep_accept(int socket);
/* A listening socket on 127.0.0.1, and a connection to it; TCP_NODELAY set. */
int lockstep_loopback_listen(uint16_t port);
int lockstep_loopback_connect(uint16_t port);
int lockstep_set_no_delay(int socket);
int lockstep_eventfd(void);
void lockstep_set_thread_name(const char *name);
/* Random bytes for incarnations and names; fails never once the machine is up. */
int lockstep_random(void *bytes, unsigned count);
/* The text of an error number, as strerror gives it. */
const char *lockstep_error_text(int error);
