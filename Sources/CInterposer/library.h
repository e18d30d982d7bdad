/*
 * library.h: what the files of the preload library say to each other.
 *
 * The life of a captured write:
 *
 *   write.c      pwrite() -> is the descriptor's file replicated?                      identity.c
 *   intent.c     take an intent and payload space in the own arena, copy, publish      attach.c (arena of this process)
 *   kernel.h     the system call, from the copy
 *   intent.c     result and `done`
 *   durability.c only at a durability point: publish a barrier, flush, wait for the answer
 *
 * Rules (each one has cost somebody a database):
 *   - nothing between entry and the real call allocates, takes a process-private lock, or calls stdio or dlsym;
 *   - thread-local storage <= 128 bytes, stack <= 1 KiB per wrapper (exec and path wrappers of start-up excepted);
 *   - errors of arguments come from the kernel's call; errno is touched only when a call fails;
 *   - a file of the tree is never opened and closed by a normal descriptor: that would drop its POSIX locks;
 *   - what is not known is captured or refused, never passed.
 */
#ifndef LOCKSTEP_LIBRARY_H
#define LOCKSTEP_LIBRARY_H

#include "../CCaptureABI/include/CCaptureABI.h"
#include "kernel.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

_Static_assert(STUB_PAGE == LOCKSTEP_STUB_PAGE, "the watch knows calls of the library by it");

/* ------------------------------------------------------------------ attach.c */

/* Set once, before main; NULL: the library is inert. */
extern const struct lockstep_control *control;
extern struct lockstep_ring *ring;
static inline bool attached(void) { return __builtin_expect(control != NULL, 1); }

/* This process runs under `lockstep audit`: not attached, so each call goes to the kernel as it is, but from the stub page, and
   descendants get the library. What a call on the tree would be taken from libc for is taken everywhere. */
extern bool audited;

/* This process and all its descendants are under the guard's filter. */
extern bool guarded;

/* The arena of this process. A forked child gets its own here, at its first captured operation. NULL: no keeper. */
struct lockstep_arena *arena_of_process(uint32_t *number);
/* Thread id of the caller, cached. */
int32_t thread_id(void);
/* The environment that every descendant must have: "LD_PRELOAD=..." and "LOCKSTEP_SOCKET=...". */
extern char environment_preload[], environment_socket[], library_path[];
extern _Atomic(uint32_t) process_umask;

/* ------------------------------------------------------------------ line.c */

/* One line "lockstep: CALL on PATH: TEXT" on stderr; at most a few per call and process. `descriptor` or `path`. */
enum line_call { LINE_OPEN, LINE_LINK, LINE_RENAME, LINE_MKNOD, LINE_ALLOCATE, LINE_COPY, LINE_XATTR, LINE_IOCTL,
    LINE_MAP, LINE_WRITE, LINE_EXEC, LINE_SPAWN, LINE_IDENTITY, LINE_WAIT, LINE_ATTACH,
    LINE_SYSCALL, LINE_URING, LINE_CALLS };
void line(enum line_call call, const char *name, int descriptor, const char *path, const char *text);
/* For start-up failures: the line, then the end of the process, before main. */
_Noreturn void line_exit(int code, const char *text, const char *detail);

/* ------------------------------------------------------------------ identity.c */

enum verdict { OUTSIDE = 0, TRACKED = 1 }; /* or -errno: refused */

struct target {
    struct lockstep_object object;
    uint64_t device;
    uint32_t mode; /* the type bits of st_mode */
};

/* Is the file or directory behind this descriptor (O_PATH allowed) replicated? OUTSIDE, TRACKED or -errno.
   An excluded file is OUTSIDE. Descriptors that are not open are OUTSIDE: the call itself gives the error. */
long identify(int descriptor, struct target *target);
/* The same for calls that only concern regular files; others are OUTSIDE without a further look. */
long identify_regular(int descriptor, struct target *target);
/* verdicts.c: what was found out before. `first`: the first root on the file's device; `border`: ring->border before the look.
   A verdict of a descriptor gives the whole target, one of an identity its root. */
