#include "attach.h"

#include "CCaptureABI.h"
#include "arenas.h"
#include "daemon.h"
#include "guard.h"
#include "message.h"
#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    SILENT_MILLISECONDS = 10000, /* who says nothing for so long gives way, but only when all places are taken */
    DESCRIPTORS_SPARE = 8,       /* kept free: to reconnect to the daemon, and to refuse with a text */
};

struct waiting {
    int connection;      /* -1: free */
    struct arena *arena; /* NULL: has not said ATTACH yet */
    int64_t since;
};

static int listener = -1;
static int reserve = -1; /* given up for a moment to accept, and refuse, when there is no descriptor left */
static struct waiting table[ATTACH_CONNECTIONS_MAX];
static int waiting_count;
static const struct memory *memory;
static int descriptors_max;

bool attach_listen(const struct memory *shared, char name[ATTACH_NAME_BYTES]) {
    unsigned char random[16];
    memory = shared;
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++) table[index].connection = -1;
    if (getrandom(random, sizeof random, 0) != sizeof random) return false;
    int bytes = snprintf(name, ATTACH_NAME_BYTES, "lockstep-");
    for (size_t index = 0; index < sizeof random; index++) bytes += snprintf(name + bytes, 3, "%02x", random[index]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, (size_t)bytes); /* a leading zero: abstract */
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)bytes);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
    descriptors_max = limit.rlim_cur > 1u << 30 ? 1 << 30 : (int)limit.rlim_cur;
    reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return reserve >= 0 && listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0
        && listen(listener, BACKLOG) == 0;
}

/* ------------------------------------------------------------------ places */

static void drop(struct waiting *place) {
    close(place->connection);
    place->connection = -1;
    place->arena = NULL;
    waiting_count--;
}

static void refuse_attach(int connection, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse_attach(int connection, int code, const char *format, ...) {
    struct lockstep_message refusal = {
        .type = LOCKSTEP_MESSAGE_REFUSED, .abi_version = LOCKSTEP_ABI_VERSION, .code = code};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal.text, sizeof refusal.text, format, arguments);
    va_end(arguments);
    say("a process was not attached: %s", refusal.text);
    message_send(connection, &refusal, NULL, 0);
}

/* The place of the one that has been silent longest, or NULL if all are served soon. */
static struct waiting *most_silent(int64_t now) {
    struct waiting *oldest = NULL;
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++) {
        struct waiting *place = &table[index];
        if (place->connection < 0 || place->arena != NULL || now - place->since < SILENT_MILLISECONDS) continue;
        if (oldest == NULL || place->since < oldest->since) oldest = place;
    }
    return oldest;
}

/* ------------------------------------------------------------------ one process */

/* A process of ours or, for root, of anybody: PostgreSQL and others change their user after the start. */
static bool read_peer(int connection, struct ucred *peer) {
    socklen_t bytes = sizeof *peer;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, peer, &bytes) != 0 || peer->pid <= 0) return false;
    return peer->uid == geteuid() || geteuid() == 0;
}

/* NULL: it has been refused. */
static struct arena *make_arena(int connection) {
    struct ucred peer;
    if (!read_peer(connection, &peer)) {
        refuse_attach(connection, LOCKSTEP_EXIT_REFUSED, "it runs as another user, or in a PID namespace of its own");
        return NULL;
    }
    uint64_t start_time;
    int process = process_open(connection, peer.pid, &start_time);
    if (process < 0) {
        if (errno == ESRCH) return NULL; /* it is gone */
        refuse_attach(connection, LOCKSTEP_EXIT_OS, "process %d: %s", peer.pid, strerror(errno));
        return NULL;
    }
    struct arena *arena = NULL;
    if (process >= descriptors_max - DESCRIPTORS_SPARE) errno = EMFILE;
    else arena = arenas_make(process, peer.pid, start_time, memory->incarnation);
    if (arena == NULL) {
        if (errno == EAGAIN)
            refuse_attach(connection, LOCKSTEP_EXIT_BOUND, "process %d: all %u arenas of this run are in use", peer.pid, arenas_count());
        else
            refuse_attach(connection, LOCKSTEP_EXIT_OS, "process %d: no arena: %s", peer.pid, strerror(errno));
        close(process);
    }
    return arena;
}

