/*
 * attach.c: from an ordinary process to a captured one.
 *
 *   constructor (first of all, -z initfirst)
 *     LOCKSTEP_SOCKET unset ----------------------------------> inert
 *     stub page, then socket: ATTACH -> ATTACHED [control, ring, arena]
 *     mapped and checked; all descriptors closed again
 *     stdio patched, libc's own functions looked up; audited: no more than that
 *   any failure: one line, exit before main. An application never runs uncovered.
 *
 *   forked child: process page wiped -> at its first captured operation the same exchange, for an arena only
 */
#define _GNU_SOURCE
#include "process_page.h"
#include <dlfcn.h>
#include <linux/futex.h>
#include <linux/stat.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <fcntl.h>

const struct lockstep_control *control;
struct lockstep_ring *ring;
struct process_page *process_page;
char environment_preload[1024], environment_socket[160], library_path[512];
_Atomic(uint32_t) process_umask;
bool guarded, audited;

static char socket_name[108];
static __thread int32_t cached_tid, cached_tid_pid;

int32_t thread_id(void) {
    int32_t pid = atomic_load_explicit(&process_page->pid, memory_order_relaxed);
    if (__builtin_expect(pid == 0 || cached_tid_pid != pid, 0)) {
        cached_tid = (int32_t)kernel(SYS_gettid);
        cached_tid_pid = pid;
    }
    return cached_tid;
}

/* ------------------------------------------------------------------ the exchange with the keeper */

struct attachment {
    int descriptors[3]; /* control, ring, arena */
    uint32_t arena_number;
    bool guarded, audited;
    int code;
    const char *reason;
    char text[256];
};

static bool refuse(struct attachment *a, int code, const char *reason) {
    a->code = code;
    a->reason = reason;
    return false;
}

static bool receive_attached(int connection, struct attachment *a) {
    struct lockstep_message reply;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } space;
    memset(&space, 0, sizeof space);
    struct iovec vector = {&reply, sizeof reply};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &space,
                             .msg_controllen = sizeof space};
    long received;
    do
        received = kernel(SYS_recvmsg, connection, &message, MSG_CMSG_CLOEXEC);
    while (received == -EINTR);
    int got = 0;
    struct cmsghdr *header = received > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        got = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(a->descriptors, CMSG_DATA(header), (size_t)(got > 3 ? 3 : got) * sizeof(int));
    }
    if (received == -EAGAIN)
        return refuse(a, LOCKSTEP_EXIT_BOUND, "the keeper does not answer");
    if (received != (long)sizeof reply)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "the keeper closed the connection or sent something else");
    if (reply.type == LOCKSTEP_MESSAGE_REFUSED) {
        memcpy(a->text, reply.text, sizeof a->text - 1);
        return refuse(a, reply.code > 0 && reply.code < 256 ? reply.code : LOCKSTEP_EXIT_REFUSED, a->text);
    }
    if (reply.abi_version != LOCKSTEP_ABI_VERSION)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "keeper and library have different ABI versions");
    a->audited = reply.type == LOCKSTEP_MESSAGE_ATTACHED && reply.code == LOCKSTEP_ATTACHED_AUDITED;
    if (a->audited)
        return true;
    if (reply.type != LOCKSTEP_MESSAGE_ATTACHED || got != 3 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "the keeper's answer is not understood");
    a->arena_number = reply.arena;
    a->guarded = reply.code == LOCKSTEP_ATTACHED_GUARDED;
    return true;
}