bool verdict_of_descriptor(int descriptor, struct target *target, uint64_t border, long *verdict);
bool verdict_of_identity(struct target *target, uint32_t first, uint64_t border, long *verdict);
void verdict_remember(const struct target *target, uint32_t first, uint64_t border, long verdict);
void verdict_remember_descriptor(int descriptor, const struct target *target, uint32_t first, uint64_t border, long verdict);
/* The number means something new from here on. */
void verdict_forget(int descriptor);
/* generation.c: 0 or -errno. */
long generation_of_handle(int descriptor, uint32_t *generation);
long generation_of_descriptor(int descriptor, uint32_t mode, uint32_t *generation);
/* Identity of a name in a directory, not followed: -errno when there is none. No verdict is made. */
long identify_name(int parent, const char *name, uint32_t root, struct target *target);
/* Whether `name` in the directory `parent` is on the exclusion list: 1, 0 or -errno. */
long excluded_name(int parent, const char *name, size_t name_bytes);
/* Mode and owner of a fresh object, into the intent. */
struct capture;
void outcome_of_descriptor(struct capture *capture, int descriptor, uint32_t root);
void outcome_of_name(struct capture *capture, int parent, const char *name, uint32_t root);

/* Path of a descriptor into buffer (PATH_BYTES); length or -errno. */
#define PATH_BYTES 4352u
long path_of_descriptor(int descriptor, char *buffer);
/* By its text alone: for the choice between two safe ways, never for a verdict. */
bool path_in_tree(const char *path, size_t bytes);
/* mounts.c: from a path as seen on a mount to the path within its file system; length or -errno. */
long path_within_file_system(uint64_t mount_identifier, char *path);
/* "/proc/thread-self/fd/N": a thread may have a table of its own */
#define DESCRIPTOR_PATH_BYTES 32u
void descriptor_path(int descriptor, char *buffer);

/* ------------------------------------------------------------------ paths.c */

/* Buffers of PATH_BYTES that are not on the stack. Never NULL: at the worst it is mapped afresh. NULL: no memory. */
char *scratch_take(void);
void scratch_return(char *buffer);

/* A name in a directory: the directory held by an O_PATH descriptor, the name copied. */
struct place {
    int parent;
    bool owned;             /* parent is ours to close */
    bool whole;             /* ".", "..", "/" or "": nothing that could be created or removed */
    bool slash;             /* a trailing slash; kept in `name` for the kernel */
    uint16_t name_bytes;    /* without the slash */
    long verdict;           /* OUTSIDE, TRACKED (parent in the tree) or -errno */
    struct target directory;
    char name[264];
};
/* 0 or -errno. `high`: keep low descriptor numbers free, for calls that return one. */
long place_resolve(int directory, const char *path, bool high, struct place *place);
void place_release(struct place *place);
/* The same descriptor with a number that is out of the way: a call that returns one must return the lowest. */
long moved_high(long descriptor);
/* TRACKED when the name itself is replicated (its parent is, and it is not excluded), OUTSIDE, or -errno. */
long place_verdict(struct place *place);
/* An O_PATH descriptor of an existing path: descriptor or -errno. */
long path_open(int directory, const char *path, int flags);

/* ------------------------------------------------------------------ intent.c */

struct capture {
    struct lockstep_arena *arena;
    struct lockstep_intent *intent;
    uint8_t *payload;
    uint64_t sequence;      /* after publication */
    uint32_t arena_number;
    uint32_t index;
    uint64_t signals_before; /* the caller's mask */
};

/* Takes an intent and payload space, waiting (bounded) when there is none. 0 or -errno; nothing has happened then.
   From here to capture_end or capture_drop signals wait, those of faults excepted: a handler that jumps out of the call,
   or a cancellation, would leave an intent that nobody ends. */
