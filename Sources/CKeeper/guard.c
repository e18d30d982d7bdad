#include "guard.h"

#include "../CGuard/guarded_calls.h"
#include "../CGuard/shared.h"
#include "CCaptureABI.h"
#include "daemon.h"
#include "filter.h"
#include "launch.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_MILLISECONDS = 10000,
    DEATHS_MAX = 16,                 /* within DEATHS_MILLISECONDS; then it is closed */
    DEATHS_MILLISECONDS = 10000,
    REPORT_MILLISECONDS = 100,
    PROBE_UNPRIVILEGED = 250,        /* no errno */
};

static enum { OFF, POSSIBLE, STARTING, READY } state = OFF;
static char reason[GUARD_TEXT_BYTES] = "not tried";
static char agent_program[PATH_MAX];
static const char *agent_library, *agent_socket_name;
static pid_t agent;                  /* 0: none */
static int connection = -1, memory = -1, listener = -1;
static struct guard_shared *shared;
static int64_t started, deaths_since;
static int deaths;
static bool keeps_privileges;
static bool is_reported;             /* on or off */
static uint32_t reported_to;         /* the daemon that knows it */
static int64_t report_at;            /* 0: nothing to tell */
static struct { uint64_t captured, refused; } told[GUARD_COUNTS_MAX];

bool guard_is_possible(void) { return state == POSSIBLE; }
bool guard_keeps_privileges(void) { return keeps_privileges; }
bool guard_is_on(void) { return state == READY; }
const char *guard_reason(void) { return reason; }

static void turn_off(const char *why) {
    state = OFF;
    is_reported = false;
    snprintf(reason, sizeof reason, "%s", why);
    if (connection >= 0) close(connection);
    connection = -1;
}

/* ------------------------------------------------------------------ is it possible? */

static void explain(int failed) {
    if (failed == EBUSY) turn_off("the container's runtime has the seccomp listener already");
    else if (failed == EINVAL || failed == ENOSYS) turn_off("the kernel has no seccomp listener that waits killably (Linux 5.19)");
    else {
        char why[GUARD_TEXT_BYTES];
        snprintf(why, sizeof why, "no seccomp listener: %s", strerror(failed));
        turn_off(why);
    }
}

void guard_probe(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        bool no_new_privileges;
        if (filter_install(&no_new_privileges) < 0) _exit(errno);
        _exit(no_new_privileges ? PROBE_UNPRIVILEGED : 0);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (child < 0) explain(errno);
    else if (!WIFEXITED(status)) turn_off("a program under the filter died");
    else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != PROBE_UNPRIVILEGED) explain(WEXITSTATUS(status));
    else {
        state = POSSIBLE;
        keeps_privileges = WEXITSTATUS(status) == 0;
        reason[0] = 0;
    }
}

/* ------------------------------------------------------------------ the agent process */

static bool make_memory(void) {
    memory = memfd_create("lockstep-guard", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    off_t bytes = sizeof(struct guard_shared);
    if (memory < 0 || ftruncate(memory, bytes) != 0 || posix_fallocate(memory, 0, bytes) != 0
        || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return false;
    void *mapped = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    shared = mapped == MAP_FAILED ? NULL : mapped;
    return shared != NULL;
}

static _Noreturn void become_agent(int socket) {
    /* Above the places that they are to have, and still without O_CLOEXEC after dup2. */
    int high_socket = fcntl(socket, F_DUPFD_CLOEXEC, 10), high_memory = fcntl(memory, F_DUPFD_CLOEXEC, 10);
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    dup2(high_socket, GUARD_SOCKET);
    dup2(high_memory, GUARD_MEMORY);
    launch_ignore_signals();
    launch_cover(agent_library, agent_socket_name);
    char *const arguments[] = {agent_program, NULL};
    execv(agent_program, arguments);
    _exit(LOCKSTEP_EXIT_NOT_FOUND);
}

static bool start_agent(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) return false;
    agent = fork();
    if (agent == 0) {
        fcntl(pair[1], F_SETFL, 0); /* the agent waits on its end */
        become_agent(pair[1]);
    }
    close(pair[1]);
    if (agent < 0) {
        agent = 0;
        close(pair[0]);
        return false;
    }
    if (connection >= 0) close(connection);
    connection = pair[0];
    state = STARTING;
    return true;
}

void guard_start(const char *library, const char *socket_name) {
    if (state != POSSIBLE) return;
    ssize_t bytes = readlink("/proc/self/exe", agent_program, sizeof agent_program - 16);
    char *end = bytes > 0 ? (agent_program[bytes] = 0, strrchr(agent_program, '/')) : NULL;
    if (end != NULL) strcpy(end + 1, "lockstep-guard");
    agent_library = library;
    agent_socket_name = socket_name;
    started = milliseconds_now();
    if (end == NULL || !make_memory() || !start_agent()) {
        char why[GUARD_TEXT_BYTES];
        snprintf(why, sizeof why, "its agent can't be started: %s", strerror(errno));
        turn_off(why);
    }
}

bool guard_is_starting(int64_t now) {
    if (state == STARTING && now - started > START_MILLISECONDS) {
        kill(agent, SIGKILL);
        turn_off("its agent does not answer");
    }
    return state == STARTING;
}

/* ------------------------------------------------------------------ the listener */

static void give_listener(void) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } space = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec body = {"l", 1};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    memcpy(CMSG_DATA(&space.header), &listener, sizeof listener);
    if (sendmsg(connection, &message, MSG_NOSIGNAL) < 0) kill(agent, SIGKILL); /* another one is started */
}

