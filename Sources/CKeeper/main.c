/*
 * lockstep-keeper: starts an application under the preload library and stays as its parent.
 *
 *     lockstep-keeper --node-directory DIR --library /abs/liblockstep.so [--wait-bound SECONDS] -- CMD ARGS...
 *
 *                      capture.sock                        abstract socket
 *     lockstepd  <------------------->  lockstep-keeper  <------------------->  processes of the application
 *                 HELLO, WELCOME                           ATTACH, ATTACHED
 *                 ARENA, RETIRED                           one arena for each, after every fork and exec
 *
 * The keeper holds all shared memory, so that the application survives the daemon's death: what it captured meanwhile
 * waits in the memory for the next daemon, which takes it back from here. One thread, one poll, no memory of its own
 * that grows: a process costs one place in a fixed table, one arena and two descriptors.
 *
 * What does not come through the library is left to the guard: a filter that the application inherits (filter.c), and a
 * process beside it that answers (guard.c, ../CGuard).
 *
 * Order of reading: coverage.c (may it be started?), daemon.c, attach.c, arenas.c, guard.c, launch.c.
 */
#include "CCaptureABI.h"
#include "arenas.h"
#include "attach.h"
#include "coverage.h"
#include "daemon.h"
#include "guard.h"
#include "launch.h"
#include "say.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_BOUND_SECONDS_DEFAULT = 30, WAIT_BOUND_SECONDS_MAX = 86400 };

struct options {
    const char *node_directory;
    const char *library;
    int wait_bound_seconds;
    char **command;
};

static const char usage[] =
    "usage: lockstep-keeper --node-directory DIR --library FILE [--wait-bound SECONDS] -- COMMAND [ARGUMENT...]";

static int parse_seconds(const char *text) {
    char *end;
    errno = 0;
    long seconds = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || seconds < 1 || seconds > WAIT_BOUND_SECONDS_MAX)
        refuse(LOCKSTEP_EXIT_USAGE, "--wait-bound %s: give 1 to %d seconds", text, WAIT_BOUND_SECONDS_MAX);
    return (int)seconds;
}

static struct options parse(int count, char **arguments) {
    static const struct option known[] = {
        {"node-directory", required_argument, NULL, 'n'},
        {"library", required_argument, NULL, 'l'},
        {"wait-bound", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.wait_bound_seconds = WAIT_BOUND_SECONDS_DEFAULT};
    opterr = 0;
    for (int option; (option = getopt_long(count, arguments, "+", known, NULL)) != -1;) {
        if (option == 'n') options.node_directory = optarg;
        else if (option == 'l') options.library = optarg;
        else if (option == 'w') options.wait_bound_seconds = parse_seconds(optarg);
        else refuse(LOCKSTEP_EXIT_USAGE, "%s", usage);
    }
    options.command = arguments + optind;
    if (options.node_directory == NULL || options.library == NULL || options.command[0] == NULL)
        refuse(LOCKSTEP_EXIT_USAGE, "%s", usage);
    /* The loader would split the path there, and ignore both halves. */
    if (options.library[0] != '/' || strpbrk(options.library, ": \t\n") != NULL)
        refuse(LOCKSTEP_EXIT_USAGE, "--library %s: give an absolute path without blanks and colons", options.library);
    return options;
}

static int sooner(int a, int b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

/*
 * What a process published last may lie nowhere but in our memory. A serving daemon has its own descriptors of all that
 * is announced; while it is away, an ended application's memory is kept for it, up to the bound.
 */
static bool may_leave(int64_t now, bool asked_to_end) {
    if (arenas_living() == 0 || daemon_has_refused() || asked_to_end) return true;
    return daemon_is_serving() ? arenas_first_unannounced() == NULL : daemon_is_overdue(now);
}

static bool has_ended, asked_to_end;

/* One round; `timeout` at most. */
static void serve(int signals, int timeout) {
    enum { SIGNALS, DAEMON, GUARD, ATTACH };
    struct pollfd interests[ATTACH + 1 + ATTACH_CONNECTIONS_MAX];
    int64_t now = milliseconds_now();
    interests[SIGNALS] = (struct pollfd){.fd = signals, .events = POLLIN};
    interests[DAEMON] = daemon_interest();
    interests[GUARD] = guard_interest();
    int attaching = attach_interest(interests + ATTACH);
    timeout = sooner(timeout, sooner(guard_timeout(now), sooner(daemon_timeout(now), attach_timeout(now))));
    if (poll(interests, (nfds_t)(ATTACH + attaching), timeout) < 0 && errno != EINTR) {
        say("poll: %s", strerror(errno));
        return;
    }
    now = milliseconds_now();
    daemon_serve(interests[DAEMON].revents, now);
    attach_serve(interests + ATTACH, attaching, now);
    daemon_announce(now);
    attach_answer();
    arenas_prepare();
    guard_serve(interests[GUARD].revents, now);
    guard_report(now, false);
    /* Last, so that who attached before CMD's end is announced before we leave. */
    if (interests[SIGNALS].revents != 0) asked_to_end |= launch_signals(signals) && has_ended;
}

static void serve_until_end(int signals) {
    for (;;) {
        int64_t now = milliseconds_now();
        if (!has_ended) has_ended = launch_has_ended(now);
        if (has_ended) guard_report(now, true);
        if (has_ended && may_leave(now, asked_to_end)) return;
        serve(signals, -1);
    }
}

/* The agent attaches as every program does, before CMD. */
static void start_guard(int signals, const char *library, const char *socket_name) {
    guard_start(library, socket_name);
    while (guard_is_starting(milliseconds_now())) {
        serve(signals, -1);
        launch_has_ended(milliseconds_now()); /* reaps it, if it died */
    }
}

int main(int count, char **arguments) {
    struct options options = parse(count, arguments);
    if (getenv(LOCKSTEP_SOCKET_VARIABLE) != NULL)
        refuse(LOCKSTEP_EXIT_REFUSED, "this is inside a lockstep run already: start %s directly, it is covered", options.command[0]);
    char program[PATH_MAX], socket_name[ATTACH_NAME_BYTES];
    struct memory memory;
    guard_probe();
    bool is_covered = coverage_check(options.command[0], options.library, guard_is_possible(), guard_keeps_privileges(), program);
    daemon_meet(options.node_directory, options.wait_bound_seconds, &memory);
    int signals = launch_prepare();
    if (signals < 0 || !attach_listen(&memory, socket_name))
        refuse(LOCKSTEP_EXIT_OS, "the keeper cannot be set up: %s", strerror(errno));
    arenas_prepare();
    start_guard(signals, options.library, socket_name);
    if (!guard_is_on()) {
        if (!is_covered) refuse(LOCKSTEP_EXIT_UNCOVERED, "%s is for the guard to cover, which is off: %s", program, guard_reason());
        say("guard: off (%s): system calls that do not come through the library are not seen", guard_reason());
    }
    launch_command(program, options.command, options.library, socket_name);
    serve_until_end(signals);
    return launch_exit_status();
}