long capture_begin(struct capture *capture, enum lockstep_kind kind, size_t payload_bytes, bool in_blocks);
/* The same if there is space at once; else -EAGAIN. */
long capture_begin_now(struct capture *capture, enum lockstep_kind kind, size_t payload_bytes, bool in_blocks);
void capture_name(struct capture *capture, const struct place *place);
void capture_target_name(struct capture *capture, const struct place *place);
/* Gives it its place in the total order. 0, or -errno: then the intent has been returned. */
long capture_publish(struct capture *capture);
/* The same; when it fails, signals go on waiting, until capture_signals_restore. */
long capture_publish_held(struct capture *capture);
void capture_signals_hold(struct capture *capture);
void capture_signals_restore(const struct capture *capture);
/* The system call has returned `result`. */
void capture_end(struct capture *capture, long result);
/* The same for an operation that went on without its caller: no signals waited. */
void capture_end_asynchronous(struct capture *capture, long result);
/* The offset of the first byte written, before capture_end. */
static inline void capture_actual_offset(struct capture *capture, uint64_t offset) {
    capture->intent->actual_offset = offset;
}
/* `inner` began and stays when `capture` ends: the signals wait for it instead. */
void capture_outlived(struct capture *capture, struct capture *inner);
/* Whether a signal that the caller would get is waiting. */
bool capture_is_wanted(const struct capture *capture);
/* Not published after all: intent and space go back. */
void capture_drop(struct capture *capture);
/* Before publication: fewer bytes than it was begun for. */
void capture_shorten(struct capture *capture, size_t payload_bytes);
/* Offsets beyond it would not fit a record together with their bytes: EFBIG in the tree, on every file system. */
#define OFFSET_MAX (INT64_MAX - (1 << 30))
uint64_t nanoseconds_now(void);
uint64_t milliseconds_now(void);
void doorbell_ring(void);

/* ------------------------------------------------------------------ payload.c */

/* Copies what the application handed over: the count that could be read, as the kernel would find it; 0: EFAULT. */
size_t payload_copy(void *to, const void *from, size_t count);
/* Whether all of it can be read. */
bool payload_readable(const void *bytes, size_t count);
/* Addresses that a program can have at all: the kernel looks at these before it does anything. */
bool payload_plausible(const void *bytes, size_t count);
/* Bytes of a text before its zero, at most `limit`; -EFAULT. */
long payload_text(const char *text, size_t limit);
/* Something was mapped over what may have been there. */
void payload_replaced(void);
long passed_munmap(void *address, size_t bytes);
long passed_mprotect(void *address, size_t bytes, int protection);
long passed_pkey_mprotect(void *address, size_t bytes, int protection, int key);
long passed_shmdt(const void *address);
long passed_mremap(void *address, size_t before, size_t bytes, int flags, void *fixed);

/* ------------------------------------------------------------------ unmap.c, ending.c */

/* The kernel's calls, and what has to be done about mappings of replicated files (map.h). */
long mapping_munmap(void *address, size_t bytes);
long mapping_mremap(void *address, size_t before, size_t bytes, int flags, void *fixed);
long mapping_mprotect(void *address, size_t bytes, int protection);
/* 0, or -errno. */
long refuse_remap_file_pages(void *address, size_t bytes);
/* Around a fork that runs no handlers: `forked` takes and gives what the call returned, in both processes. */
void fork_prepare(void);
long forked(long answer);
/* Around an exec. */
void track_leave_all(void);
void track_return_all(void);
void ending_attach(void);

/* ------------------------------------------------------------------ aside.c */

/* Runs the function in a thread with a descriptor table of its own, in which `kept` (or -1) and what is above 15 is as here,
   and waits; false: no thread could be made. */
bool run_aside(void (*function)(void *), void *argument, int kept);

/* ------------------------------------------------------------------ border.c */

/* A rename from outside to a replicated name, from a replicated name to outside, and a replicated name for a file outside.
   0 or -errno; -EXDEV: it can't be told whole, the caller copies. */
long border_enter(const struct place *from, const struct place *to, const struct target *target, unsigned flags);
long border_leave(const struct place *from, const struct place *to, const struct target *target, unsigned flags);
long border_link(int source, const struct target *target, const struct place *to);

/* ------------------------------------------------------------------ flights.c, aio.c, uring_events.c */

/* Ends what the kernel has completed and nobody has asked for yet; whether anything asynchronous may be in flight. */
bool asynchronous_look(void);
/* Its two parts: Linux AIO and io_uring. */
bool aio_look(void);
bool uring_look(void);
/* uring.c: whether this descriptor is a ring of the kernel's. */
bool uring_is_ring(int descriptor);
/* uring_calls.c: -EPERM; a line, where liburing's functions would have been captured. */
long uring_refuse_raw(void);

/* ------------------------------------------------------------------ durability.c */

/* Publishes the barrier of an object (NULL: of everything); then the caller flushes; then waits. */
long barrier_publish(struct capture *capture, const struct lockstep_object *object, int descriptor);
/* The same without waiting for space (-EAGAIN): for a caller that holds a published operation which is not done. */
long barrier_publish_now(struct capture *capture, const struct lockstep_object *object, int descriptor);
/* The same for an intent that is there already. */
long barrier_publish_begun(struct capture *capture, const struct lockstep_object *object, int descriptor);
long barrier_wait(struct capture *capture, long flushed);
/* LOCKSTEP_ANSWER_*, without waiting. */
uint32_t barrier_answer(const struct capture *capture);
long durable_sync(int descriptor, long number);

