/*
 * faults.c: LOCKSTEP_FAULT=label:count:stop|kill ends or stops the process at the count-th passage of a labelled
 * instruction; label:0:skip leaves out what the label stands for. Only in builds with LOCKSTEP_FAULTS; a product has none
 * of this.
 */
#ifdef LOCKSTEP_FAULTS
#define _GNU_SOURCE
#include "library.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static char fault_label[32];
static _Atomic(long) fault_count;
static int fault_signal; /* 0: skip */

void fault_attach(char *const envp[]) {
    const char *value = NULL;
    for (; *envp; envp++)
        if (strncmp(*envp, "LOCKSTEP_FAULT=", 15) == 0)
            value = *envp + 15;
    const char *colon = value ? strchr(value, ':') : NULL;
    const char *action = colon ? strchr(colon + 1, ':') : NULL;
    if (!value)
        return;
    if (!action || (size_t)(colon - value) >= sizeof fault_label)
        line_exit(LOCKSTEP_EXIT_USAGE, "LOCKSTEP_FAULT is label:count:stop|kill|skip", value);
    memcpy(fault_label, value, (size_t)(colon - value));
    atomic_store(&fault_count, strtol(colon + 1, NULL, 10));
    fault_signal = strcmp(action + 1, "stop") == 0 ? SIGSTOP : strcmp(action + 1, "skip") == 0 ? 0 : SIGKILL;
}

bool fault_skips(const char *label) { return !fault_signal && strcmp(label, fault_label) == 0; }

void fault_passage(const char *label) {
    if (fault_signal && strcmp(label, fault_label) == 0 && atomic_fetch_sub(&fault_count, 1) == 1)
        kernel(SYS_kill, kernel(SYS_getpid), fault_signal);
}
#else
typedef int faults_are_not_built;
#endif
