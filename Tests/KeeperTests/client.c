/*
 * client.c: the application of these tests; it attaches as the preload library does, without being one. Its arguments
 * are verbs, done in order; it prints a line for each.
 */
#include "CCaptureABI.h"
#include "access.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int connect_keeper(void) {
    const char *name = getenv(LOCKSTEP_SOCKET_VARIABLE);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (name == NULL) return -1;
    memcpy(address.sun_path + 1, name, strlen(name));
    int keeper = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    if (connect(keeper, (struct sockaddr *)&address, bytes) != 0) {
        perror("connect");
        exit(99);
    }
    return keeper;
}

static int receive(int keeper, struct lockstep_message *message, int *descriptors) {
    union { struct cmsghdr header; char bytes[CMSG_SPACE(4 * sizeof(int))]; } ancillary;
    struct iovec body = {message, sizeof *message};
    struct msghdr header = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    if (recvmsg(keeper, &header, MSG_CMSG_CLOEXEC) != sizeof *message) return -1;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    if (rights == NULL) return 0;
    int count = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(descriptors, CMSG_DATA(rights), (size_t)count * sizeof(int));
    return count;
}

static bool maps(int descriptor, int protection) {
    void *memory = mmap(NULL, 4096, protection, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) return false;
    munmap(memory, 4096);
    return true;
}

/* What a process may do with what it got. */
static const char *check(const struct lockstep_message *message, const int *got) {
    const int both = PROT_READ | PROT_WRITE, seals = F_SEAL_SHRINK | F_SEAL_GROW;
    struct lockstep_control control;
    struct lockstep_arena *arena;
    if ((fcntl(got[0], F_GETFL) & O_ACCMODE) != O_RDONLY) return "control is writable";
    if (maps(got[0], both)) return "control can be mapped writable";
    if (pwrite(got[0], "x", 1, 0) == 1) return "control can be written";
    if (!maps(got[0], PROT_READ) || !maps(got[1], both) || !maps(got[2], both)) return "cannot be mapped";
    if (pread(got[0], &control, sizeof control, 0) != sizeof control || control.magic != LOCKSTEP_MAGIC_CONTROL) return "control's magic";
    if ((fcntl(got[0], F_GET_SEALS) & seals) != seals || (fcntl(got[1], F_GET_SEALS) & seals) != seals) return "seals";
    if (fcntl(got[2], F_GET_SEALS) != (seals | F_SEAL_SEAL) || ftruncate(got[2], 0) == 0) return "arena's seals";
    arena = mmap(NULL, sizeof *arena, both, MAP_SHARED, got[2], 0);
    if (arena == MAP_FAILED || arena->magic != LOCKSTEP_MAGIC_ARENA || arena->pid != getpid() || arena->arena != message->arena
        || memcmp(arena->incarnation, control.incarnation, sizeof control.incarnation) != 0 || arena->intents_free != UINT64_MAX)
        return "arena's header";
    munmap(arena, sizeof *arena);
    return "ok";
}

static int attach(uint32_t version, bool quiet) {
    struct lockstep_message message = {.type = LOCKSTEP_MESSAGE_ATTACH, .abi_version = version};
    int got[4], keeper = connect_keeper();
    if (keeper < 0 || send(keeper, &message, sizeof message, MSG_NOSIGNAL) != sizeof message) return 98;
    int count = receive(keeper, &message, got);
    close(keeper);
    if (count == 3 && message.type == LOCKSTEP_MESSAGE_ATTACHED) {
        if (!quiet) printf("attached arena=%u pid=%d check=%s\n", message.arena, getpid(), check(&message, got));
        for (int index = 0; index < 3; index++) close(got[index]);
        return 0;
    }
    if (count == 0 && message.type == LOCKSTEP_MESSAGE_REFUSED) {
        if (!quiet) printf("refused code=%d text=%s\n", message.code, message.text);
        return message.code;
    }
    printf("closed\n");
    return 97;
}

/* Many processes at once. */
static void crowd(int size) {
    int attached = 0, refused = 0, wrong = 0, status;
    for (int index = 0; index < size; index++)
        if (fork() == 0) _exit(attach(LOCKSTEP_ABI_VERSION, true));
    while (wait(&status) > 0)
        if (status == 0) attached++;
        else if (WIFEXITED(status) && (WEXITSTATUS(status) == LOCKSTEP_EXIT_OS || WEXITSTATUS(status) == LOCKSTEP_EXIT_BOUND)) refused++;
        else wrong++;
    printf("crowd attached=%d refused=%d wrong=%d\n", attached, refused, wrong);
}

static void read_line(void) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {}
}

/* Prints each signal as it comes; SIGUSR1 ends it. */
static void catch_signals(void) {
    static const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t mask;
    int number, interrupts = 0;
    sigemptyset(&mask);
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) sigaddset(&mask, all[index]);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    printf("catching pid=%d\n", getpid());
    do {
        sigwait(&mask, &number);
        interrupts += number == SIGINT;
        printf("caught %s\n", sigabbrev_np(number));
    } while (number != SIGUSR1);
    printf("interrupts=%d\n", interrupts);
}

