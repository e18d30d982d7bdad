/*
 * keeper.c: the keeper's part: an abstract socket, an arena for each process that attaches, and who has ended.
 *
 *   process ──ATTACH──> socket (peer's pid) ──ATTACHED [control read-only, ring, arena]──> process
 *
 * A process that attaches again became another program: what its old arena still holds is final.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECTIONS_MAX 64

static int listener;
static char socket_name[64];
static int connections[CONNECTIONS_MAX];
static unsigned connection_count;
static uint32_t arena_next = 1;

void keeper_listen(void) {
    uint64_t random[3];
    if (getrandom(random, sizeof random, 0) != sizeof random) fatal("getrandom: %m");
    int bytes = snprintf(socket_name, sizeof socket_name, "lockstep-rig-%016lx%016lx", random[0], random[1]);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, socket_name, (size_t)bytes);
    if (bind(listener, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)bytes)) || listen(listener, 64))
        fatal("listening: %m");
}

const char *keeper_socket_name(void) { return socket_name; }

static uint64_t start_time(int pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = 0;
    char *field = strrchr(text, ')'); /* field 2 may hold blanks */
    for (int i = 2; field && i < 22; i++) field = strchr(field + 1, ' ');
    return field ? strtoull(field, NULL, 10) : 0;
}

static void attach(int connection, const struct lockstep_message *asked) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes)) fatal("SO_PEERCRED: %m");
    if (asked->type != LOCKSTEP_MESSAGE_ATTACH) violation("process %d: message %u instead of ATTACH", peer.pid, asked->type);
    if (asked->abi_version != LOCKSTEP_ABI_VERSION) violation("process %d: ABI version %u", peer.pid, asked->abi_version);
    /* The same process again: it became another program. */
    for (struct arena *a = arenas; a; a = a->next)
        if (a->pid == peer.pid && !a->gone) {
            a->gone = true;
            a->gone_reserved = atomic_load(&ring->reserved);
        }
    struct arena *a = calloc(1, sizeof *a);
    a->number = arena_next++ & 0xfffff;
    a->pid = peer.pid;
    a->pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    if (a->pidfd < 0) fatal("pidfd_open: %m");
    void *memory;
    int fd = memory_allocate("lockstep-arena", sizeof(struct lockstep_arena), &memory);
    a->memory = memory;
    a->memory->magic = LOCKSTEP_MAGIC_ARENA;
    a->memory->abi_version = LOCKSTEP_ABI_VERSION;
    a->memory->arena = a->number;
    a->memory->incarnation[0] = control->incarnation[0];
    a->memory->incarnation[1] = control->incarnation[1];
    a->memory->pid = peer.pid;
    a->memory->start_time = start_time(peer.pid);
    atomic_store(&a->memory->intents_free, ~(uint64_t)0);
    atomic_store(&a->memory->blocks_free, ~(uint64_t)0);
    memory_seal(fd);
    a->next = arenas;
    arenas = a;
    results.processes++;
    struct lockstep_message reply = {.type = LOCKSTEP_MESSAGE_ATTACHED, .abi_version = (uint32_t)options.abi_version,
                                     .arena = a->number, .pid = peer.pid, .start_time = a->memory->start_time};
    struct iovec part = {&reply, sizeof reply};
    union { char bytes[CMSG_SPACE(3 * sizeof(int))]; struct cmsghdr align; } control_part;
    memset(&control_part, 0, sizeof control_part);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control_part.bytes, .msg_controllen = sizeof control_part.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(3 * sizeof(int));
    memcpy(CMSG_DATA(header), (int[]){control_read_only, ring_descriptor, fd}, 3 * sizeof(int));
    if (sendmsg(connection, &message, MSG_NOSIGNAL) != sizeof reply && errno != EPIPE && errno != ECONNRESET) fatal("ATTACHED: %m");
    close(fd);
}

static void connection_read(unsigned at) {
    struct lockstep_message asked;
    ssize_t bytes = recv(connections[at], &asked, sizeof asked, MSG_DONTWAIT);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (bytes == sizeof asked)
        attach(connections[at], &asked);
    else {
        if (bytes > 0) violation("a message of %zd bytes on the keeper's socket", bytes);
        close(connections[at]);
        connections[at] = connections[--connection_count];
    }
}

void keeper_poll(void) {
    int fd;
    while (connection_count < CONNECTIONS_MAX && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        connections[connection_count++] = fd;
    for (unsigned i = connection_count; i-- > 0;) connection_read(i);
    for (struct arena *a = arenas; a; a = a->next) {
        if (a->gone) continue;
        struct pollfd look = {.fd = a->pidfd, .events = POLLIN};
        if (poll(&look, 1, 0) > 0) {
            a->gone = true;
            a->gone_reserved = atomic_load(&ring->reserved);
            lockstep_ring_unlock_arena(ring, a->number);
        }
    }
}

void arena_retire_unused(void) {
    for (struct arena **link = &arenas; *link;) {
        struct arena *a = *link;
        if (!a->gone || a->tracked || memory_drained() < a->gone_reserved) {
            link = &a->next;
            continue;
        }
        if (a->durable.sequence && !options.kills) violation("#%lu: a durable write of process %d was never followed by its barrier", a->durable.sequence, a->pid);
        for (uint32_t i = 0; i < a->memory->mappings_used && i < LOCKSTEP_MAPPINGS; i++)
            if (LOCKSTEP_MAPPING_STATE(a->memory->mappings[i].state) == LOCKSTEP_MAPPING_USED) {
                results.mappings_owed++;
                conflicts_mapped(&a->memory->mappings[i]);
            }
        *link = a->next;
        close(a->pidfd);
        munmap(a->memory, sizeof *a->memory);
        free(a);
    }
}
