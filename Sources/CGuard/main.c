/*
 * lockstep-guard: the agents that answer for calls which did not come through the preload library. A child of the
 * keeper, never started by hand; it runs under the library itself and not under the filter.
 *
 *      application --filter: not from the stub--> notification --listener--> one agent thread
 *                                                                              | look: request.h
 *      its call returns  <---------------- answer: result, descriptor, or "go on" --+
 *
 * Descriptors: 3 a socket to the keeper, 4 the memory shared with it (shared.h). Says 'r' when it is covered and ready, gets
 * the listener, and ends when no program is left under the filter. One thread per request, more when all are busy: a
 * call may wait for the peer's disk, and must not hold up others. SIGKILL at any moment: see shared.h.
 */
#include "counts.h"
#include "request.h"

#include "../CKeeper/say.h"
#include "guarded_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

enum { THREADS_AT_START = 4, STACK_BYTES = 1 << 20 };

int (*library_verdict)(int descriptor);

static struct guard_shared *shared;
static int listener = -1;
static _Atomic(int) thread_count, idle_count;

static const struct {
    int number;
    const char *name;
} names[] = {
#define GUARDED(number, name, test) {number, name},
    GUARDED_CALLS(GUARDED)
#undef GUARDED
};

const char *request_name(int number) {
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (names[index].number == number) return names[index].name;
    return "a call of another architecture";
}

/* ------------------------------------------------------------------ one request */

bool request_begin(struct request *request) {
    atomic_store(&request->slot->state, GUARD_EXECUTING);
    if (caller_is_waiting(&request->caller)) return true;
    request->answer = ANSWER_NOBODY;
    return false;
}

static void execute(struct request *request) {
    request->is_tracked = true;
    if (request->data->arch != AUDIT_ARCH_X86_64 || (request->data->nr & 0x40000000) != 0) {
        request_refuse(request, ENOSYS, "32-bit calls are not known here");
        return;
    }
    switch (request->data->nr) {
    case SYS_io_uring_setup:
    case SYS_io_uring_enter:
    case SYS_io_uring_register: request_refuse(request, EPERM, "io_uring is captured through liburing's functions only"); return;
    case SYS_io_setup:
    case SYS_io_submit:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
    case SYS_io_destroy: request_refuse(request, ENOSYS, "asynchronous I/O is captured through the library only"); return;
    case SYS_open_by_handle_at: request_refuse(request, EOPNOTSUPP, "creation or truncation by a handle"); return;
    case GUARD_SETXATTRAT:
    case GUARD_REMOVEXATTRAT:
    case GUARD_FILE_SETATTR: request_refuse(request, ENOSYS, "a newer form of a call"); return;
    case SYS_sync:
        if (!request_begin(request)) return;
        sync();
        request_value(request, 0);
        return;
    default: break;
    }
    request->is_tracked = false;
    if (data_execute(request) || names_execute(request)) return;
    request->is_tracked = true;
    request_refuse(request, ENOSYS, "an unknown call");
}

static void send_value(const struct request *request, int64_t value, uint32_t flags) {
    struct seccomp_notif_resp response = {.id = request->caller.id, .flags = flags};
    if (value < 0) response.error = (int32_t)value;
    else response.val = value;
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* ENOENT: it has been killed */
}

static void send_descriptor(const struct request *request) {
    struct seccomp_notif_addfd given = {.id = request->caller.id, .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)request->value, .newfd_flags = request->closes_on_exec ? 02000000 /* O_CLOEXEC */ : 0};
    int added;
    do added = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &given); while (added < 0 && errno == EINTR);
    int failed = added < 0 ? errno : 0;
    close((int)request->value);
    if (failed != 0 && failed != ENOENT) send_value(request, -failed, 0); /* EMFILE */
}

static void free_slot(struct guard_slot *slot) {
    /* The number first: a slot without one is free whatever its state says. */
    __atomic_store_n(&slot->notification.id, 0, __ATOMIC_SEQ_CST);
    memset(slot->bytes, 0, sizeof slot->bytes);
    atomic_store(&slot->state, GUARD_RECEIVED);
}

