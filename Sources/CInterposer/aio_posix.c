/*
 * aio_posix.c: POSIX AIO. libc's own threads would write inside libc, so on the tree the operation is carried out at the
 * call, by the captured one. Its result lies in the control block, where aio_error, aio_return, aio_suspend and aio_cancel
 * find it; then the notification. Outside the tree it is libc's.
 */
#define _GNU_SOURCE
#include "library.h"
#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PRIORITY_DELTA_MAX 20 /* libc's */

static struct {
    int (*aio_write)(struct aiocb *);
    int (*aio_fsync)(int, struct aiocb *);
    int (*lio_listio)(int, struct aiocb *const[], int, struct sigevent *);
} libc;

void posix_aio_attach(void) {
    libc.aio_write = (int (*)(struct aiocb *))dlsym(RTLD_NEXT, "aio_write");
    libc.aio_fsync = (int (*)(int, struct aiocb *))dlsym(RTLD_NEXT, "aio_fsync");
    libc.lio_listio =
        (int (*)(int, struct aiocb *const[], int, struct sigevent *))dlsym(RTLD_NEXT, "lio_listio");
}

static void inert_attach(void) {
    if (!libc.lio_listio)
        posix_aio_attach();
}

/* As libc's threads do it. */
static void notify(const struct sigevent *event) {
    if (event->sigev_notify == SIGEV_THREAD) {
        pthread_t thread;
        pthread_attr_t own, *attributes = event->sigev_notify_attributes;
        if (!attributes) {
            pthread_attr_init(attributes = &own);
            pthread_attr_setdetachstate(&own, PTHREAD_CREATE_DETACHED);
        }
        /* A sigval is passed as a pointer is. */
        pthread_create(&thread, attributes, (void *(*)(void *))(void *)event->sigev_notify_function, event->sigev_value.sival_ptr);
        if (attributes == &own)
            pthread_attr_destroy(&own);
    } else if (event->sigev_notify == SIGEV_SIGNAL) {
        siginfo_t information;
        memset(&information, 0, sizeof information);
        information.si_signo = event->sigev_signo;
        information.si_code = SI_ASYNCIO;
        information.si_pid = (pid_t)kernel(SYS_getpid);
        information.si_uid = (uid_t)kernel(SYS_getuid);
        information.si_value = event->sigev_value;
        kernel(SYS_rt_sigqueueinfo, information.si_pid, event->sigev_signo, &information);
    }
}

/* Written before the notification: a handler asks for it. */
static void conclude(struct aiocb *block, long result) {
    block->__return_value = result < 0 ? -1 : result;
    atomic_thread_fence(memory_order_release);
    *(volatile int *)&block->__error_code = result < 0 ? (int)-result : 0;
    notify(&block->aio_sigevent);
}

/* 1: not of the tree; 0: done; -errno: not begun. */
static long write_tracked(struct aiocb *block) {
    struct target target;
    long verdict = attached() ? identify_regular(block->aio_fildes, &target) : audited ? TRACKED : OUTSIDE;
    if (verdict != TRACKED)
        return verdict == OUTSIDE ? 1 : verdict;
    if (block->aio_reqprio < 0 || block->aio_reqprio > PRIORITY_DELTA_MAX) {
        block->__error_code = EINVAL;
        block->__return_value = -1;
        return -EINVAL;
    }
    block->aio_lio_opcode = LIO_WRITE;
    conclude(block, audited ? kernel(SYS_pwrite64, block->aio_fildes, block->aio_buf, block->aio_nbytes, block->aio_offset, 0,
                                     LOCKSTEP_AUDITED_AIO)
                            : captured_pwrite(block->aio_fildes, (const void *)block->aio_buf, block->aio_nbytes, block->aio_offset));
    return 0;
}

EXPORTED int aio_write(struct aiocb *block) {
    inert_attach();
    long answer = write_tracked(block);
    return answer == 1 ? libc.aio_write(block) : (int)returned(answer);
}
EXPORTED int aio_write64(struct aiocb64 *block) { return aio_write((struct aiocb *)block); }

/* What was queued before it has been carried out. */
EXPORTED int aio_fsync(int operation, struct aiocb *block) {
    struct target target;
    inert_attach();
    long flags = kernel(SYS_fcntl, block->aio_fildes, F_GETFL, 0, 0, 0, 0);
    long verdict = attached() ? identify(block->aio_fildes, &target) : audited ? TRACKED : OUTSIDE;
    /* One that is open for reading is flushed as well, as by fsync. */
    if (verdict == OUTSIDE || flags < 0 || (operation != O_SYNC && operation != O_DSYNC))
        return libc.aio_fsync(operation, block);
    if (verdict < 0)
        return (int)returned(verdict);
    long number = operation == O_SYNC ? SYS_fsync : SYS_fdatasync;
    conclude(block, audited ? kernel(number, block->aio_fildes, 0, 0, 0, 0, LOCKSTEP_AUDITED_AIO)
                            : durable_sync(block->aio_fildes, number));
    return 0;
}
EXPORTED int aio_fsync64(int operation, struct aiocb64 *block) { return aio_fsync(operation, (struct aiocb *)block); }

/* Those of the tree are carried out first, and are no operations for libc, which waits for the others and notifies. */
EXPORTED int lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *event) {
    inert_attach();
    bool failed = false, refused = false;
    if (mode != LIO_WAIT && mode != LIO_NOWAIT)
        return libc.lio_listio(mode, list, count, event);
    for (int index = 0; index < count; index++) {
        struct aiocb *block = list[index];
        if (!block || block->aio_lio_opcode != LIO_WRITE)
            continue;
        long answer = write_tracked(block);
        if (answer == 1)
            continue;
        if (answer < 0) { /* not begun, and nobody will ever conclude it */
            block->__return_value = -1;
            block->__error_code = (int)-answer;
            refused = true;
        }
        failed = failed || block->__error_code != 0;
        block->aio_lio_opcode = LIO_NOP;
        block->__next_prio = block;
    }
    int answer = libc.lio_listio(mode, list, count, event), error = errno;
    for (int index = 0; index < count; index++)
        if (list[index] && list[index]->aio_lio_opcode == LIO_NOP && list[index]->__next_prio == list[index]) {
            list[index]->aio_lio_opcode = LIO_WRITE;
            list[index]->__next_prio = NULL;
        }
    errno = error;
    return answer == 0 && (refused || (failed && mode == LIO_WAIT)) ? (int)returned(-EIO) : answer;
}
EXPORTED int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event) {
    return lio_listio(mode, (struct aiocb *const *)list, count, event);
}
_Static_assert(sizeof(struct aiocb) == sizeof(struct aiocb64), "on x86-64 both are the same");
