/*
 * stand_in.c: plays the daemon for one keeper at a time. Prints what it sees, one line each; obeys lines on standard
 * input:  retire N | gone N (waits for its process' end) | hold | release | drop | quit
 *
 *     stand_in DIR [--version N] [--refuse CODE TEXT] [--range FIRST COUNT] [--other] [--fault NAME]
 *
 * A HELLO that brings memory is answered with it, unless --other asks for memory of another incarnation.
 */
#include "CCaptureABI.h"
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SLOTS = 1024, NUMBERS_MAX = 8192 };

static uint32_t version = LOCKSTEP_ABI_VERSION, range_first = 7, range_count = 1000;
static int refusal;
static const char *refusal_text = "", *fault = "";
static bool other;
static uint64_t incarnation[2];
static int processes[NUMBERS_MAX]; /* pidfd + 1 */

static _Noreturn void die(const char *what) {
    perror(what);
    exit(1);
}

static int make(const char *name, size_t bytes) {
    int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes) != 0 || posix_fallocate(descriptor, 0, (off_t)bytes) != 0) die(name);
    return descriptor;
}

static void *map(int descriptor, size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) die("mmap");
    return memory;
}

static void make_memory(int descriptors[2]) {
    bool is_small = strcmp(fault, "small") == 0;
    size_t control_bytes = lockstep_control_bytes(SLOTS), ring_bytes = lockstep_ring_bytes(SLOTS);
    if (getrandom(incarnation, sizeof incarnation, 0) != sizeof incarnation) die("getrandom");
    descriptors[0] = make("control", control_bytes);
    descriptors[1] = make("ring", ring_bytes);
    struct lockstep_control *control = map(descriptors[0], control_bytes);
    struct lockstep_ring *ring = map(descriptors[1], ring_bytes);
    lockstep_control_initialize(control, SLOTS, incarnation[0], incarnation[1]);
    lockstep_ring_initialize(ring, SLOTS, incarnation[0], incarnation[1]);
    if (strcmp(fault, "magic") == 0) ring->magic ^= 1;
    if (strcmp(fault, "incarnation") == 0) ring->incarnation[1] ^= 1;
    if (strcmp(fault, "version") == 0) control->abi_version = 9;
    if (strcmp(fault, "offset") == 0) control->answers_offset = 0xfffffff0u;
    munmap(control, control_bytes);
    munmap(ring, ring_bytes);
    if (is_small && ftruncate(descriptors[1], 8192) != 0) die("ftruncate");
    if (strcmp(fault, "unsealed") == 0) return;
    for (int index = 0; index < 2; index++)
        if (fcntl(descriptors[index], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) die("F_ADD_SEALS");
}

static void send_message(int socket, struct lockstep_message *message, int *descriptors, int count) {
    union { struct cmsghdr header; char bytes[CMSG_SPACE(2 * sizeof(int))]; } ancillary = {0};
    struct iovec body = {message, sizeof *message};
    struct msghdr header = {.msg_iov = &body, .msg_iovlen = 1};
    if (count > 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        *rights = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))};
        memcpy(CMSG_DATA(rights), descriptors, (size_t)count * sizeof(int));
    }
    message->abi_version = version;
    if (sendmsg(socket, &header, MSG_NOSIGNAL) < 0) perror("sendmsg");
}

static void answer_hello(int socket, const struct lockstep_message *hello, int *descriptors, int count) {
    uint64_t brought[2] = {0, 0};
    if (count == 2 && pread(descriptors[0], brought, sizeof brought, offsetof(struct lockstep_control, incarnation)) != sizeof brought)
        die("pread");
    printf("hello version=%u pid=%d range=%u+%u descriptors=%d incarnation=%016llx%016llx writable=%d\n", hello->abi_version,
           hello->pid, hello->arena, hello->count, count, (unsigned long long)brought[0], (unsigned long long)brought[1],
           count == 2 && (fcntl(descriptors[0], F_GETFL) & O_ACCMODE) == O_RDWR);
    if (strcmp(fault, "silent") == 0) return;
    if (strcmp(fault, "mute") == 0) exit(0);
    if (strcmp(fault, "short") == 0) {
        if (send(socket, "\2\0\0\0\1\0\0\0", 8, 0) != 8) die("send");
        return;
    }
    struct lockstep_message answer = {.type = LOCKSTEP_MESSAGE_WELCOME, .arena = range_first, .count = range_count};
    int given[2];
    if (refusal != 0 || refusal_text[0] != 0) {
        answer.type = LOCKSTEP_MESSAGE_REFUSED;
        answer.code = refusal;
        snprintf(answer.text, sizeof answer.text, "%s", refusal_text);
        send_message(socket, &answer, NULL, 0);
        return;
    }
    if (count == 2 && !other) {
        memcpy(incarnation, brought, sizeof brought);
        memcpy(given, descriptors, sizeof given);
    } else {
        make_memory(given);
    }
    send_message(socket, &answer, given, 2);
    printf("welcomed incarnation=%016llx%016llx\n", (unsigned long long)incarnation[0], (unsigned long long)incarnation[1]);
}

static int pid_of(int process) {
    char path[64], line[128];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", process);
    FILE *information = fopen(path, "r");
    while (information != NULL && fgets(line, sizeof line, information) != NULL) sscanf(line, "Pid: %d", &pid);
    if (information != NULL) fclose(information);
    return pid;
}

