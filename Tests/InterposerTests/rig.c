/*
 * rig: runs a program under the preload library without keeper and daemon, replays what it captures, and compares.
 *
 *   rig --library LIB --root DIR --mirror EMPTY_DIR [options] -- COMMAND [ARGUMENT...]
 *
 * One thread, one queue. Operations are drained in ring order into the queue; each is settled when its producer said
 * `done`, or died; the head of the queue is carried out in the mirror once it is settled. A barrier is answered when
 * everything before it is settled or has been in a living process's hands for 20 ms (a stopped producer stops nobody).
 *
 *        ring ──drain──> [ op | op | barrier | op ... ] ──head is settled──> tree_apply
 *                          └ looked at: done? lost?
 *
 * Ends when COMMAND and all its descendants have ended (it is their reaper). Prints one line of JSON.
 */
#define _GNU_SOURCE
#include "Rig/rig.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define IN_HAND_NANOSECONDS 20000000ull
#define DIFFERENCES_SHOWN_MAX 40

struct rig_options options = {
    .slots = 1024, .revoke_milliseconds = 20, .wait_bound_milliseconds = 10000, .timeout_seconds = 120, .answer = LOCKSTEP_ANSWER_OK,
    .abi_version = LOCKSTEP_ABI_VERSION,
};
struct rig_results results;
static struct operation *head, **tail = &head;

/* ------------------------------------------------------------------ messages */

static void say(uint64_t *counter, const char *format, va_list arguments) {
    if (++*counter > DIFFERENCES_SHOWN_MAX) return;
    int saved = errno;
    fprintf(stderr, "rig: ");
    errno = saved;
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
}

void violation(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(&results.violations, format, arguments);
    va_end(arguments);
}

void difference(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(&results.differences, format, arguments);
    va_end(arguments);
}

void fatal(const char *format, ...) {
    uint64_t once = 0;
    va_list arguments;
    va_start(arguments, format);
    say(&once, format, arguments);
    va_end(arguments);
    exit(LOCKSTEP_EXIT_OS);
}

uint64_t now_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------ the queue */

static void drain(bool at_end) {
    struct operation *o;
    while ((o = memory_drain(at_end))) {
        *tail = o;
        tail = &o->next;
        if (o->intent.kind == LOCKSTEP_KIND_BARRIER) results.barriers++;
        else results.operations++;
    }
}

static void settle(void) {
    bool all_before = true;
    uint64_t now = now_nanoseconds();
    for (struct operation *o = head; o; o = o->next) {
        memory_look(o);
        if (o->intent.kind == LOCKSTEP_KIND_BARRIER && all_before && !o->answered && now - o->drained_at >= options.hold_answers_milliseconds * 1000000ull) {
            memory_answer(o);
            memory_set_released(o->sequence + 1);
        }
        bool settled = o->done || o->lost || o->answered || (o->intent.kind != LOCKSTEP_KIND_BARRIER && now - o->drained_at > IN_HAND_NANOSECONDS);
        all_before = all_before && settled;
    }
}

static void carry_out(void) {
    while (head && (head->done || head->lost)) {
        struct operation *o = head;
        bool excused = o->lost ? (conflicts_lost(o), true) : conflicts_note(o);
        if (options.trace) operation_trace(o);
        if (o->done) tree_apply(o, excused);
        head = o->next;
        if (!head) tail = &head;
        free(o->payload);
        free(o);
    }
}

static bool step(bool at_end) {
    keeper_poll();
    drain(at_end);
    settle();
    carry_out();
    arena_retire_unused();
    return head != NULL || !memory_empty();
}

/* ------------------------------------------------------------------ the program */

static pid_t start(char **command) {
    pid_t child = fork();
    if (child < 0) fatal("fork: %m");
    if (child) return child;
    umask(options.umask);
    char preload[LOCKSTEP_PATH_BYTES_MAX * 2];
    const char *others = getenv("LD_PRELOAD");
    snprintf(preload, sizeof preload, "%s%s%s", options.library, others && *others ? ":" : "", others ? others : "");
    if (*options.library) setenv("LD_PRELOAD", preload, 1);
    setenv(LOCKSTEP_SOCKET_VARIABLE, keeper_socket_name(), 1);
    execvp(command[0], command);
    fprintf(stderr, "rig: %s: %m\n", command[0]);
    _exit(errno == ENOENT ? LOCKSTEP_EXIT_NOT_FOUND : LOCKSTEP_EXIT_UNCOVERED);
}

/* Everything descends from this process, which reaps it; nothing else is touched. */
static void kill_descendants(pid_t of) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", of, of);
    FILE *children = fopen(path, "re");
    for (int pid; children && fscanf(children, "%d", &pid) == 1;) {
        kill_descendants(pid);
        kill(pid, SIGKILL);
    }
    if (children) fclose(children);
}

