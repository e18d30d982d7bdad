/*
 * lockstep-observer: runs a program for `lockstep audit`, sees each call by which it and its descendants change files, and by
 * which route each is made; then it becomes the command that says what that means.
 *
 *     lockstep audit --exec--> lockstep-observer --exec--> lockstep audit --evidence FD
 *                                | filter, library
 *                              CMD and its descendants
 *
 * One process all the time, so that signals, terminal and parent find what they would find of CMD. Nothing is captured: the
 * library is loaded and finds nobody to attach to, so each call goes to the kernel as it was made, but from the stub page when a
 * wrapper made it. The filter notifies of all of them. A file is changed by a call that comes from there, or from elsewhere: there
 * is no third, so the counts by route are exact.
 *
 * Order of reading: treatments.h, observe.c, subject.c, routes.c, starts.c, evidence.c.
 */
#include "CCaptureABI.h"
#include "../CGuard/caller.h"
#include "../CKeeper/coverage.h"
#include "../CKeeper/filter.h"
#include "../CKeeper/guard.h"
#include "../CKeeper/launch.h"
#include "../CKeeper/say.h"
#include "admit.h"
#include "evidence.h"
#include "observe.h"
#include "routes.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char usage[] =
    "usage: lockstep-observer --library FILE --reporter FILE [--root DIR]... [--exclude SUFFIX]... [--json] [--output FILE] -- COMMAND [ARGUMENT...]";

static struct {
    const char *library, *reporter, *output;
    bool json;
    char **command;
} options;

static void parse(int count, char **arguments) {
    static const struct option known[] = {
        {"library", required_argument, NULL, 'l'}, {"reporter", required_argument, NULL, 'p'}, {"root", required_argument, NULL, 'r'},
        {"exclude", required_argument, NULL, 'x'}, {"json", no_argument, NULL, 'j'}, {"output", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    opterr = 0;
    for (int option; (option = getopt_long(count, arguments, "+", known, NULL)) != -1;) {
        if (option == 'l') options.library = optarg;
        else if (option == 'p') options.reporter = optarg;
        else if (option == 'j') options.json = true;
        else if (option == 'o') options.output = optarg;
        else if (option == 'x' && tree_add_exclusion(optarg)) continue;
        else if (option == 'r' && tree_add_root(optarg)) continue;
        else if (option == 'r') refuse(LOCKSTEP_EXIT_USAGE, "more than %d directories", TREE_ROOTS_MAX);
        else refuse(LOCKSTEP_EXIT_USAGE, "%s", usage);
    }
    options.command = arguments + optind;
    if (options.library == NULL || options.reporter == NULL || options.command[0] == NULL) refuse(LOCKSTEP_EXIT_USAGE, "%s", usage);
}

/* ------------------------------------------------------------------ what launch.c asks the guard for */

static bool keeps_privileges;

bool guard_is_on(void) { return true; }

bool guard_reap(pid_t ended, int status, int64_t now) {
    (void)ended, (void)status, (void)now;
    return false;
}

void guard_listen(int listener, bool no_new_privileges) {
    keeps_privileges = !no_new_privileges;
    if (!observe_start(listener, keeps_privileges)) refuse(LOCKSTEP_EXIT_OS, "the observer: %s", strerror(errno));
}

/* ------------------------------------------------------------------ the audit */

static void serve_until_end(int signals) {
    while (!launch_has_ended(milliseconds_now())) {
        struct pollfd interests[2] = {{.fd = signals, .events = POLLIN}, admit_interest()};
        if (poll(interests, 2, -1) < 0) continue;
        admit_serve(interests[1].revents);
        if (interests[0].revents != 0) launch_signals(signals);
    }
    observe_wait();
}

static _Noreturn void become_reporter(int evidence) {
    char number[16];
    const char *arguments[8] = {options.reporter, "audit", "--evidence", number};
    int count = 4;
    if (options.json) arguments[count++] = "--json";
    if (options.output != NULL) {
        arguments[count++] = "--output";
        arguments[count++] = options.output;
    }
    snprintf(number, sizeof number, "%d", evidence);
    launch_restore();
    execv(options.reporter, (char *const *)(uintptr_t)arguments);
    refuse(LOCKSTEP_EXIT_OS, "%s: %s", options.reporter, strerror(errno));
}

int main(int count, char **arguments) {
    char program[PATH_MAX], socket_name[ADMIT_NAME_BYTES];
    parse(count, arguments);
    if (getenv(LOCKSTEP_SOCKET_VARIABLE) != NULL) refuse(LOCKSTEP_EXIT_REFUSED, "this is inside a lockstep run or audit: start the audit outside");
    coverage_find(options.command[0], program);
    caller_prepare();
    routes_prepare(options.library);
    filter_observe();
    int signals = launch_prepare();
    int evidence = memfd_create("lockstep-evidence", 0);
    if (signals < 0 || evidence < 0 || !admit_listen(socket_name)) refuse(LOCKSTEP_EXIT_OS, "the observer cannot be set up: %s", strerror(errno));
    launch_command(program, options.command, options.library, socket_name);
    serve_until_end(signals);
    int written = evidence_write(evidence, launch_exit_status(), keeps_privileges);
    if (written != 0) refuse(LOCKSTEP_EXIT_OS, "the evidence: %s", strerror(-written));
    become_reporter(evidence);
}
