/*
 * actions.c: the opens of a posix_spawn, which libc makes in the child with its own calls.
 *
 *   addopen("out", O_CREAT | O_TRUNC) --posix_spawn--> "out" created or truncated here, captured, in a thread with its own
 *                                                      descriptors; the child opens it without these flags
 *
 * What such an open would not change is left as it is. Else the descriptor would have to be handed over, and closing it here
 * would drop the locks of this process. The list of actions is libc's own; that it looks as described here
 * is found out at the first use, and if it does not, posix_spawn
 * with actions is left to the guard, or refused.
 */
#define _GNU_SOURCE
#include "process.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>

#define CHANGING (O_CREAT | O_EXCL | O_TRUNC)

static bool layout_known, layout_looked_at;

/* At the first use, not at start-up: libc's list is made by malloc, which may be the application's own. */
static void look_at_layout(void) {
    int (*initialize)(posix_spawn_file_actions_t *) =
        (int (*)(posix_spawn_file_actions_t *))dlsym(RTLD_NEXT, "posix_spawn_file_actions_init");
    int (*destroy)(posix_spawn_file_actions_t *) =
        (int (*)(posix_spawn_file_actions_t *))dlsym(RTLD_NEXT, "posix_spawn_file_actions_destroy");
    int (*add_open)(posix_spawn_file_actions_t *, int, const char *, int, mode_t) =
        (int (*)(posix_spawn_file_actions_t *, int, const char *, int, mode_t))
            dlsym(RTLD_NEXT, "posix_spawn_file_actions_addopen");
    int (*add_directory)(posix_spawn_file_actions_t *, const char *) =
        (int (*)(posix_spawn_file_actions_t *, const char *))dlsym(RTLD_NEXT, "posix_spawn_file_actions_addchdir_np");
    int (*add_descriptor)(posix_spawn_file_actions_t *, int) =
        (int (*)(posix_spawn_file_actions_t *, int))dlsym(RTLD_NEXT, "posix_spawn_file_actions_addfchdir_np");
    posix_spawn_file_actions_t probe;
    if (!initialize || !destroy || !add_open || !add_directory || !add_descriptor || initialize(&probe) != 0)
        return;
    if (add_open(&probe, 11, "open", O_CREAT | O_WRONLY, 0640) == 0 && add_directory(&probe, "directory") == 0
        && add_descriptor(&probe, 12) == 0 && probe.__used == 3) {
        const struct action *action = (const struct action *)probe.__actions;
        layout_known = action[0].tag == ACTION_OPEN && action[0].open.descriptor == 11
            && strcmp(action[0].open.path, "open") == 0 && action[0].open.flags == (O_CREAT | O_WRONLY)
            && action[0].open.mode == 0640 && action[1].tag == ACTION_CHDIR
            && strcmp(action[1].path, "directory") == 0 && action[2].tag == ACTION_FCHDIR && action[2].descriptor == 12;
    }
    destroy(&probe);
    layout_looked_at = true;
}

size_t actions_changing(const posix_spawn_file_actions_t *actions) {
    size_t changing = 0;
    if (actions && actions->__used > 0 && !layout_looked_at)
        look_at_layout();
    for (int i = 0; actions && i < actions->__used; i++) {
        const struct action *action = (const struct action *)actions->__actions + i;
        if (!layout_known || (action->tag == ACTION_OPEN && (action->open.flags & CHANGING)))
            changing++;
    }
    return changing;
}

/* ------------------------------------------------------------------ in the thread aside */

struct preparation {
    struct action *actions;
    int count;
    long answer;
};

/* For the auditor every regular file is one of the tree. */
static long concerns_regular(int directory, const struct action *action) {
    struct statx status = {.stx_mode = 0};
    long answer = kernel(SYS_statx, directory, action->open.path, 0, STATX_TYPE, &status);
    return answer == -ENOENT ? (action->open.flags & O_CREAT) != 0 : answer == 0 && S_ISREG(status.stx_mode);
}

