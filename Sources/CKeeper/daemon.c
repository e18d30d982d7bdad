#include "daemon.h"

#include "CCaptureABI.h"
#include "arenas.h"
#include "message.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    RETRY_MILLISECONDS = 50,
    RETRY_REFUSED_MILLISECONDS = 1000, /* another incarnation rarely changes its mind */
    ARENA_NUMBERS = 1u << 20,
};

enum state { AWAY, ASKED, SERVING };

static enum state state = AWAY;
static int directory = -1; /* O_PATH: the path may be longer than sun_path, and may be renamed */
static int connection = -1;
static struct memory *memory;
static int64_t bound_milliseconds;
static int64_t away_since, retry_at, asked_until, announce_at;
static bool told_overdue, refused, blocked;
static uint32_t meetings;

bool daemon_is_serving(void) { return state == SERVING; }
bool daemon_has_refused(void) { return refused; }
uint32_t daemon_meetings(void) { return meetings; }

bool daemon_tell(const struct lockstep_message *message) {
    return state == SERVING && message_send(connection, message, NULL, 0) == 0;
}

/* ------------------------------------------------------------------ connecting */

/* A connected socket, or -1 with errno. `flags`: SOCK_NONBLOCK, once the applications run. */
static int open_connection(int flags) {
    int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
    if (made < 0) return -1;
    struct timeval bound = {.tv_sec = bound_milliseconds / 1000, .tv_usec = 1};
    setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound); /* a full backlog of a stopped daemon */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/capture.sock", directory);
    if (connect(made, (struct sockaddr *)&address, sizeof address) != 0) {
        int failed = errno;
        close(made);
        errno = failed;
        return -1;
    }
    return made;
}

/* Somebody else's process could listen there if the directory let it. */
static bool is_trusted(int made) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(made, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
    return peer.uid == 0 || peer.uid == geteuid() || geteuid() == 0;
}

static int send_hello(int made, const int *descriptors, int count) {
    struct lockstep_message hello = {
        .type = LOCKSTEP_MESSAGE_HELLO,
        .abi_version = LOCKSTEP_ABI_VERSION,
        .pid = getpid(),
        .arena = arenas_first(), /* the range in use, 0 and 0 at first: a new daemon must not give it to another keeper */
        .count = arenas_count(),
    };
    return message_send(made, &hello, descriptors, count);
}

static bool is_range_valid(const struct lockstep_message *welcome) {
    return welcome->count > 0 && welcome->arena < ARENA_NUMBERS && welcome->count <= ARENA_NUMBERS - welcome->arena;
}

/* ------------------------------------------------------------------ the first time: every failure has an exit code */

static int wait_for_welcome(struct lockstep_message *welcome, int *descriptors, int *count) {
    struct pollfd readable = {.fd = connection, .events = POLLIN};
    int64_t until = milliseconds_now() + bound_milliseconds;
    for (;;) {
        int64_t left = until - milliseconds_now();
        int ready = left > 0 ? poll(&readable, 1, (int)left) : 0;
        if (ready == 0)
            refuse(LOCKSTEP_EXIT_BOUND, "the daemon did not answer within %lld s", (long long)(bound_milliseconds / 1000));
        if (ready > 0) return message_receive(connection, welcome, descriptors, count);
        if (errno != EINTR) return -1;
    }
}

