#include "observe.h"

#include "../CGuard/caller.h"
#include "evidence.h"
#include "routes.h"
#include "starts.h"
#include "subject.h"
#include "treatments.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static int listener;
static bool keeps_privileges;
static bool has_started; /* CMD's own exec has been seen */
static pthread_t thread;

/* The executable of the caller. */
static struct evidence_program *program_of(pid_t tid) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/exe", tid);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0) return NULL;
    path[bytes] = 0;
    return evidence_program(path);
}

/* ------------------------------------------------------------------ exec */

static bool is_exec(const struct seccomp_data *data) {
    return data->arch == AUDIT_ARCH_X86_64 && (data->nr == SYS_execve || data->nr == SYS_execveat);
}

/* The path that is started, and where a relative one begins. False: the kernel will find the error. */
static bool read_start(struct caller *caller, const struct seccomp_data *data, char path[PATH_MAX], int *base) {
    bool is_at = data->nr == SYS_execveat;
    if (caller_read_text(caller, path, data->args[is_at ? 1 : 0], PATH_MAX) < 0) return false;
    int number = !is_at || path[0] == '/' ? AT_FDCWD : (int)data->args[0];
    *base = number == AT_FDCWD ? caller_directory(caller) : caller_descriptor(caller, number);
    if (*base >= 0 && path[0] == 0) { /* the descriptor itself */
        snprintf(path, PATH_MAX, "/proc/self/fd/%d", *base);
    }
    return *base >= 0;
}

static int start(struct caller *caller, const struct seccomp_data *data) {
    char path[PATH_MAX];
    struct evidence_program *program;
    int base;
    routes_forget();
    if (!read_start(caller, data, path, &base)) return 0;
    enum start started = starts_note(base, path, &program);
    close(base);
    bool is_refused = started == START_FOREIGN || (started == START_PRIVILEGED && !keeps_privileges);
    if (!is_refused) {
        has_started = true;
        return 0;
    }
    int error = evidence_call(program, started == START_FOREIGN ? TREATED_START_FOREIGN : TREATED_START_PRIVILEGED, ROUTE_WRAPPER,
                              "", program->path, 1, false, false);
    /* CMD itself is started all the same: what else it does is worth knowing. */
    bool is_command = !has_started;
    has_started = true;
    return is_command ? 0 : error;
}

/* ------------------------------------------------------------------ one notification */

/* The errno with which the call is refused, or 0. */
static int note(const struct seccomp_notif *notification, struct caller *caller) {
    static struct subject subject;
    const struct seccomp_data *data = &notification->data;
    char object[EVIDENCE_NAME_BYTES];
    if (is_exec(data)) return start(caller, data);
    struct evidence_program *program = program_of(caller->tid);
    enum route route = routes_of(caller->tid, data, program == NULL ? "" : program->path, object);
    if (route == ROUTE_FOREIGN) return evidence_call(program, TREATED_FOREIGN, route, object, "", 1, false, false);
    subject_find(&subject, caller, data, route > ROUTE_AIO);
    if (subject.count == 0) return 0;
    return evidence_call(program, subject.treated, route, object, subject.path, subject.count, subject.direct, subject.durable);
}

static void answer(const struct seccomp_notif *notification) {
    struct caller caller = caller_of(listener, notification);
    int error = note(notification, &caller);
    caller_release(&caller);
    struct seccomp_notif_resp response = {.id = notification->id, .error = -error,
        .flags = error != 0 ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* ENOENT: it has been killed */
}

static void *observe(void *argument) {
    (void)argument;
    union {
        struct seccomp_notif notification;
        unsigned char bytes[GUARD_NOTIFICATION_BYTES];
    } received;
    struct pollfd interest = {.fd = listener, .events = POLLIN};
    for (;;) {
        if (poll(&interest, 1, -1) < 0) continue;
        if ((interest.revents & POLLIN) == 0) return NULL; /* hung up: nobody is left */
        memset(&received, 0, sizeof received);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received.notification) == 0) answer(&received.notification);
    }
}

/* ------------------------------------------------------------------ start and end */

bool observe_start(int given, bool keeps) {
    struct seccomp_notif_sizes sizes;
    listener = given;
    keeps_privileges = keeps;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0 || sizes.seccomp_notif > GUARD_NOTIFICATION_BYTES
        || sizes.seccomp_notif_resp != sizeof(struct seccomp_notif_resp)) {
        errno = ENOSYS;
        return false;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ul); /* the caller runs on at once (Linux 6.6) */
    errno = pthread_create(&thread, NULL, observe, NULL);
    return errno == 0;
}

void observe_wait(void) { pthread_join(thread, NULL); }