/* ------------------------------------------------------------------ calls in the kernel's language, for syscall() */

long captured_write(int descriptor, const void *bytes, size_t count);
long captured_pwrite(int descriptor, const void *bytes, size_t count, off_t offset);
long captured_writev(int descriptor, const struct iovec *vector, int count);
long captured_pwritev(int descriptor, const struct iovec *vector, int count, off_t offset, int flags, long number);
long captured_open(int directory, const char *path, int flags, mode_t mode);
long captured_openat2(int directory, const char *path, void *how, size_t bytes);
long captured_open_by_handle(int mount, void *handle, int flags);
long passed_dup(int descriptor);
long passed_dup2(int descriptor, int number);
long passed_dup3(int descriptor, int number, int flags);
long captured_unlink(int directory, const char *path, int flags);
long captured_rename(int directory, const char *path, int target_directory, const char *target_path, unsigned flags);
long captured_link(int directory, const char *path, int target_directory, const char *target_path, int flags);
long captured_mknod(int directory, const char *path, mode_t mode, dev_t device);
long captured_mkdir(int directory, const char *path, mode_t mode);
long captured_symlink(const char *target, int directory, const char *path);
long captured_truncate(const char *path, off_t length);
long captured_ftruncate(int descriptor, off_t length);
long captured_fallocate(int descriptor, int mode, off_t offset, off_t length);
long captured_chmod(int directory, const char *path, mode_t mode, int flags);
long captured_fchmod(int descriptor, mode_t mode);
long captured_chown(int directory, const char *path, uid_t owner, gid_t group, int flags);
long captured_fchown(int descriptor, uid_t owner, gid_t group);
long captured_utimens(int directory, const char *path, const void *times, int flags);
/* `open_flags`: O_NOFOLLOW, or 0. */
long captured_setxattr(const char *path, const char *name, const void *value, size_t bytes, int flags, int open_flags);
long captured_fsetxattr(int descriptor, const char *name, const void *value, size_t bytes, int flags);
long captured_removexattr(const char *path, const char *name, int open_flags);
long captured_fremovexattr(int descriptor, const char *name);
long captured_sync(void);
long captured_syncfs(int descriptor);
long captured_copy_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t count, unsigned flags);
long captured_sendfile(int to, int from, off_t *offset, size_t count);
long captured_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t count, unsigned flags);
long captured_msync(void *address, size_t bytes, int flags);
long captured_madvise(void *address, size_t bytes, int advice);
long captured_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
long captured_io_setup(unsigned events, unsigned long *context);
long captured_io_destroy(unsigned long context);
long captured_io_submit(unsigned long context, long count, void *blocks);
/* `number`: SYS_io_getevents or SYS_io_pgetevents. */
long captured_io_getevents(unsigned long context, long least, long count, void *events, void *timeout, void *signals, long number);
long captured_execve(const char *path, char *const argv[], char *const envp[]);
long captured_execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags);
/* refused.c: 0 when the call may go on, else -errno; the line has been written. */
long refuse_modification(int descriptor, enum line_call call, const char *name, int error);
long refuse_ioctl(int descriptor, unsigned long request);

/* ------------------------------------------------------------------ stdio.c, temporary.c, process.c, aio_posix.c, space.c */

/* A file without a name in P_tmpdir: descriptor or -errno. */
long temporary_unlinked(void);
void stdio_attach(char *const envp[]); /* vtable patch and self-test; ends the process when it fails */
void process_attach(void);
void share_prepare(void); /* before memory is shared with a child: attaches */
void posix_aio_attach(void);
void space_attach(void);

/* ------------------------------------------------------------------ faults.c */

#ifdef LOCKSTEP_FAULTS
void fault_passage(const char *label);
void fault_attach(char *const envp[]);
bool fault_skips(const char *label);
#define FAULT_POINT(label) fault_passage(label)
#define FAULT_SKIPS(label) fault_skips(label)
#else
#define FAULT_POINT(label) ((void)0)
#define FAULT_SKIPS(label) false
#endif

#endif
