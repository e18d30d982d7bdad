#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

/* ------------------------------------------------------------------ what means another thing here */

static const struct {
    const char *prefix, *format; /* the process, the thread */
} translations[] = {
    {"/proc/self/", "/proc/%1$d/"},
    {"/proc/thread-self/", "/proc/%1$d/task/%2$d/"},
    {"/dev/fd/", "/proc/%1$d/fd/"},
};

/* True: `path` is another one now, and leads through this very process's magic links. */
static bool translate(const struct caller *caller, char path[PATH_MAX]) {
    char translated[PATH_MAX];
    for (size_t index = 0; index < sizeof translations / sizeof *translations; index++) {
        size_t bytes = strlen(translations[index].prefix);
        if (strncmp(path, translations[index].prefix, bytes) != 0) continue;
        int start = snprintf(translated, sizeof translated, translations[index].format, caller->process, caller->tid);
        if ((size_t)start + strlen(path + bytes) >= sizeof translated) return false;
        strcpy(translated + start, path + bytes);
        strcpy(path, translated);
        return true;
    }
    return false;
}

/* An agent's own directory in procfs, reached through a link or relatively: the caller's in its stead. */
static long translate_directory(const struct caller *caller, int directory) {
    char link[64], path[PATH_MAX], translated[PATH_MAX + 32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes < 0) return -errno;
    path[bytes] = 0;
    int own = snprintf(link, sizeof link, "/proc/%d", getpid());
    if (strncmp(path, link, (size_t)own) != 0 || (path[own] != '/' && path[own] != 0)) return directory;
    close(directory);
    if (strncmp(path + own, "/task/", 6) == 0) {
        const char *rest = strchr(path + own + 6, '/');
        snprintf(translated, sizeof translated, "/proc/%d/task/%d%s", caller->process, caller->tid, rest == NULL ? "" : rest);
    } else {
        snprintf(translated, sizeof translated, "/proc/%d%s", caller->process, path + own);
    }
    int opened = open(translated, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

/* ------------------------------------------------------------------ one look */

static long open_directory(const struct caller *caller, int base, char path[PATH_MAX], struct place *place) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC};
    if (path[0] != '/' || !translate(caller, path)) how.resolve = RESOLVE_NO_MAGICLINKS;
    long opened = syscall(SYS_openat2, base, path, &how, sizeof how);
    if (opened < 0) {
        if (errno != ELOOP || how.resolve == 0) return -errno;
        how.resolve = 0;
        opened = syscall(SYS_openat2, base, path, &how, sizeof how);
        if (opened < 0) return -errno;
        close((int)opened);
        return -EOPNOTSUPP; /* a magic link of whoever follows it */
    }
    struct statfs system;
    if (fstatfs((int)opened, &system) != 0) {
        close((int)opened);
        return -EIO;
    }
    place->is_process = system.f_type == PROC_SUPER_MAGIC;
    if (place->is_process) opened = translate_directory(caller, (int)opened);
    if (opened < 0) return opened;
    place->directory = (int)opened;
    return 0;
}

/* Takes `path` apart at its last name; "", "/" and "//" are names as a whole. */
static long look(const struct caller *caller, int base, char path[PATH_MAX], struct place *place) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    if (end == 0) start = 0;
    strcpy(place->name, path + start);
    if (start > 0) path[start] = 0;
    else strcpy(path, ".");
    if (start == 0 && place->name[0] == 0) { /* the directory itself, with AT_EMPTY_PATH; else ENOENT */
        place->directory = fcntl(base, F_DUPFD_CLOEXEC, 0);
        return place->directory < 0 ? -errno : 0;
    }
    return open_directory(caller, base, path, place);
}

long place_resolve(struct caller *caller, int base, const char *given, bool follows, struct place *place) {
    char path[PATH_MAX];
    place->directory = -1;
    place->is_process = false;
    strcpy(path, given);
    /* The whole of "/proc/self" and "/dev/stdout": their last names are links of procfs, found below. */
    long answer = look(caller, base, path, place);
    for (int links = 0; answer == 0 && follows && !place->is_process && place->name[0] != 0; links++) {
        ssize_t bytes = readlinkat(place->directory, place->name, path, sizeof path - 1);
        if (bytes < 0) return 0; /* none, or nothing: the call itself finds out */
        path[bytes] = 0;
        if (links == LINKS_MAX) {
            answer = -ELOOP;
            break;
        }
        int before = place->directory;
        place->directory = -1;
        answer = look(caller, before, path, place);
        close(before);
    }
    if (answer != 0) place_release(place);
    return answer;
}

void place_release(struct place *place) {
    if (place->directory >= 0) close(place->directory);
    place->directory = -1;
}

void place_path(const struct place *place, char path[PATH_MAX + 64]) {
    snprintf(path, PATH_MAX + 64, "/proc/self/fd/%d/%s", place->directory, place->name);
}