static int run(char **command) {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) fatal("subreaper: %m");
    pid_t child = start(command);
    int status = 0, code = -1;
    uint64_t end = now_nanoseconds() + options.timeout_seconds * 1000000000ull;
    for (bool alive = true; alive;) {
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) != 0;) {
            if (pid < 0) {
                alive = false;
                break;
            }
            if (pid == child) code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        bool busy = step(false);
        if (now_nanoseconds() > end) {
            difference("time is up after %u s; what still ran was killed", options.timeout_seconds);
            end = UINT64_MAX;
            kill_descendants(getpid());
        }
        if (alive && (!busy || memory_empty())) memory_doze();
    }
    /* Nobody writes any more: what is reserved and not published never will be, what is not done never will be. */
    while (step(true)) {}
    return code;
}

/* ------------------------------------------------------------------ arguments */

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: rig --library LIB --root DIR --mirror EMPTY_DIR [--trace FILE] [--report FILE] [--slots N] [--revoke-after MS]\n"
                    "           [--hold-answers MS] [--answer-error] [--wait-bound MS] [--exclude SUFFIX]... [--expect-exit N] [--kills]\n"
                    "           [--abi-version N] [--closed] [--io-uring] [--timeout S] -- COMMAND [ARGUMENT...]\n");
    exit(LOCKSTEP_EXIT_USAGE);
}

static uint32_t number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (!*text || *end || value > UINT32_MAX) usage();
    return (uint32_t)value;
}

static char **arguments(int count, char **values) {
    static const struct option names[] = {
        {"library", 1, 0, 'l'}, {"root", 1, 0, 'r'}, {"mirror", 1, 0, 'm'}, {"trace", 1, 0, 't'}, {"report", 1, 0, 'R'}, {"slots", 1, 0, 's'},
        {"revoke-after", 1, 0, 'v'}, {"hold-answers", 1, 0, 'h'}, {"answer-error", 0, 0, 'e'}, {"wait-bound", 1, 0, 'w'}, {"exclude", 1, 0, 'x'},
        {"expect-exit", 1, 0, 'E'}, {"kills", 0, 0, 'k'}, {"abi-version", 1, 0, 'a'}, {"closed", 0, 0, 'c'},
        {"io-uring", 0, 0, 'u'}, {"timeout", 1, 0, 'T'}, {0}};
    for (int option; (option = getopt_long(count, values, "+", names, NULL)) != -1;) {
        switch (option) {
        case 'l': options.library = *optarg ? realpath(optarg, NULL) : ""; break;
        case 'r': options.root = realpath(optarg, NULL); break;
        case 'm': options.mirror = realpath(optarg, NULL); break;
        case 't': options.trace = fopen(optarg, "we"); break;
        case 'R': options.report = optarg; break;
        case 's': options.slots = number(optarg); break;
        case 'v': options.revoke_milliseconds = number(optarg); break;
        case 'h': options.hold_answers_milliseconds = number(optarg); break;
        case 'e': options.answer = LOCKSTEP_ANSWER_ERROR; break;
        case 'w': options.wait_bound_milliseconds = number(optarg); break;
        case 'E': options.expect_exit = (int)number(optarg); break;
        case 'k': options.kills = true; break;
        case 'a': options.abi_version = (int)number(optarg); break;
        case 'c': options.close_ring = true; break;
        case 'u': options.io_uring = true; break;
        case 'T': options.timeout_seconds = number(optarg); break;
        case 'x':
            if (options.exclusion_count == LOCKSTEP_EXCLUSIONS_MAX) usage();
            options.exclusions[options.exclusion_count++] = optarg;
            break;
        default: usage();
        }
    }
    if (!options.library || !options.root || !options.mirror || optind >= count) usage();
    if (options.slots < 2 || options.slots & (options.slots - 1)) usage();
    return values + optind;
}

int main(int count, char **values) {
    char **command = arguments(count, values);
    if (options.exclusion_count == 0) options.exclusions[options.exclusion_count++] = "-shm";
    root_directory = open(options.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mirror_directory = open(options.mirror, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_directory < 0 || mirror_directory < 0) fatal("opening the directories: %m");
    struct lockstep_object object;
    struct stat status;
    if (!identity(root_directory, ".", &object, &status)) fatal("%s: its file system gives no identities: %m", options.root);
    options.umask = umask(0); /* the mirror gets modes as recorded; COMMAND gets the old one back */
    tree_first_copy();
    memory_create(object, status.st_dev);
    keeper_listen();
    int code = run(command);
    conflicts_repair();
    tree_report_orphans(conflicts_in_names());
    compare_trees();
    if (results.undone && !options.kills) violation("%lu operations were never done, though nobody was killed", results.undone);
    FILE *report = options.report ? fopen(options.report, "we") : stdout;
    if (!report) fatal("%s: %m", options.report);
    fprintf(report, "{\"operations\":%lu,\"barriers\":%lu,\"revoked\":%lu,\"differences\":%lu,\"exit\":%d,\"violations\":%lu,\"repairs\":%lu,\"undone\":%lu,\"stale\":%lu,\"processes\":%lu,\"mappings_owed\":%lu}\n",
            results.operations, results.barriers, results.revoked, results.differences, code, results.violations, results.repairs, results.undone, results.stale, results.processes, results.mappings_owed);
    fflush(report);
    return results.differences || results.violations || code != options.expect_exit;
}
