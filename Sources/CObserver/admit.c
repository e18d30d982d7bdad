#include "admit.h"

#include "../CKeeper/message.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static int listener = -1;

bool admit_listen(char name[ADMIT_NAME_BYTES]) {
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random) return false;
    int bytes = snprintf(name, ADMIT_NAME_BYTES, "lockstep-");
    for (size_t index = 0; index < sizeof random; index++) bytes += snprintf(name + bytes, 3, "%02x", random[index]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, (size_t)bytes); /* a leading zero: abstract */
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)bytes);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, BACKLOG) == 0;
}

struct pollfd admit_interest(void) { return (struct pollfd){.fd = listener, .events = POLLIN}; }

/* Whoever it is: nothing is given away, and a program may have become another user's. */
static void admit(int connection) {
    struct lockstep_message message;
    struct timeval bound = {.tv_sec = 1};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    if (message_receive_plain(connection, &message) == 1 && message.type == LOCKSTEP_MESSAGE_ATTACH) {
        struct lockstep_message answer = {.type = LOCKSTEP_MESSAGE_ATTACHED, .abi_version = LOCKSTEP_ABI_VERSION,
            .code = LOCKSTEP_ATTACHED_AUDITED};
        message_send(connection, &answer, NULL, 0);
    }
    close(connection);
}

void admit_serve(short events) {
    if (events == 0) return;
    for (int connection; (connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) admit(connection);
}
