#include "message.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union ancillary {
    struct cmsghdr header; /* for the alignment */
    char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_DESCRIPTORS_MAX)];
};

int message_send(int socket, const struct lockstep_message *message, const int *descriptors, int count) {
    struct iovec body = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
    struct msghdr header = {.msg_iov = &body, .msg_iovlen = 1};
    union ancillary ancillary;
    if (count > 0) {
        memset(&ancillary, 0, sizeof ancillary);
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(rights), descriptors, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do sent = sendmsg(socket, &header, MSG_NOSIGNAL); while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

static void take_descriptors(struct msghdr *header, int descriptors[MESSAGE_DESCRIPTORS_MAX], int *count) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t given = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < given; index++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + index * sizeof(int), sizeof descriptor);
            if (*count < MESSAGE_DESCRIPTORS_MAX) descriptors[(*count)++] = descriptor;
            else close(descriptor);
        }
    }
}

/* The other end's text goes to a terminal. */
static void make_printable(char *text, size_t bytes) {
    text[bytes - 1] = 0;
    for (; *text != 0; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

static int receive(int socket, struct lockstep_message *message, struct msghdr *header, int *descriptors, int *count) {
    memset(message, 0, sizeof *message);
    struct iovec body = {.iov_base = message, .iov_len = sizeof *message};
    header->msg_iov = &body;
    header->msg_iovlen = 1;
    ssize_t bytes;
    do bytes = recvmsg(socket, header, MSG_CMSG_CLOEXEC); while (bytes < 0 && errno == EINTR);
    if (bytes < 0) return errno == ECONNRESET ? 0 : -1;
    if (count != NULL) take_descriptors(header, descriptors, count);
    if (bytes == 0) return 0;
    bool versioned = (size_t)bytes >= offsetof(struct lockstep_message, abi_version) + sizeof message->abi_version;
    bool foreign = versioned && message->abi_version != LOCKSTEP_ABI_VERSION;
    bool whole = (size_t)bytes == sizeof *message && (header->msg_flags & MSG_TRUNC) == 0;
    bool complete = count == NULL || (header->msg_flags & MSG_CTRUNC) == 0;
    if (count != NULL && (foreign || !whole || !complete)) {
        message_close(descriptors, *count);
        *count = 0;
    }
    if (!foreign && (!whole || !complete)) {
        errno = EPROTO;
        return -1;
    }
    make_printable(message->text, sizeof message->text);
    return 1;
}

int message_receive(int socket, struct lockstep_message *message, int descriptors[MESSAGE_DESCRIPTORS_MAX], int *count) {
    union ancillary ancillary;
    struct msghdr header = {.msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    *count = 0;
    int outcome = receive(socket, message, &header, descriptors, count);
    if (outcome != 1) {
        message_close(descriptors, *count);
        *count = 0;
    }
    return outcome;
}

int message_receive_plain(int socket, struct lockstep_message *message) {
    struct msghdr header = {0};
    return receive(socket, message, &header, NULL, NULL);
}

void message_close(const int *descriptors, int count) {
    for (int index = 0; index < count; index++) close(descriptors[index]);
}