void daemon_meet(const char *path, int wait_bound_seconds, struct memory *into) {
    memory = into;
    bound_milliseconds = (int64_t)wait_bound_seconds * 1000;
    directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) refuse(LOCKSTEP_EXIT_NO_INPUT, "node directory %s: %s", path, strerror(errno));
    connection = open_connection(0);
    if (connection < 0) {
        if (errno == EAGAIN)
            refuse(LOCKSTEP_EXIT_BOUND, "the daemon did not answer within %d s", wait_bound_seconds);
        if (errno == EACCES || errno == EPERM)
            refuse(LOCKSTEP_EXIT_REFUSED, "no permission to connect to %s/capture.sock", path);
        refuse(LOCKSTEP_EXIT_UNAVAILABLE, "the daemon is not running (%s/capture.sock: %s)", path, strerror(errno));
    }
    if (!is_trusted(connection))
        refuse(LOCKSTEP_EXIT_REFUSED, "%s/capture.sock belongs to another user's process", path);
    struct lockstep_message welcome;
    int descriptors[MESSAGE_DESCRIPTORS_MAX], count = 0;
    int answered = send_hello(connection, NULL, 0) != 0 ? 0 : wait_for_welcome(&welcome, descriptors, &count);
    if (answered == 0) refuse(LOCKSTEP_EXIT_UNAVAILABLE, "the daemon closed the connection without a word");
    if (answered < 0) refuse(LOCKSTEP_EXIT_PROTOCOL, "the daemon's answer is unreadable: %s", strerror(errno));
    if (welcome.abi_version != LOCKSTEP_ABI_VERSION)
        refuse(LOCKSTEP_EXIT_PROTOCOL, "the daemon speaks version %u of the capture ABI, this keeper version %u",
               welcome.abi_version, LOCKSTEP_ABI_VERSION);
    if (welcome.type == LOCKSTEP_MESSAGE_REFUSED)
        refuse(welcome.code > 0 && welcome.code < 126 ? welcome.code : LOCKSTEP_EXIT_REFUSED, "the daemon refused: %s",
               welcome.text[0] != 0 ? welcome.text : "no reason given");
    if (welcome.type != LOCKSTEP_MESSAGE_WELCOME || count != 2 || !is_range_valid(&welcome))
        refuse(LOCKSTEP_EXIT_PROTOCOL, "the daemon's welcome is malformed");
    char why[160];
    uint64_t incarnation[2];
    if (!memory_check(descriptors[0], descriptors[1], incarnation, why, sizeof why))
        refuse(LOCKSTEP_EXIT_PROTOCOL, "shared memory of the daemon: %s", why);
    if (!memory_adopt(memory, descriptors[0], descriptors[1], incarnation))
        refuse(LOCKSTEP_EXIT_OS, "the control object cannot be opened read-only: %s", strerror(errno));
    arenas_set_range(welcome.arena, welcome.count);
    fcntl(connection, F_SETFL, O_NONBLOCK); /* the only status flag that a socket has here */
    state = SERVING;
    meetings++;
}

/* ------------------------------------------------------------------ later: every failure means to try again */

static void lose(int64_t now, int64_t retry_after) {
    if (state == SERVING) {
        away_since = now;
        told_overdue = false;
        refused = false;
        arenas_forget_announcements();
    }
    close(connection);
    connection = -1;
    state = AWAY;
    blocked = false;
    retry_at = now + retry_after;
}

static void say_refused(const char *why) {
    if (!refused) say("the daemon that came back refuses: %s; applications keep running, their waits end by the bound", why);
    refused = true;
}

static void ask_again(int64_t now) {
    retry_at = now + RETRY_MILLISECONDS;
    connection = open_connection(SOCK_NONBLOCK);
    if (connection < 0) return;
    const int held[2] = {memory->control, memory->ring};
    if (!is_trusted(connection) || send_hello(connection, held, 2) != 0) {
        lose(now, RETRY_MILLISECONDS);
        return;
    }
    state = ASKED;
    asked_until = now + bound_milliseconds;
}

/* A daemon that took our memory back gives it, or nothing, in return; anything else is another incarnation. */
static bool is_ours(const int *descriptors, int count, char *why, size_t why_bytes) {
    uint64_t incarnation[2];
    if (count == 0) return true;
    if (count != 2) {
        snprintf(why, why_bytes, "its welcome is malformed");
        return false;
    }
    if (!memory_check(descriptors[0], descriptors[1], incarnation, why, why_bytes)) return false;
    if (memcmp(incarnation, memory->incarnation, sizeof incarnation) == 0) return true;
    snprintf(why, why_bytes, "it has another incarnation of the shared memory");
    return false;
}

