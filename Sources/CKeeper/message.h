/*
 * message.h: one lockstep_message with its descriptors, over a SOCK_SEQPACKET socket.
 */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H

#include "CCaptureABI.h"

enum { MESSAGE_DESCRIPTORS_MAX = 4 };

/* 0, or -1 with errno. */
int message_send(int socket, const struct lockstep_message *message, const int *descriptors, int count);

/*
 * 1: a message; the caller owns `count` descriptors in it. 0: the other end is gone. -1: errno; EPROTO: it is none.
 * A message of another ABI version is given as far as it was understood (type and version), without descriptors: the
 * caller looks at the version first. The text is made printable.
 */
int message_receive(int socket, struct lockstep_message *message, int descriptors[MESSAGE_DESCRIPTORS_MAX], int *count);

/* The same from an application, which has no descriptor to give: whatever it encloses is dropped by the kernel. */
int message_receive_plain(int socket, struct lockstep_message *message);

void message_close(const int *descriptors, int count);

#endif