static void hear(struct waiting *place) {
    struct lockstep_message message;
    int outcome = message_receive_plain(place->connection, &message);
    if (outcome < 0 && errno == EAGAIN) return;
    if (outcome == 1 && place->arena == NULL) {
        if (message.abi_version != LOCKSTEP_ABI_VERSION)
            refuse_attach(place->connection, LOCKSTEP_EXIT_PROTOCOL,
                          "its library speaks version %u of the capture ABI, this keeper version %u", message.abi_version,
                          LOCKSTEP_ABI_VERSION);
        else if (message.type != LOCKSTEP_MESSAGE_ATTACH)
            refuse_attach(place->connection, LOCKSTEP_EXIT_PROTOCOL, "it sent an unknown message (type %u)", message.type);
        else if ((place->arena = make_arena(place->connection)) != NULL)
            return;
    }
    /* Closed, refused, malformed, or a second word from one that waits. An arena it may have stays: the daemon sees it die. */
    drop(place);
}

void attach_answer(void) {
    if (waiting_count == 0) return;
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++) {
        struct waiting *place = &table[index];
        if (place->connection < 0 || place->arena == NULL) continue;
        if (daemon_is_serving() && !place->arena->announced) continue;
        struct lockstep_message answer = {
            .type = LOCKSTEP_MESSAGE_ATTACHED,
            .abi_version = LOCKSTEP_ABI_VERSION,
            .arena = place->arena->number,
            .pid = place->arena->pid,
            .start_time = place->arena->start_time,
            .code = guard_is_on() ? LOCKSTEP_ATTACHED_GUARDED : 0,
        };
        const int descriptors[3] = {memory->control_read_only, memory->ring, place->arena->descriptor};
        if (message_send(place->connection, &answer, descriptors, 3) != 0 && errno != EPIPE && errno != ECONNRESET)
            say("process %d was not attached: %s", answer.pid, strerror(errno));
        drop(place);
    }
}

/* ------------------------------------------------------------------ in the loop */

static void accept_without_descriptors(void) {
    close(reserve);
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection >= 0) {
        refuse_attach(connection, LOCKSTEP_EXIT_OS, "no file descriptor is left in the keeper (limit %d)", descriptors_max);
        close(connection);
    }
    reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_all(int64_t now) {
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++) {
        if (table[index].connection >= 0) continue;
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0) {
            if (errno == EMFILE || errno == ENFILE) accept_without_descriptors();
            return;
        }
        table[index] = (struct waiting){.connection = connection, .since = now};
        waiting_count++;
        hear(&table[index]); /* most have written already */
    }
}

int attach_interest(struct pollfd *interests) {
    int count = 0;
    bool full = waiting_count == ATTACH_CONNECTIONS_MAX;
    interests[count++] = (struct pollfd){.fd = full ? -1 : listener, .events = POLLIN};
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++)
        if (table[index].connection >= 0)
            interests[count++] = (struct pollfd){.fd = table[index].connection, .events = POLLIN};
    return count;
}

int attach_timeout(int64_t now) {
    if (waiting_count < ATTACH_CONNECTIONS_MAX) return -1;
    int64_t next = SILENT_MILLISECONDS;
    for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++)
        if (table[index].arena == NULL && table[index].since + SILENT_MILLISECONDS - now < next)
            next = table[index].since + SILENT_MILLISECONDS - now;
    return next > 0 ? (int)next : 0;
}

void attach_serve(const struct pollfd *interests, int count, int64_t now) {
    for (int ready = 1; ready < count; ready++) {
        if (interests[ready].revents == 0) continue;
        for (int index = 0; index < ATTACH_CONNECTIONS_MAX; index++)
            if (table[index].connection == interests[ready].fd) {
                hear(&table[index]);
                break;
            }
    }
    if (waiting_count == ATTACH_CONNECTIONS_MAX) {
        struct waiting *silent = most_silent(now);
        if (silent != NULL) {
            refuse_attach(silent->connection, LOCKSTEP_EXIT_BOUND, "it said nothing for %d s", SILENT_MILLISECONDS / 1000);
            drop(silent);
        }
    }
    if (interests[0].revents != 0) accept_all(now);
}