/* Goes on in a process that outlives CMD, once CMD is gone and reaped. */
static void orphan(void) {
    pid_t keeper = getppid(), command = getpid();
    if (fork() != 0) exit(5);
    pid_t middle = getpid();
    if (fork() != 0) _exit(0);
    while (getppid() == middle || kill(command, 0) == 0) sched_yield();
    printf("orphan adopted=%d\n", getppid() == keeper);
}

static void print_settings(void) {
    struct rlimit limit;
    struct sigaction pipe_action, terminal_action, child_action;
    sigset_t mask;
    getrlimit(RLIMIT_NOFILE, &limit);
    sigaction(SIGPIPE, NULL, &pipe_action);
    sigaction(SIGTTOU, NULL, &terminal_action);
    sigaction(SIGCHLD, NULL, &child_action);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    printf("limit=%llu/%llu pipe=%d ttou=%d child=%d blocked=%d group=%d\n", (unsigned long long)limit.rlim_cur,
           (unsigned long long)limit.rlim_max, pipe_action.sa_handler == SIG_IGN, terminal_action.sa_handler == SIG_IGN,
           child_action.sa_handler == SIG_IGN, sigismember(&mask, SIGTERM) || sigismember(&mask, SIGCHLD), getpgrp() == getpgid(getppid()));
    DIR *descriptors = opendir("/proc/self/fd");
    int open_count = 0;
    for (struct dirent *entry; (entry = readdir(descriptors)) != NULL;)
        open_count += entry->d_name[0] != '.' && atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(descriptors);
    closedir(descriptors);
    printf("descriptors=%d\n", open_count);
}

/* Runs the rest as foreground group of a terminal of its own, types ^C when it is ready, and SIGUSR1 to the first process. */
static _Noreturn void in_terminal(char **command) {
    int terminal;
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    FILE *output = fdopen(terminal, "r");
    char line[256];
    while (fgets(line, sizeof line, output) != NULL) {
        fputs(line, stdout);
        if (strncmp(line, "catching", 8) == 0) {
            /* The keeper sees it only after the command has taken its own: two pending ones would count as one. */
            kill(child, SIGSTOP);
            if (write(terminal, "\003", 1) != 1) exit(99);
        } else if (strstr(line, "caught INT") != NULL) { /* behind the echo of ^C */
            kill(child, SIGUSR1);
            kill(child, SIGCONT);
        }
    }
    int status;
    waitpid(child, &status, 0);
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

int main(int count, char **arguments) {
    static char self[4096];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 99;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int index = 1; index < count; index++) {
        const char *verb = arguments[index];
        if (strcmp(verb, "attach") == 0) attach(LOCKSTEP_ABI_VERSION, false);
        else if (strcmp(verb, "attach-version") == 0) attach((uint32_t)atoi(arguments[++index]), false);
        else if (strcmp(verb, "attach-as") == 0) {
            if (setuid((uid_t)atoi(arguments[++index])) != 0) return 99;
            attach(LOCKSTEP_ABI_VERSION, false);
        } else if (strcmp(verb, "attach-garbage") == 0) {
            int keeper = connect_keeper();
            char byte;
            send(keeper, "garbage", 7, 0);
            printf("garbage answer=%zd\n", recv(keeper, &byte, 1, 0));
            close(keeper);
        } else if (strcmp(verb, "silent") == 0) { /* takes places and says nothing */
            for (int left = atoi(arguments[++index]); left > 0; left--) connect_keeper();
            printf("silent\n");
        } else if (strcmp(verb, "crowd") == 0) crowd(atoi(arguments[++index]));
        else if (strcmp(verb, "fork") == 0) { /* the rest in a child */
            pid_t child = fork();
            if (child == 0) continue;
            int status;
            waitpid(child, &status, 0);
            return WEXITSTATUS(status);
        } else if (strcmp(verb, "exec") == 0) { /* the rest after an exec */
            arguments[index] = self;
            execv(self, arguments + index);
            return 99;
        } else if (strcmp(verb, "line") == 0) read_line();
        else if (strcmp(verb, "orphan") == 0) orphan();
        else if (strcmp(verb, "signals") == 0) catch_signals();
        else if (strcmp(verb, "settings") == 0) print_settings();
        else if (strcmp(verb, "variable") == 0) printf("variable=%s\n", getenv(arguments[++index]));
        else if (strcmp(verb, "say") == 0) printf("%s\n", arguments[++index]);
        else if (strcmp(verb, "exit") == 0) return atoi(arguments[++index]);
        else if (strcmp(verb, "kill") == 0) raise(atoi(arguments[++index]));
        else if (strcmp(verb, "terminal") == 0) in_terminal(arguments + index + 1);
        else if (strcmp(verb, "capability") == 0) { /* cap_net_raw+ep */
            unsigned char value[20] = {1, 0, 0, 2, 0, 0x20, 0, 0};
            return setxattr(arguments[++index], "security.capability", value, sizeof value, 0) == 0 ? 0 : 1;
        } else return 98;
    }
    return 0;
}