static void answer(struct guard_slot *slot) {
    struct request request = {.shared = shared, .slot = slot, .data = &slot->notification.data, .caller = caller_of(listener, &slot->notification)};
    if (slot->notification.pid == 0) {
        request.is_tracked = true;
        request_refuse(&request, EOPNOTSUPP, "a process of another PID namespace");
    } else if (caller_is_waiting(&request.caller)) {
        execute(&request);
    } else {
        request.answer = ANSWER_NOBODY;
    }
    if (request.answer == ANSWER_VALUE && request.value == -EOPNOTSUPP) request.is_refused = true; /* by the library */
    /* Before it is answered: who has its answer may end, and would not be counted. */
    if (request.is_tracked && request.answer != ANSWER_CONTINUE && request.answer != ANSWER_NOBODY) counts_add(shared, &request);
    switch (request.answer) {
    case ANSWER_VALUE:
        atomic_store(&slot->result, request.value);
        atomic_store(&slot->state, GUARD_EXECUTED);
        send_value(&request, request.value, 0);
        break;
    case ANSWER_CONTINUE: send_value(&request, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE); break;
    case ANSWER_DESCRIPTOR: send_descriptor(&request); break;
    case ANSWER_NOBODY: break;
    }
    caller_release(&request.caller);
    free_slot(slot);
}

/* What an agent left that is no more. */
static void answer_left(struct guard_slot *slot) {
    struct request request = {.slot = slot, .caller = caller_of(listener, &slot->notification)};
    uint32_t state = atomic_load(&slot->state);
    if (slot->notification.id == 0) {
        free_slot(slot);
    } else if (state == GUARD_RECEIVED) {
        answer(slot);
    } else {
        int64_t result = state == GUARD_EXECUTED ? atomic_load(&slot->result) : -EIO;
        if (state == GUARD_EXECUTING && caller_is_waiting(&request.caller))
            say("guard: process %d is told EIO: it is not known whether its call happened before an agent died",
                (int)slot->notification.pid);
        send_value(&request, result, 0);
        free_slot(slot);
    }
}

/* ------------------------------------------------------------------ threads */

static void start_thread(void);

static void *serve(void *argument) {
    struct guard_slot *slot = argument;
    if (caller_prepare_thread() != 0 || !data_prepare_thread()) {
        say("guard: an agent thread has no memory of its own");
        exit(1);
    }
    answer_left(slot);
    for (;;) {
        atomic_fetch_add(&idle_count, 1);
        int received = ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &slot->notification);
        int failed = received == 0 ? 0 : errno;
        if (atomic_fetch_sub(&idle_count, 1) == 1 && received == 0) start_thread();
        if (received == 0) answer(slot);
        else if (failed != EINTR && failed != ENOENT) poll(NULL, 0, 10); /* ENOENT: the caller was killed; else the end is near */
    }
    return NULL;
}

static void start_thread(void) {
    int number = atomic_load(&thread_count);
    do if (number == GUARD_THREADS_MAX) return;
    while (!atomic_compare_exchange_weak(&thread_count, &number, number + 1));
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve, &shared->slots[number]) != 0) {
        say("guard: no memory for another agent thread");
        if (number == 0) exit(1);
        atomic_fetch_sub(&thread_count, 1);
    }
    pthread_attr_destroy(&attributes);
}

/* ------------------------------------------------------------------ start and end */

static void give_up(const char *why) {
    send(GUARD_SOCKET, why, strlen(why), MSG_NOSIGNAL);
    exit(1);
}

static int receive_listener(void) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } space;
    char byte;
    struct iovec body = {&byte, 1};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    ssize_t bytes;
    do bytes = recvmsg(GUARD_SOCKET, &message, MSG_CMSG_CLOEXEC); while (bytes < 0 && errno == EINTR);
    struct cmsghdr *header = bytes == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) return -1;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}

int main(void) {
    struct seccomp_notif_sizes sizes;
    void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, GUARD_MEMORY, 0);
    if (memory == MAP_FAILED) {
        say("lockstep-guard is started by lockstep-keeper");
        return 64;
    }
    shared = memory;
    library_verdict = (int (*)(int))dlsym(RTLD_DEFAULT, "lockstep_verdict");
    if (library_verdict == NULL || library_verdict(GUARD_MEMORY) != 0) give_up("the agents are not covered by the library");
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0 || sizes.seccomp_notif > GUARD_NOTIFICATION_BYTES
        || sizes.seccomp_notif_resp != sizeof(struct seccomp_notif_resp))
        give_up("the kernel's notifications have another form");
    caller_prepare();
    if (send(GUARD_SOCKET, "r", 1, MSG_NOSIGNAL) != 1 || (listener = receive_listener()) < 0) return 1;
    /* The answer of a waiting agent runs on the caller's processor: half the time on a loaded machine (Linux 6.6). */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ul);
    int started = THREADS_AT_START;
    for (int index = 0; index < GUARD_THREADS_MAX; index++)
        if (shared->slots[index].notification.id != 0 && index >= started) started = index + 1;
    for (int index = 0; index < started; index++) start_thread();
    struct pollfd nobody_is_left = {.fd = listener};
    while (poll(&nobody_is_left, 1, -1) < 1) {}
    return 0;
}
