/*
 * producer: a hand-made producer that speaks the capture ABI directly, without the preload library: it tests the rig.
 *
 *   rig --library "" ... -- producer SCRIPT DIRECTORY
 *
 *   operations   every kind of operation, in turn, many more than the ring has places
 *   revoked      a place stays reserved until the rig revokes it; the operation is published in another
 *   killed       children die between `published` and `done`, before and after the call; the rig must repair
 *   forked       two processes with an arena each write interleaved, in one file
 *   contested    two processes create, rename and remove the same names at the same time
 *   missed       a write that is not captured, an unlink that is not captured: the rig must see both
 *   undone       an operation never done by a process that exits normally: a violation
 *   garbage      a name with '/', a published intent that is free: violations
 */
#define _GNU_SOURCE
#include "access.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <linux/fs.h>

static const struct lockstep_control *control;
static struct lockstep_ring *ring;
static struct lockstep_arena *arena;
static int tree;

#define NEED(condition) do { if (!(condition)) { fprintf(stderr, "producer: line %d: %s: %m\n", __LINE__, #condition); _exit(1); } } while (0)

static void attach(void) {
    const char *name = getenv(LOCKSTEP_SOCKET_VARIABLE);
    NEED(name);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, strlen(name));
    NEED(!connect(s, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))));
    struct lockstep_message message = {.type = LOCKSTEP_MESSAGE_ATTACH, .abi_version = LOCKSTEP_ABI_VERSION, .pid = getpid()};
    NEED(send(s, &message, sizeof message, 0) == sizeof message);
    struct iovec part = {&message, sizeof message};
    union { char bytes[CMSG_SPACE(3 * sizeof(int))]; struct cmsghdr align; } rights;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes};
    NEED(recvmsg(s, &header, MSG_CMSG_CLOEXEC) == sizeof message && message.type == LOCKSTEP_MESSAGE_ATTACHED);
    int fds[3];
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fds);
    struct stat status;
    NEED(!fstat(fds[0], &status));
    NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0) == MAP_FAILED); /* read-only for applications */
    control = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fds[0], 0);
    NEED(control != MAP_FAILED && control->magic == LOCKSTEP_MAGIC_CONTROL);
    ring = mmap(NULL, lockstep_ring_bytes(control->ring_slots), PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    NEED(ring != MAP_FAILED && ring->magic == LOCKSTEP_MAGIC_RING);
    arena = mmap(NULL, sizeof *arena, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
    NEED(arena != MAP_FAILED && arena->magic == LOCKSTEP_MAGIC_ARENA && arena->arena == message.arena);
    for (int i = 0; i < 3; i++) {
        NEED(ftruncate(fds[i], 0)); /* sealed */
        close(fds[i]);
    }
    close(s);
}

/* ------------------------------------------------------------------ intents */

static struct lockstep_object identity(int fd) {
    struct stat status;
    int generation = 0;
    NEED(!fstat(fd, &status));
    if (ioctl(fd, FS_IOC_GETVERSION, &generation)) generation = 0;
    return (struct lockstep_object){status.st_ino, (uint32_t)generation, 0};
}

static void wait_for_space(void) {
    atomic_fetch_add(&arena->space_waiters, 1);
    uint32_t seen = atomic_load(&arena->space);
    if (!atomic_load(&arena->intents_free) || atomic_load(&arena->blocks_free) != ~(uint64_t)0) {
        struct timespec bound = {.tv_nsec = 100000000};
        syscall(SYS_futex, &arena->space, FUTEX_WAIT, seen, &bound, NULL, 0);
    }
    atomic_fetch_sub(&arena->space_waiters, 1);
}

static unsigned take(unsigned kind) {
    for (;;) {
        uint64_t bits = atomic_load(&arena->intents_free);
        if (!bits) {
            wait_for_space();
            continue;
        }
        unsigned index = (unsigned)__builtin_ctzll(bits);
        if (!atomic_compare_exchange_strong(&arena->intents_free, &bits, bits & ~((uint64_t)1 << index))) continue;
        struct lockstep_intent *i = &arena->intents[index];
        memset(i, 0, sizeof *i);
        i->kind = (uint16_t)kind;
        i->tid = (int)gettid();
        i->block = LOCKSTEP_NO_BLOCK;
        i->descriptor = -1;
        return index;
    }
}

static void set_names(unsigned index, int parent, const char *name, int target_parent, const char *target_name) {
    struct lockstep_intent *i = &arena->intents[index];
    i->parent = identity(parent);
    i->name_bytes = (uint16_t)strlen(name);
    memcpy(arena->inlines[index], name, strlen(name));
    if (!target_name) return;
    i->target_parent = identity(target_parent);
    i->target_name_bytes = (uint16_t)strlen(target_name);
    memcpy(arena->inlines[index] + 256, target_name, strlen(target_name));
}

static void set_payload(unsigned index, const void *bytes, uint32_t count) {
    struct lockstep_intent *i = &arena->intents[index];
    i->payload_bytes = count;
    i->length = i->kind == LOCKSTEP_KIND_WRITE ? count : 0;
    if (count <= LOCKSTEP_INLINE_BYTES) {
        memcpy(arena->inlines[index], bytes, count);
        return;
    }
    unsigned blocks = (count + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES;
    uint64_t run = blocks == 64 ? ~(uint64_t)0 : ((uint64_t)1 << blocks) - 1, all;
    unsigned at = 0;
    while (all = atomic_load(&arena->blocks_free), at + blocks > 64 || (all >> at & run) != run || !atomic_compare_exchange_strong(&arena->blocks_free, &all, all & ~(run << at))) {
        if (at + blocks <= 64 && (all >> at & run) == run) continue;
        if (at + blocks < 64) at++;
        else {
            at = 0;
            wait_for_space();
        }
    }
    memcpy(arena->blocks[at], bytes, count);
    i->block = at;
}

static uint64_t reserve(void) {
    for (;;) {
        uint64_t n = atomic_load(&ring->reserved);
        if (n - atomic_load(&control->consumed) >= control->ring_slots) {
            sched_yield();
            continue;
        }
        if (atomic_compare_exchange_strong(&ring->reserved, &n, n + 1)) return n;
    }
}

static bool publish_at(uint64_t n, unsigned index) {
    uint32_t lap = (uint32_t)(n / control->ring_slots);
    uint64_t expected = LOCKSTEP_WORD(lap, 0, 0, LOCKSTEP_STATE_EMPTY);
    bool published = atomic_compare_exchange_strong(&ring->words[n % control->ring_slots], &expected, LOCKSTEP_WORD(lap, arena->arena, index, LOCKSTEP_STATE_PUBLISHED));
    if (published && atomic_load(&control->data_plane) != LOCKSTEP_DATA_PLANE_AWAKE) {
        atomic_fetch_add(&ring->doorbell, 1);
        lockstep_wake(&ring->doorbell, 1);
    }
    return published;
}

static uint64_t publish(unsigned index) {
    uint64_t n = reserve();
    while (!publish_at(n, index)) n = reserve();
    return n;
}

static void done(unsigned index, int64_t result) {
    struct lockstep_intent *i = &arena->intents[index];
    i->result = result < 0 ? -errno : result;
    i->done_reserved = atomic_load(&ring->reserved);
    atomic_store_explicit(&i->done, 1, memory_order_release);
}

static void outcome(unsigned index, int parent, const char *name) {
    struct stat status;
    NEED(!fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW));
    union { struct file_handle handle; char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } h;
    h.handle.handle_bytes = MAX_HANDLE_SZ;
    int mount;
    uint32_t words[2] = {0};
    /* tmpfs answers too, but its generation is 0 by definition: it has no GETVERSION. */
    int version;
    if (!ioctl(tree, FS_IOC_GETVERSION, &version) && !name_to_handle_at(parent, name, &h.handle, &mount, 0)) memcpy(words, h.handle.f_handle, sizeof words);
    struct lockstep_intent *i = &arena->intents[index];
    i->outcome = (struct lockstep_object){status.st_ino, words[1], 0};
    i->outcome_mode = status.st_mode;
    i->outcome_owner = status.st_uid;
    i->outcome_group = status.st_gid;
}

/* ------------------------------------------------------------------ operations */

static int create(int parent, const char *name) {
    unsigned index = take(LOCKSTEP_KIND_CREATE);
    set_names(index, parent, name, 0, NULL);
    publish(index);
    int fd = openat(parent, name, O_RDWR | O_CREAT | O_EXCL, 0640);
    NEED(fd >= 0);
    outcome(index, parent, name);
    done(index, 0);
    return fd;
}

static unsigned write_begin(int fd, const void *bytes, uint32_t count, uint64_t offset) {
    unsigned index = take(LOCKSTEP_KIND_WRITE);
    arena->intents[index].object = identity(fd);
    arena->intents[index].offset = offset;
    set_payload(index, bytes, count);
    publish(index);
    return index;
}

static void write_at(int fd, const void *bytes, uint32_t count, uint64_t offset) {
    unsigned index = write_begin(fd, bytes, count, offset);
    done(index, pwrite(fd, bytes, count, (off_t)offset));
}

static void unlink_name(int parent, const char *name, int fd) {
    unsigned index = take(LOCKSTEP_KIND_UNLINK);
    set_names(index, parent, name, 0, NULL);
    arena->intents[index].object = identity(fd);
    publish(index);
    done(index, unlinkat(parent, name, 0));
}

static void barrier(int fd) {
    unsigned index = take(LOCKSTEP_KIND_BARRIER);
    struct lockstep_intent *i = &arena->intents[index];
    i->object = identity(fd);
    uint64_t n = publish(index);
    uint32_t lap = (uint32_t)(n / control->ring_slots) & 0x3fffffffu;
    _Atomic(uint32_t) *word = (_Atomic(uint32_t) *)((char *)control + control->answers_offset) + n % control->ring_slots;
    NEED(!fdatasync(fd));
    atomic_store(&i->waiting, 1);
    for (uint32_t seen; seen = atomic_load(word), LOCKSTEP_ANSWER_LAP(seen) != lap || LOCKSTEP_ANSWER_STATUS(seen) == LOCKSTEP_ANSWER_NONE;) {
        if (atomic_load(&i->answer)) break; /* the ring lapped this place */
        struct timespec bound = {.tv_nsec = 50000000};
        syscall(SYS_futex, word, FUTEX_WAIT, seen, &bound, NULL, 0);
    }
    done(index, 0);
}

static void operations(void) {
    static char block[100000];
    for (unsigned i = 0; i < sizeof block; i++) block[i] = (char)(i * 7 + i / 251);
    int fd = create(tree, "data");
    for (unsigned round = 0; round < 500; round++) {
        write_at(fd, block + round, 1 + round * 3, round * 100);
        write_at(fd, block, 20000, round * 4096);
        if (round % 50 == 0) write_at(fd, block, sizeof block, 3000000);
        if (round % 25 == 0) barrier(fd);
    }
    unsigned index = take(LOCKSTEP_KIND_TRUNCATE);
    arena->intents[index].object = identity(fd);
    arena->intents[index].length = 1000001;
    publish(index);
    done(index, ftruncate(fd, 1000001));

    index = take(LOCKSTEP_KIND_WRITE); /* an append: the prediction is wrong, the outcome right; and a short result */
    arena->intents[index].object = identity(fd);
    arena->intents[index].flags = LOCKSTEP_FLAG_PREDICTED | LOCKSTEP_FLAG_APPEND;
    arena->intents[index].offset = 5;
    set_payload(index, "appended, of which ten bytes arrive", 35);
    publish(index);
    arena->intents[index].actual_offset = 1000001;
    done(index, pwrite(fd, "appended, ", 10, 1000001));

    index = take(LOCKSTEP_KIND_MKDIR);
    set_names(index, tree, "directory", 0, NULL);
    publish(index);
    NEED(!mkdirat(tree, "directory", 0750));
    outcome(index, tree, "directory");
    done(index, 0);
    int directory = openat(tree, "directory", O_RDONLY | O_DIRECTORY);

    index = take(LOCKSTEP_KIND_SYMLINK);
    arena->intents[index].parent = identity(tree);
    errno = EEXIST; /* names of a link with an inline target do not fit together: the target goes into a block */
    arena->intents[index].block = 0;
    NEED(atomic_fetch_and(&arena->blocks_free, ~(uint64_t)1) & 1);
    memcpy(arena->blocks[0], "data", 4);
    arena->intents[index].payload_bytes = 4;
    set_names(index, tree, "link", 0, NULL);
    publish(index);
    NEED(!symlinkat("data", tree, "link"));
    outcome(index, tree, "link");
    done(index, 0);

    index = take(LOCKSTEP_KIND_RENAME);
    set_names(index, tree, "data", directory, "moved");
    arena->intents[index].object = identity(fd);
    publish(index);
    done(index, renameat(tree, "data", directory, "moved"));
    write_at(fd, "after the rename", 16, 17);

    index = take(LOCKSTEP_KIND_CHMOD);
    arena->intents[index].object = identity(fd);
    arena->intents[index].mode = 04611;
    publish(index);
    done(index, fchmod(fd, 04611));

    int gone = create(directory, "gone"); /* unlinked, written on, made again */
    write_at(gone, "x", 1, 0);
    unlink_name(directory, "gone", gone);
    write_at(gone, "y", 1, 1);
    write_at(create(directory, "gone"), "again", 5, 0);
    index = take(LOCKSTEP_KIND_RMDIR); /* fails: not empty */
    set_names(index, tree, "directory", 0, NULL);
    arena->intents[index].object = identity(directory);
    publish(index);
    done(index, unlinkat(tree, "directory", AT_REMOVEDIR));
    barrier(directory);
}

static void revoked(void) {
    int fd = create(tree, "data");
    unsigned index = take(LOCKSTEP_KIND_WRITE);
    arena->intents[index].object = identity(fd);
    set_payload(index, "late", 4);
    uint64_t n = reserve();
    uint32_t lap = (uint32_t)(n / control->ring_slots);
    /* The rig gives the place back with the next lap after it revoked it. */
    while (LOCKSTEP_WORD_LAP(lockstep_ring_word(ring, (uint32_t)(n % control->ring_slots))) == lap) sched_yield();
    NEED(!publish_at(n, index));
    publish(index);
    done(index, pwrite(fd, "late", 4, 0));
    barrier(fd);
}

static pid_t start(void) {
    pid_t child = fork();
    NEED(child >= 0);
    if (!child) attach();
    return child;
}

static void killed(void) {
    static char bytes[9000];
    memset(bytes, 'k', sizeof bytes);
    int fd = create(tree, "data");
    write_at(fd, bytes, sizeof bytes, 0);
    for (int variant = 0; variant < 5; variant++) {
        if (start()) {
            int status;
            NEED(wait(&status) > 0 && WIFSIGNALED(status));
            continue;
        }
        memset(bytes, 'a' + variant, sizeof bytes);
        unsigned index;
        switch (variant) {
        case 0: write_begin(fd, bytes, 9000, 4000); break; /* never called */
        case 1: write_begin(fd, bytes, 9000, 20000); pwrite(fd, bytes, 5000, 20000); break; /* called in part */
        case 2:
            index = take(LOCKSTEP_KIND_CREATE);
            set_names(index, tree, "half", 0, NULL);
            publish(index);
            int made = openat(tree, "half", O_CREAT | O_WRONLY, 0600);
            NEED(made >= 0 && write(made, "not captured, but repaired", 26) == 26);
            break;
        case 3:
            index = take(LOCKSTEP_KIND_CREATE);
            set_names(index, tree, "never", 0, NULL);
            publish(index);
            break;
        case 4: reserve(); break; /* nobody will publish */
        }
        raise(SIGKILL);
    }
    write_at(fd, "after", 5, 100);
    barrier(fd);
}

static void forked(void) {
    int fd = create(tree, "data");
    pid_t child = start();
    char bytes[3000];
    memset(bytes, child ? 'p' : 'c', sizeof bytes);
    for (unsigned i = 0; i < 400; i++) {
        write_at(fd, bytes, sizeof bytes, (2 * i + (child != 0)) * sizeof bytes);
        write_at(fd, bytes, 100, 4000000 + 50 * i); /* the same bytes at the same time: conflicts */
    }
    if (!child) _exit(0);
    int status;
    NEED(wait(&status) == child && status == 0);
    barrier(fd);
}

static void contested(void) {
    pid_t child = start();
    for (unsigned i = 0; i < 1000; i++) {
        unsigned index = take(LOCKSTEP_KIND_CREATE);
        set_names(index, tree, "c", 0, NULL);
        publish(index);
        int fd = openat(tree, "c", O_RDWR | O_CREAT | O_EXCL, 0640);
        if (fd >= 0) { /* by the descriptor: the name may mean another file by now */
            struct stat status;
            NEED(!fstat(fd, &status));
            struct lockstep_intent *in = &arena->intents[index];
            in->outcome = identity(fd);
            in->outcome_mode = status.st_mode;
            in->outcome_owner = status.st_uid;
            in->outcome_group = status.st_gid;
        }
        done(index, fd);
        if (fd >= 0) {
            write_at(fd, &i, sizeof i, 0);
            close(fd);
        }
        index = take(LOCKSTEP_KIND_RENAME);
        set_names(index, tree, "c", tree, "d");
        publish(index);
        done(index, renameat(tree, "c", tree, "d"));
        index = take(LOCKSTEP_KIND_UNLINK);
        set_names(index, tree, "d", 0, NULL);
        publish(index);
        done(index, i % 3 ? -1 : unlinkat(tree, "d", 0));
    }
    if (!child) _exit(0);
    int status;
    NEED(wait(&status) == child && status == 0);
}

int main(int count, char **values) {
    NEED(count == 3);
    tree = open(values[2], O_RDONLY | O_DIRECTORY);
    NEED(tree >= 0);
    attach();
    const char *script = values[1];
    if (!strcmp(script, "operations")) operations();
    else if (!strcmp(script, "revoked")) revoked();
    else if (!strcmp(script, "killed")) killed();
    else if (!strcmp(script, "forked")) forked();
    else if (!strcmp(script, "contested")) contested();
    else if (!strcmp(script, "missed")) {
        int fd = create(tree, "data"), other = create(tree, "other");
        write_at(fd, "captured", 8, 0);
        write_at(other, "captured", 8, 0);
        NEED(pwrite(fd, "X", 1, 3) == 1 && !unlinkat(tree, "other", 0));
    } else if (!strcmp(script, "undone")) {
        write_begin(create(tree, "data"), "x", 1, 0);
    } else if (!strcmp(script, "garbage")) {
        unsigned index = take(LOCKSTEP_KIND_CREATE);
        set_names(index, tree, "a/b", 0, NULL);
        publish(index);
        done(index, -1);
        index = take(LOCKSTEP_KIND_BARRIER);
        atomic_fetch_or(&arena->intents_free, (uint64_t)1 << index);
        publish(index);
        done(index, 0);
    } else
        NEED(!"a known script");
    return 0;
}
