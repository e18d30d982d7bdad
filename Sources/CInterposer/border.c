/*
 * border.c: rename and link across the border of a tree.
 *
 *   out   removal of the inner name    then the kernel's call: the peer unlinks, a directory with all that is in it
 *   in    LINK of the target's name    the kernel's call under a lease: the daemon looks the name up and tells it whole
 *
 * Writes to a file outside are seen by nobody, so it comes in only while nobody has it open for writing: the kernel
 * grants a read lease then, and whoever opens it for writing meanwhile waits until it is inside and the verdicts of before
 * are void (`ring->border`). A file that is open for writing, that the caller may not read or does not own, a directory and
 * an exchange are answered with EXDEV, as between two mounts: every program copies then, and the copy is captured. The
 * lease is held by a thread with a descriptor table of its own: closing the file here would drop the caller's POSIX locks.
 */
#define _GNU_SOURCE
#include "library.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <signal.h>
#include <sys/stat.h>

static void verdicts_void(void) {
    if (!FAULT_SKIPS("border-kept"))
        atomic_fetch_add(&ring->border, 1);
}

/* ------------------------------------------------------------------ in */

struct entry {
    int from, to;           /* O_PATH descriptors above 15: of two directories, or of the file and a directory */
    const char *name;       /* NULL: `from` is the file itself, and gets a further name */
    const char *target_name;
    unsigned flags;
    bool regular;
    long answer;
};

static long enter_call(const struct entry *e) {
    char link[DESCRIPTOR_PATH_BYTES];
    if (e->name)
        return kernel(SYS_renameat2, e->from, e->name, e->to, e->target_name, e->flags);
    descriptor_path(e->from, link);
    return kernel(SYS_linkat, AT_FDCWD, link, e->to, e->target_name, AT_SYMLINK_FOLLOW);
}

/* Opens what is to come in, as long as that has no effect on anybody. */
static long lease_open(const struct entry *e) {
    const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    char link[DESCRIPTOR_PATH_BYTES];
    if (e->name)
        return kernel(SYS_openat, e->from, e->name, flags | O_NOFOLLOW, 0);
    descriptor_path(e->from, link);
    return kernel(SYS_openat, AT_FDCWD, link, flags, 0);
}

static void enter_leased(void *argument) {
    struct entry *e = argument;
    long file = lease_open(e);
    e->answer = -EXDEV;
    if (file < 0)
        return;
    /* Who opens it has this thread told, in which all signals are blocked, and which ends. */
    struct f_owner_ex owner = {F_OWNER_TID, (pid_t)kernel(SYS_gettid)};
    struct statx before, after;
    if (kernel(SYS_fcntl, file, F_SETOWN_EX, &owner) == 0 && kernel(SYS_fcntl, file, F_SETLEASE, F_RDLCK) == 0
        && kernel(SYS_statx, file, "", AT_EMPTY_PATH, STATX_INO, &before) == 0) {
        FAULT_POINT("border-leased");
        e->answer = enter_call(e);
        if (e->answer == 0) {
            FAULT_POINT("border-crossed");
            verdicts_void();
            if (kernel(SYS_statx, e->to, e->target_name, AT_SYMLINK_NOFOLLOW, STATX_INO, &after) == 0
                && after.stx_ino != before.stx_ino)
                line(LINE_RENAME, "rename", e->to, NULL, "replaced while it came into the tree: if it is open elsewhere, its writes may be missed");
        }
    }
    kernel(SYS_close, file);
}

static long enter(struct entry *e) {
    int from = e->from, to = e->to;
    e->answer = -EXDEV;
    e->from = (int)moved_high(kernel(SYS_fcntl, from, F_DUPFD_CLOEXEC, 20));
    e->to = (int)moved_high(kernel(SYS_fcntl, to, F_DUPFD_CLOEXEC, 20));
    if (e->from >= 20 && e->to >= 20) {
        if (!e->regular) {
            e->answer = enter_call(e);
            if (e->answer == 0)
                verdicts_void();
        } else if (!run_aside(enter_leased, e, -1))
            e->answer = -ENOMEM;
    }
    if (e->from >= 0)
        kernel(SYS_close, e->from);
    if (e->to >= 0)
        kernel(SYS_close, e->to);
    return e->answer;
}

/* The name `to` is to mean what `target` is, which is outside now. */
static long enter_captured(struct entry *e, const struct target *target, const struct place *to) {
    if (!S_ISREG(target->mode) && !S_ISLNK(target->mode))
        return -EXDEV;
    if (target->device != to->directory.device || (e->flags & ~(unsigned)RENAME_NOREPLACE))
        return -EXDEV;
    e->to = to->parent;
    e->target_name = to->name;
    e->regular = S_ISREG(target->mode);
    struct capture capture;
    long answer = capture_begin(&capture, LOCKSTEP_KIND_LINK, 0, false);
    if (answer)
        return answer;
    capture_target_name(&capture, to);
    capture.intent->object = target->object;
    capture.intent->object.root = to->directory.object.root;
    capture.intent->mode = target->mode;
    capture.intent->flags = LOCKSTEP_FLAG_CROSSES;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = enter(e);
    capture_end(&capture, answer);
    if (answer == -EXDEV)
        line(LINE_RENAME, e->name ? "rename" : "link", to->parent, NULL,
             "into the tree: the file is open for writing, or not the caller's: EXDEV, to be copied");
    return answer;
}

long border_enter(const struct place *from, const struct place *to, const struct target *target, unsigned flags) {
    struct entry e = {.from = from->parent, .name = from->name, .flags = flags};
    return enter_captured(&e, target, to);
}

long border_link(int source, const struct target *target, const struct place *to) {
    struct entry e = {.from = source};
    return enter_captured(&e, target, to);
}

/* ------------------------------------------------------------------ out */

long border_leave(const struct place *from, const struct place *to, const struct target *target, unsigned flags) {
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EXDEV;
    struct capture capture;
    long answer = capture_begin(&capture, S_ISDIR(target->mode) ? LOCKSTEP_KIND_RMDIR : LOCKSTEP_KIND_UNLINK, 0, false);
    if (answer)
        return answer;
    capture_name(&capture, from);
    capture.intent->object = target->object;
    capture.intent->mode = target->mode;
    capture.intent->flags = LOCKSTEP_FLAG_CROSSES;
    if ((answer = capture_publish(&capture)) != 0)
        return answer;
    answer = kernel(SYS_renameat2, from->parent, from->name, to->parent, to->name, flags);
    if (answer == 0) {
        FAULT_POINT("border-left");
        verdicts_void();
    }
    capture_end(&capture, answer);
    return answer;
}