static bool exchange(struct attachment *a) {
    a->descriptors[0] = a->descriptors[1] = a->descriptors[2] = -1;
    long connection = kernel(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return refuse(a, LOCKSTEP_EXIT_OS, "no socket to the keeper");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = strlen(socket_name);
    memcpy(address.sun_path + 1, socket_name, bytes);
    struct timeval bound = {.tv_sec = 10};
    bool ok = true;
    struct ucred peer;
    socklen_t peer_bytes = sizeof peer;
    struct lockstep_message attach;
    memset(&attach, 0, sizeof attach);
    attach.type = LOCKSTEP_MESSAGE_ATTACH;
    attach.abi_version = LOCKSTEP_ABI_VERSION;
    attach.pid = (int32_t)kernel(SYS_getpid);
    kernel(SYS_setsockopt, connection, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    kernel(SYS_setsockopt, connection, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    if (kernel(SYS_connect, connection, &address, offsetof(struct sockaddr_un, sun_path) + 1 + bytes) != 0)
        ok = refuse(a, LOCKSTEP_EXIT_UNAVAILABLE, "no keeper listens at the socket named by LOCKSTEP_SOCKET");
    /* An abstract name can be taken by anybody: only our own user, or root, may be the keeper. */
    else if (kernel(SYS_getsockopt, connection, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) != 0
             || (peer.uid != 0 && peer.uid != (uid_t)kernel(SYS_getuid) && peer.uid != (uid_t)kernel(SYS_geteuid)))
        ok = refuse(a, LOCKSTEP_EXIT_REFUSED, "the keeper's socket belongs to another user");
    else if (kernel(SYS_sendto, connection, &attach, sizeof attach, MSG_NOSIGNAL, 0, 0) != (long)sizeof attach)
        ok = refuse(a, LOCKSTEP_EXIT_UNAVAILABLE, "the keeper is gone");
    else
        ok = receive_attached((int)connection, a);
    kernel(SYS_close, connection);
    return ok;
}

static void close_descriptors(const struct attachment *a) {
    for (int i = 0; i < 3; i++)
        if (a->descriptors[i] >= 0)
            kernel(SYS_close, a->descriptors[i]);
}

/* ------------------------------------------------------------------ mapping and checking */

static void *map_object(int descriptor, int protection, size_t bytes_min, size_t *bytes) {
    struct statx status;
    if (kernel(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_SIZE, &status) != 0 || status.stx_size < bytes_min)
        return NULL;
    *bytes = status.stx_size;
    long address = kernel(SYS_mmap, 0, status.stx_size, protection, MAP_SHARED, descriptor, 0);
    return address < 0 && address > -4096 ? NULL : (void *)address;
}

static bool check_control(struct attachment *a, const struct lockstep_control *c, size_t c_bytes,
                          const struct lockstep_ring *r, size_t r_bytes) {
    if (c->magic != LOCKSTEP_MAGIC_CONTROL || r->magic != LOCKSTEP_MAGIC_RING)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "control object or ring is scribbled over (magic)");
    if (c->abi_version != LOCKSTEP_ABI_VERSION || r->abi_version != LOCKSTEP_ABI_VERSION)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "daemon and library have different ABI versions");
    if (c->incarnation[0] != r->incarnation[0] || c->incarnation[1] != r->incarnation[1])
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "control object and ring are of different incarnations");
    uint32_t slots = c->ring_slots;
    if (slots == 0 || (slots & (slots - 1)) || r->slots != slots
        || r_bytes < sizeof *r + (size_t)slots * sizeof(uint64_t)
        || c->answers_offset < sizeof *c || c->answers_offset % 4
        || c_bytes < (size_t)c->answers_offset + (size_t)slots * sizeof(uint32_t)
        || c->root_count > LOCKSTEP_ROOTS_MAX || c->exclusion_count > LOCKSTEP_EXCLUSIONS_MAX)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "control object or ring is scribbled over (sizes)");
    return true;
}

static bool map_arena(struct attachment *a, const struct lockstep_control *c) {
    size_t bytes;
    struct lockstep_arena *arena = map_object(a->descriptors[2], PROT_READ | PROT_WRITE, sizeof *arena, &bytes);
    if (!arena)
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "the arena can't be mapped");
    if (arena->magic != LOCKSTEP_MAGIC_ARENA || arena->abi_version != LOCKSTEP_ABI_VERSION
        || arena->arena != a->arena_number || arena->incarnation[0] != c->incarnation[0]
        || arena->incarnation[1] != c->incarnation[1]) {
        kernel(SYS_munmap, arena, bytes);
        return refuse(a, LOCKSTEP_EXIT_PROTOCOL, "the arena belongs to something else");
    }
    atomic_store(&process_page->pid, (int32_t)kernel(SYS_getpid));
    atomic_store(&process_page->arena_number, a->arena_number);
    atomic_store_explicit(&process_page->arena, arena, memory_order_release);
    return true;
}

/* ------------------------------------------------------------------ a forked child */

/* The arena mapped in the parent; a child unmaps it when it has its own. Not on the wiped page, for that purpose. */
static _Atomic(struct lockstep_arena *) arena_last;

static void attach_child(void *argument) {
    (void)argument;
    struct attachment a = {.code = 0};
    bool ok = exchange(&a);
    if (ok) {
        size_t bytes;
        const struct lockstep_control *c = map_object(a.descriptors[0], PROT_READ, sizeof *c, &bytes);
        if (!c || c->incarnation[0] != control->incarnation[0] || c->incarnation[1] != control->incarnation[1])
            ok = refuse(&a, LOCKSTEP_EXIT_PROTOCOL, "the incarnation has changed since the parent attached");
        if (c)
            kernel(SYS_munmap, c, bytes);
        struct lockstep_arena *before = atomic_load(&arena_last);
        if (ok && map_arena(&a, control)) {
            atomic_store(&arena_last, atomic_load(&process_page->arena));
            if (before)
                kernel(SYS_munmap, before, sizeof *before);
        } else
            ok = false;
    }
    close_descriptors(&a);
    if (!ok && atomic_exchange(&process_page->attach_failed, 1) == 0)
        line(LINE_ATTACH, "fork", -1, NULL, a.reason);
}