static void take_welcome(const struct lockstep_message *welcome, const int *descriptors, int count, int64_t now) {
    char why[300] = "";
    if (welcome->abi_version != LOCKSTEP_ABI_VERSION)
        snprintf(why, sizeof why, "it speaks version %u of the capture ABI, this keeper version %u", welcome->abi_version,
                 LOCKSTEP_ABI_VERSION);
    else if (welcome->type == LOCKSTEP_MESSAGE_REFUSED)
        snprintf(why, sizeof why, "%s", welcome->text[0] != 0 ? welcome->text : "no reason given");
    else if (welcome->type != LOCKSTEP_MESSAGE_WELCOME || !is_range_valid(welcome))
        snprintf(why, sizeof why, "its welcome is malformed");
    else if (is_ours(descriptors, count, why, sizeof why)) {
        arenas_set_range(welcome->arena, welcome->count);
        state = SERVING;
        meetings++;
        refused = false;
        announce_at = 0;
        say("the daemon is back after %lld ms", (long long)(now - away_since));
        return;
    }
    say_refused(why);
    lose(now, RETRY_REFUSED_MILLISECONDS);
}

static void take(const struct lockstep_message *message, int64_t now) {
    if (message->abi_version != LOCKSTEP_ABI_VERSION || message->type != LOCKSTEP_MESSAGE_RETIRED) {
        say("the daemon sent an unknown message (type %u); connecting again", message->type);
        lose(now, RETRY_MILLISECONDS);
    } else if (!arenas_retire(message->arena)) {
        say("the daemon retired arena %u, which is not announced: ignored", message->arena);
    }
}

static void receive_all(int64_t now) {
    while (connection >= 0) {
        struct lockstep_message message;
        int descriptors[MESSAGE_DESCRIPTORS_MAX], count;
        int outcome = message_receive(connection, &message, descriptors, &count);
        if (outcome < 0 && errno == EAGAIN) return;
        if (outcome <= 0) {
            if (state == SERVING) say("the daemon went away; applications keep running, their durability points wait for it");
            lose(now, RETRY_MILLISECONDS);
            return;
        }
        if (state == ASKED) take_welcome(&message, descriptors, count, now);
        else take(&message, now);
        message_close(descriptors, count);
    }
}

/* ------------------------------------------------------------------ in the loop */

struct pollfd daemon_interest(void) {
    struct pollfd interest = {.fd = connection, .events = POLLIN};
    if (blocked && announce_at == 0) interest.events |= POLLOUT;
    return interest;
}

bool daemon_is_overdue(int64_t now) { return state != SERVING && now - away_since >= bound_milliseconds; }

int daemon_timeout(int64_t now) {
    int64_t next;
    if (state == SERVING) {
        if (announce_at == 0) return -1;
        next = announce_at;
    } else {
        next = state == ASKED ? asked_until : retry_at;
        int64_t overdue_at = away_since + bound_milliseconds;
        if (!told_overdue && overdue_at < next) next = overdue_at;
    }
    return next > now ? (int)(next - now) : 0;
}

void daemon_serve(short events, int64_t now) {
    if (connection >= 0 && events != 0) receive_all(now);
    if (state == ASKED && now >= asked_until) lose(now, RETRY_MILLISECONDS);
    if (state == AWAY && now >= retry_at) ask_again(now);
    if (!told_overdue && daemon_is_overdue(now)) {
        told_overdue = true;
        say("THE DAEMON HAS BEEN AWAY FOR %lld s: nothing is being replicated; durability points end as on_bound says",
            (long long)(bound_milliseconds / 1000));
    }
}

void daemon_announce(int64_t now) {
    if (state != SERVING || now < announce_at) return;
    announce_at = 0;
    blocked = false;
    for (struct arena *arena = arenas_first_unannounced(); arena != NULL; arena = arenas_first_unannounced()) {
        struct lockstep_message message = {
            .type = LOCKSTEP_MESSAGE_ARENA,
            .abi_version = LOCKSTEP_ABI_VERSION,
            .arena = arena->number,
            .pid = arena->pid,
            .start_time = arena->start_time,
        };
        const int descriptors[2] = {arena->descriptor, arena->process};
        if (message_send(connection, &message, descriptors, 2) == 0) {
            arenas_announced(arena);
            continue;
        }
        if (errno == EAGAIN) {
            blocked = true;
        } else if (errno == ETOOMANYREFS || errno == ENOMEM || errno == ENOBUFS) {
            announce_at = now + RETRY_MILLISECONDS; /* too many descriptors are on their way: the socket would poll writable */
        }
        /* Anything else: it is gone, and receive_all will be told so. */
        return;
    }
}