static const char *check_arena(const struct lockstep_message *message, const int *descriptors, int count) {
    if (count != 2) return "descriptors";
    struct stat status;
    if (fstat(descriptors[0], &status) != 0 || status.st_size != sizeof(struct lockstep_arena)) return "size";
    if (status.st_blocks * 512 < status.st_size) return "not allocated";
    if (fcntl(descriptors[0], F_GET_SEALS) != (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) return "seals";
    struct lockstep_arena *arena = map(descriptors[0], sizeof *arena);
    const char *wrong = "ok";
    if (arena->magic != LOCKSTEP_MAGIC_ARENA || arena->abi_version != LOCKSTEP_ABI_VERSION) wrong = "magic";
    else if (arena->arena != message->arena || arena->pid != message->pid) wrong = "number or pid";
    else if (arena->start_time != message->start_time || arena->start_time == 0) wrong = "start time";
    else if (memcmp(arena->incarnation, incarnation, sizeof incarnation) != 0) wrong = "incarnation";
    else if (arena->intents_free != UINT64_MAX || arena->blocks_free != UINT64_MAX || arena->space != 0) wrong = "free words";
    munmap(arena, sizeof *arena);
    return wrong;
}

static void take_arena(const struct lockstep_message *message, int *descriptors, int count) {
    const char *wrong = check_arena(message, descriptors, count);
    int pid = count == 2 ? pid_of(descriptors[1]) : 0; /* -1: it is dead and reaped */
    if (pid != message->pid && pid != -1) wrong = "pidfd";
    printf("arena number=%u pid=%d alive=%d check=%s\n", message->arena, message->pid, pid > 0, wrong);
    if (count < 2) return;
    close(descriptors[0]);
    if (processes[message->arena] != 0) close(processes[message->arena] - 1);
    processes[message->arena] = descriptors[1] + 1;
}

/* False: the keeper is gone. */
static bool hear(int socket) {
    union { struct cmsghdr header; char bytes[CMSG_SPACE(4 * sizeof(int))]; } ancillary;
    struct lockstep_message message = {0};
    struct iovec body = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t bytes = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (bytes <= 0) return false;
    int descriptors[4], count = 0;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    if (rights != NULL) {
        count = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(descriptors, CMSG_DATA(rights), (size_t)count * sizeof(int));
    }
    if (message.type == LOCKSTEP_MESSAGE_HELLO) answer_hello(socket, &message, descriptors, count);
    else if (message.type == LOCKSTEP_MESSAGE_ARENA && message.arena < NUMBERS_MAX) take_arena(&message, descriptors, count);
    else printf("unexpected type=%u\n", message.type);
    return true;
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int index = 2; index < count; index++) {
        if (strcmp(arguments[index], "--version") == 0) version = (uint32_t)atoi(arguments[++index]);
        else if (strcmp(arguments[index], "--range") == 0) range_first = (uint32_t)atoi(arguments[index + 1]), range_count = (uint32_t)atoi(arguments[index + 2]), index += 2;
        else if (strcmp(arguments[index], "--refuse") == 0) refusal = atoi(arguments[index + 1]), refusal_text = arguments[index + 2], index += 2;
        else if (strcmp(arguments[index], "--fault") == 0) fault = arguments[++index];
        else if (strcmp(arguments[index], "--other") == 0) other = true;
        else return 64;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int directory = open(arguments[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) die(arguments[1]);
    unlinkat(directory, "capture.sock", 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/capture.sock", directory);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), keeper = -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) die("listen");
    printf("ready\n");
    bool holds = false;
    for (;;) {
        struct pollfd interests[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = keeper < 0 ? listener : -1, .events = POLLIN}, {.fd = holds ? -1 : keeper, .events = POLLIN}};
        poll(interests, 3, -1);
        if (interests[1].revents != 0) keeper = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (interests[2].revents != 0 && !hear(keeper)) {
            printf("closed\n");
            close(keeper);
            keeper = -1;
        }
        if (interests[0].revents == 0) continue;
        char line[256];
        unsigned number;
        size_t bytes = 0; /* byte by byte: poll must see what stdio would hide */
        while (bytes < sizeof line - 1 && read(STDIN_FILENO, line + bytes, 1) == 1 && line[bytes] != '\n') bytes++;
        line[bytes] = 0;
        if (strcmp(line, "quit") == 0 || bytes == 0) return 0;
        if (strcmp(line, "hold") == 0) holds = true, printf("holding\n");
        if (strcmp(line, "release") == 0) holds = false;
        if (strcmp(line, "drop") == 0) close(keeper), keeper = -1, printf("dropped\n");
        if (sscanf(line, "retire %u", &number) == 1) {
            struct lockstep_message retired = {.type = LOCKSTEP_MESSAGE_RETIRED, .arena = number};
            send_message(keeper, &retired, NULL, 0);
            printf("retired number=%u\n", number);
        }
        if (sscanf(line, "gone %u", &number) == 1 && number < NUMBERS_MAX && processes[number] != 0) {
            struct pollfd ended = {.fd = processes[number] - 1, .events = POLLIN};
            printf("gone number=%u ended=%d\n", number, poll(&ended, 1, 20000) == 1);
        }
    }
}
