#include "launch.h"

#include "CCaptureABI.h"
#include "filter.h"
#include "guard.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
/* What would stop or kill the keeper by itself, or lose CMD's status. */
static const int changed[] = {SIGPIPE, SIGTTOU, SIGCHLD};
enum { FORWARDED_COUNT = sizeof forwarded / sizeof *forwarded, CHANGED_COUNT = sizeof changed / sizeof *changed };

static sigset_t mask_before;
static struct sigaction actions_before[CHANGED_COUNT];
static struct rlimit limit_before;
static pid_t command;      /* 0: it has ended */
static int command_status;

int launch_prepare(void) {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return -1;
    if (getrlimit(RLIMIT_NOFILE, &limit_before) != 0) return -1;
    struct rlimit raised = {.rlim_cur = limit_before.rlim_max, .rlim_max = limit_before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &raised); /* two descriptors for each process */
    sigset_t mask;
    sigemptyset(&mask);
    for (int index = 0; index < FORWARDED_COUNT; index++) sigaddset(&mask, forwarded[index]);
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, &mask_before) != 0) return -1;
    for (int index = 0; index < CHANGED_COUNT; index++) {
        struct sigaction action = {.sa_handler = changed[index] == SIGCHLD ? SIG_DFL : SIG_IGN};
        if (sigaction(changed[index], &action, &actions_before[index]) != 0) return -1;
    }
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

void launch_ignore_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int index = 0; index < FORWARDED_COUNT; index++) signal(forwarded[index], SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void launch_restore(void) {
    setrlimit(RLIMIT_NOFILE, &limit_before);
    for (int index = 0; index < CHANGED_COUNT; index++) sigaction(changed[index], &actions_before[index], NULL);
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

void launch_cover(const char *library, const char *socket_name) {
    const char *before = getenv("LD_PRELOAD");
    char *preload = NULL;
    if (before != NULL && before[0] != 0) {
        if (asprintf(&preload, "%s:%s", library, before) < 0) _exit(LOCKSTEP_EXIT_OS);
        setenv("LD_PRELOAD", preload, 1);
    } else {
        setenv("LD_PRELOAD", library, 1);
    }
    setenv(LOCKSTEP_SOCKET_VARIABLE, socket_name, 1);
}

/* What the child says before it is CMD: first its listener, then, if exec failed, errno. By sendmsg: its writes are
   under the filter already. */
struct word {
    int failed;
    bool no_new_privileges;
};

static void say_word(int socket, struct word word, int listener) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } space = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec body = {&word, sizeof word};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1};
    if (listener >= 0) {
        message.msg_control = space.bytes;
        message.msg_controllen = sizeof space.bytes;
        memcpy(CMSG_DATA(&space.header), &listener, sizeof listener);
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL) != sizeof word) _exit(LOCKSTEP_EXIT_UNCOVERED);
}

/* False: it has become CMD. */
static bool hear_word(int socket, struct word *word, int *listener) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } space;
    struct iovec body = {word, sizeof *word};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    ssize_t bytes;
    do bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC); while (bytes < 0 && errno == EINTR);
    if (bytes != sizeof *word) return false;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) memcpy(listener, CMSG_DATA(header), sizeof *listener);
    return true;
}

static _Noreturn void become_command(const char *program, char *const arguments[], const char *library, const char *socket_name, int socket) {
    struct word word = {0};
    launch_cover(library, socket_name);
    launch_restore();
    if (guard_is_on()) {
        int listener = filter_install(&word.no_new_privileges);
        if (listener < 0) word.failed = errno;
        say_word(socket, word, listener);
        if (listener < 0) _exit(LOCKSTEP_EXIT_UNCOVERED);
        fcntl(listener, F_SETFD, FD_CLOEXEC);
    }
    execv(program, arguments);
    word.failed = errno;
    say_word(socket, word, -1);
    _exit(LOCKSTEP_EXIT_UNCOVERED);
}

void launch_command(const char *program, char *const arguments[], const char *library, const char *socket_name) {
    int pair[2]; /* closed by exec */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || (command = fork()) < 0)
        refuse(LOCKSTEP_EXIT_OS, "%s cannot be started: %s", program, strerror(errno));
    if (command == 0) become_command(program, arguments, library, socket_name, pair[1]);
    close(pair[1]);
    struct word word = {0};
    int listener = -1;
    if (guard_is_on() && hear_word(pair[0], &word, &listener)) {
        if (word.failed != 0) refuse(LOCKSTEP_EXIT_OS, "no seccomp listener: %s", strerror(word.failed));
        guard_listen(listener, word.no_new_privileges);
    }
    bool has_failed = hear_word(pair[0], &word, &listener);
    close(pair[0]);
    if (has_failed)
        refuse(word.failed == ENOENT ? LOCKSTEP_EXIT_NOT_FOUND : LOCKSTEP_EXIT_UNCOVERED, "%s cannot be started: %s", program,
               strerror(word.failed));
}

/* ------------------------------------------------------------------ signals */

/* A daemonizing CMD has ended before its server: what it left behind are our children now. */
static void signal_orphans(int number) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ssize_t bytes = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    text[bytes > 0 ? bytes : 0] = 0;
    for (char *next = text, *end; ; next = end) {
        long pid = strtol(next, &end, 10);
        if (end == next || *end != ' ') return; /* the last one, if cut off, has no blank behind it */
        kill((pid_t)pid, number);
    }
}

static void forward(const struct signalfd_siginfo *signal) {
    /* A terminal has signalled its whole foreground group, CMD included: twice would be once too often. */
    if (signal->ssi_code == SI_KERNEL) return;
    int number = (int)signal->ssi_signo;
    if (command > 0) kill(command, number); /* not reaped yet, so the pid is still its own */
    else signal_orphans(number);
}

bool launch_signals(int signals) {
    struct signalfd_siginfo signal;
    bool asks_to_end = false;
    while (read(signals, &signal, sizeof signal) == sizeof signal) {
        if (signal.ssi_signo == SIGCHLD) continue;
        forward(&signal);
        asks_to_end |= signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT || signal.ssi_signo == SIGQUIT
            || signal.ssi_signo == SIGHUP;
    }
    return asks_to_end;
}

/* ------------------------------------------------------------------ the end */

bool launch_has_ended(int64_t now) {
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, WNOHANG);
        if (ended == 0) return false;
        if (ended < 0 && errno == EINTR) continue;
        if (ended < 0) return true; /* ECHILD: as subreaper we would have inherited whoever is left */
        if (guard_reap(ended, status, now) || ended != command) continue;
        command = 0;
        command_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

int launch_exit_status(void) { return command_status; }