void guard_listen(int given, bool no_new_privileges) {
    listener = given;
    if (no_new_privileges)
        say("guard: without privileges it needs no_new_privs: programs that gain privileges (sudo, su) will not");
    if (state == READY) give_listener();
}

/* No program is left under the filter. */
static bool is_done(void) {
    struct pollfd hung_up = {.fd = listener};
    return listener >= 0 && poll(&hung_up, 1, 0) == 1 && (hung_up.revents & (POLLHUP | POLLERR)) != 0;
}

bool guard_reap(pid_t ended, int status, int64_t now) {
    if (ended != agent) return false;
    agent = 0;
    if (listener < 0) {
        /* Before CMD: what it said, or that it said nothing. */
        guard_serve(POLLIN, now);
        /* The library did not take its place in the agent, and has said why: it will not in CMD either. */
        if (state != OFF && WIFEXITED(status) && WEXITSTATUS(status) >= LOCKSTEP_EXIT_USAGE && WEXITSTATUS(status) <= LOCKSTEP_EXIT_UNCOVERED)
            exit(WEXITSTATUS(status));
        if (state != OFF) turn_off("its agent, lockstep-guard, can't be started or ended before it was ready");
        return true;
    }
    if (state == OFF || is_done()) return true;
    if (now - deaths_since > DEATHS_MILLISECONDS) {
        deaths_since = now;
        deaths = 0;
    }
    if (++deaths > DEATHS_MAX || !start_agent()) {
        close(listener);
        listener = -1;
        turn_off("its agents die");
        say("THE GUARD IS CLOSED, its agents die: every call that does not come through the library fails");
        return true;
    }
    if (WIFSIGNALED(status)) say("guard: the agent was killed by signal %d; another one goes on", WTERMSIG(status));
    else say("guard: the agent ended with %d; another one goes on", WEXITSTATUS(status));
    return true;
}

/* ------------------------------------------------------------------ in the loop */

struct pollfd guard_interest(void) { return (struct pollfd){.fd = connection, .events = POLLIN}; }

int guard_timeout(int64_t now) {
    if (state == STARTING && listener < 0) return (int)(started + START_MILLISECONDS + 1 - now > 0 ? started + START_MILLISECONDS + 1 - now : 0);
    if (report_at == 0) return -1;
    return report_at > now ? (int)(report_at - now) : 0;
}

void guard_serve(short events, int64_t now) {
    char text[GUARD_TEXT_BYTES];
    if (events == 0) return;
    for (;;) {
        ssize_t bytes = connection < 0 ? -1 : recv(connection, text, sizeof text - 1, MSG_DONTWAIT);
        if (bytes < 0) return;
        text[bytes] = 0;
        if (strcmp(text, "r") == 0) {
            state = READY;
            if (listener >= 0) give_listener();
        } else if (strcmp(text, "c") == 0) {
            if (report_at == 0) report_at = now + REPORT_MILLISECONDS;
        } else if (bytes == 0) {
            close(connection); /* it is dead: guard_reap */
            connection = -1;
        } else if (listener < 0) {
            turn_off(text);
        }
    }
}

/* ------------------------------------------------------------------ what the daemon is told */

static const char *call_name(int number) {
    static const struct { int number; const char *name; } names[] = {
#define GUARDED(number, name, test) {number, name},
        GUARDED_CALLS(GUARDED)
#undef GUARDED
    };
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (names[index].number == number) return names[index].name;
    return number < 0 ? "calls" : "foreign";
}

static bool report_counts(void) {
    for (uint32_t index = 0; shared != NULL && index < GUARD_COUNTS_MAX; index++) {
        struct guard_count *count = &shared->counts[index];
        if (!atomic_load_explicit(&count->used, memory_order_acquire)) break;
        uint64_t captured = atomic_load(&count->captured), refused = atomic_load(&count->refused);
        if (captured == told[index].captured && refused == told[index].refused) continue;
        struct lockstep_message message = {.type = LOCKSTEP_MESSAGE_GUARDED, .abi_version = LOCKSTEP_ABI_VERSION, .arena = index,
            .count = refused > UINT32_MAX ? UINT32_MAX : (uint32_t)refused, .start_time = captured};
        snprintf(message.text, sizeof message.text, "%.*s %s", GUARD_PROGRAM_BYTES - 1, count->program, call_name(count->number));
        if (!daemon_tell(&message)) return false;
        told[index].captured = captured;
        told[index].refused = refused;
    }
    return true;
}

void guard_report(int64_t now, bool at_once) {
    if (reported_to != daemon_meetings()) {
        reported_to = daemon_meetings();
        is_reported = false;
        memset(told, 0, sizeof told);
    }
    if (!daemon_is_serving() || (is_reported && !at_once && (report_at == 0 || now < report_at))) return;
    if (shared != NULL) atomic_store(&shared->rung, 0);
    struct lockstep_message message = {.type = LOCKSTEP_MESSAGE_GUARD, .abi_version = LOCKSTEP_ABI_VERSION, .code = state != OFF};
    snprintf(message.text, sizeof message.text, "%s", reason);
    if (!is_reported && !daemon_tell(&message)) return;
    is_reported = true;
    report_at = report_counts() ? 0 : now + REPORT_MILLISECONDS;
}