struct lockstep_arena *arena_of_process(uint32_t *number) {
    struct lockstep_arena *arena = atomic_load_explicit(&process_page->arena, memory_order_acquire);
    if (__builtin_expect(arena == NULL, 0)) {
        /* Signals stay blocked: a handler that writes into the tree would wait for its own thread. */
        uint64_t all = ~0ull & ~(1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1)), before;
        kernel(SYS_rt_sigprocmask, SIG_BLOCK, &all, &before, 8);
        uint32_t nobody = 0, self = (uint32_t)kernel(SYS_gettid);
        while (!atomic_compare_exchange_strong(&process_page->attaching, &nobody, self)) {
            struct timespec bound = {.tv_nsec = 20000000};
            kernel(SYS_futex, &process_page->attaching, FUTEX_WAIT, nobody, &bound);
            nobody = 0;
        }
        if (!atomic_load(&process_page->arena))
            /* Aside: the application may have no descriptor left, and would see ours come and go. */
            if (!run_aside(attach_child, NULL, -1))
                attach_child(NULL);
        atomic_store(&process_page->attaching, 0);
        kernel(SYS_futex, &process_page->attaching, FUTEX_WAKE, 0x7fffffff);
        kernel(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, 8);
        arena = atomic_load_explicit(&process_page->arena, memory_order_acquire);
    }
    *number = atomic_load_explicit(&process_page->arena_number, memory_order_relaxed);
    return arena;
}

/* ------------------------------------------------------------------ start-up */

static const char *variable(char *const envp[], const char *name) {
    size_t bytes = strlen(name);
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, bytes) == 0 && (*envp)[bytes] == '=')
            return *envp + bytes + 1;
    return NULL;
}

static void remember_environment(const char *socket) {
    Dl_info info;
    size_t bytes = strlen(socket);
    if (bytes == 0 || bytes >= sizeof socket_name - 1)
        line_exit(LOCKSTEP_EXIT_UNAVAILABLE, "LOCKSTEP_SOCKET is empty or too long", "");
    memcpy(socket_name, socket, bytes + 1);
    if (!dladdr(&control, &info) || !info.dli_fname || strlen(info.dli_fname) >= sizeof library_path)
        line_exit(LOCKSTEP_EXIT_OS, "the library's own path is not known or too long", "");
    strcpy(library_path, info.dli_fname);
    strcpy(environment_preload, "LD_PRELOAD=");
    strcat(environment_preload, library_path);
    strcpy(environment_socket, LOCKSTEP_SOCKET_VARIABLE "=");
    strcat(environment_socket, socket_name);
}

static void libc_attach(char **envp) {
    process_attach();
    posix_aio_attach();
    space_attach();
    stdio_attach(envp);
}

__attribute__((constructor(101))) static void attach(int count, char **arguments, char **envp) {
    (void)count, (void)arguments;
    const char *socket = variable(envp, LOCKSTEP_SOCKET_VARIABLE);
    if (!socket)
        return;
    remember_environment(socket);
    if (!stub_establish())
        line_exit(LOCKSTEP_EXIT_UNCOVERED, "the address of the stub page is taken", "");
    long page = kernel(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((page < 0 && page > -4096) || kernel(SYS_madvise, page, 4096, MADV_WIPEONFORK) != 0)
        line_exit(LOCKSTEP_EXIT_OS, "no page that forked children find empty", "");
    process_page = (struct process_page *)page;
#ifdef LOCKSTEP_FAULTS
    fault_attach(envp);
#endif
    uint32_t mask = (uint32_t)kernel(SYS_umask, 0);
    kernel(SYS_umask, mask);
    atomic_store(&process_umask, mask);

    struct attachment a = {.code = 0};
    if (!exchange(&a))
        line_exit(a.code, "not attached", a.reason);
    if (a.audited) {
        close_descriptors(&a);
        libc_attach(envp);
        guarded = audited = true; /* what the guard would do is seen, too */
        return;
    }
    size_t control_bytes, ring_bytes;
    const struct lockstep_control *c = map_object(a.descriptors[0], PROT_READ, sizeof *c, &control_bytes);
    struct lockstep_ring *r = map_object(a.descriptors[1], PROT_READ | PROT_WRITE, sizeof *r, &ring_bytes);
    if (!c || !r)
        line_exit(LOCKSTEP_EXIT_PROTOCOL, "not attached", "control object or ring can't be mapped");
    if (!check_control(&a, c, control_bytes, r, ring_bytes) || !map_arena(&a, c))
        line_exit(a.code, "not attached", a.reason);
    close_descriptors(&a);
    atomic_store(&arena_last, atomic_load(&process_page->arena));
    ring = r;
    guarded = a.guarded;
    ending_attach();
    libc_attach(envp);
    control = c;
}