/* Whether the open of this path could change something that is replicated: 1, 0 or -errno. */
static long concerns_tree(int directory, const struct action *action) {
    struct target target;
    struct place place;
    char link;
    if (audited)
        return concerns_regular(directory, action);
    long opened = path_open(directory, action->open.path, action->open.flags & O_NOFOLLOW), verdict;
    if (opened >= 0) {
        verdict = identify((int)opened, &target);
        kernel(SYS_close, opened);
        return verdict < 0 ? verdict : verdict == TRACKED && S_ISREG(target.mode);
    }
    if (!(action->open.flags & O_CREAT) || place_resolve(directory, action->open.path, false, &place) != 0)
        return 0; /* the child's open finds the same error */
    verdict = place.whole ? OUTSIDE : place_verdict(&place);
    /* What a link means that leads to nothing is found out by the captured open. */
    if (verdict == OUTSIDE && !place.whole && kernel(SYS_readlinkat, place.parent, place.name, &link, 1) >= 0)
        verdict = TRACKED;
    place_release(&place);
    return verdict < 0 ? verdict : verdict == TRACKED;
}

/* The child could not open again what it has made: it is not the one that may do everything. */
static bool opens_again(const struct action *action) {
    static const mode_t needed[] = {[O_RDONLY] = 0400, [O_WRONLY] = 0200, [O_RDWR] = 0600, [O_ACCMODE] = 0600};
    mode_t given = action->open.mode & ~atomic_load_explicit(&process_umask, memory_order_relaxed);
    return kernel(SYS_geteuid) == 0 || !(needed[action->open.flags & O_ACCMODE] & ~given);
}

/* What is not understood is left to the guard, or refused. */
static long refused(const struct action *action, const char *why) {
    if (guarded)
        return 0;
    line(LINE_SPAWN, "posix_spawn", -1, action->open.path, why);
    return -EPERM;
}

static long prepare_open(int directory, struct action *action) {
    long concerns = concerns_tree(directory, action);
    if (concerns <= 0)
        return concerns;
    if (!opens_again(action))
        return refused(action, "its child creates a file that it may not open itself: refused");
    long opened = captured_open(directory, action->open.path, action->open.flags | O_CLOEXEC, action->open.mode);
    if (opened < 0)
        return opened;
    kernel(SYS_close, opened);
    action->open.flags &= ~CHANGING;
    return 0;
}

static void prepare(void *argument) {
    struct preparation *preparation = argument;
    int directory = AT_FDCWD;
    bool known = true; /* where the child will be */
    for (int i = 0; i < preparation->count && preparation->answer == 0; i++) {
        struct action *action = &preparation->actions[i];
        if (action->tag == ACTION_CHDIR) {
            long next = path_open(directory, action->path, O_DIRECTORY);
            if (directory != AT_FDCWD)
                kernel(SYS_close, directory);
            directory = next < 0 ? AT_FDCWD : (int)next;
            if (next < 0)
                break; /* the child ends here with the same error */
        } else if (action->tag == ACTION_FCHDIR)
            known = false;
        else if (action->tag == ACTION_OPEN && (action->open.flags & CHANGING)) {
            if (!known && action->open.path[0] != '/')
                preparation->answer = refused(action, "its child opens by a path relative to a descriptor: refused");
            else
                preparation->answer = prepare_open(directory, action);
        }
    }
    if (directory != AT_FDCWD)
        kernel(SYS_close, directory);
}

long actions_prepare(posix_spawn_file_actions_t *actions, struct action *space) {
    if (!layout_known) {
        if (guarded)
            return 0;
        line(LINE_SPAWN, "posix_spawn", -1, NULL, "the file actions of this C library are not understood: refused");
        return -EPERM;
    }
    memcpy(space, actions->__actions, (size_t)actions->__used * sizeof *space);
    actions->__actions = (struct __spawn_action *)space;
    struct preparation preparation = {space, actions->__used, 0};
    return run_aside(prepare, &preparation, -1) ? preparation.answer : -EAGAIN;
}
