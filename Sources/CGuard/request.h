/*
 * request.h: one call that did not come through the library, from its notification to its answer.
 *
 *     notification --data.c, names.c--> CONTINUE    a descriptor that is no replicated file: the kernel goes on
 *                                   --> refused     can't be captured; an errno upon which programs fall back
 *                                   --> executed    by this process, which is covered: captured as everybody's calls
 *
 * Only a descriptor that was looked at may be continued with. A path is always executed here, on the copy, in the tree or not.
 */
#ifndef GUARD_REQUEST_H
#define GUARD_REQUEST_H

#include "caller.h"

enum request_answer { ANSWER_VALUE, ANSWER_CONTINUE, ANSWER_DESCRIPTOR, ANSWER_NOBODY };

struct request {
    struct guard_shared *shared;
    struct guard_slot *slot;
    const struct seccomp_data *data;
    struct caller caller;
    enum request_answer answer;
    int64_t value;            /* or -errno; of ANSWER_DESCRIPTOR the descriptor */
    bool closes_on_exec;      /* the caller's descriptor */
    bool is_tracked;          /* it concerns the tree: counted */
    bool is_refused;
    const char *why;          /* for people, when it is refused */
};

/* Number and name of the call. */
static inline uint64_t request_argument(const struct request *request, int index) { return request->data->args[index]; }
static inline int request_descriptor(const struct request *request, int index) { return (int)request->data->args[index]; }
const char *request_name(int number);

/* From here on it counts as executed. False: its caller is gone, or has been interrupted. */
bool request_begin(struct request *request);

static inline void request_value(struct request *request, int64_t value) {
    request->answer = ANSWER_VALUE;
    request->value = value;
}
static inline void request_continue(struct request *request) { request->answer = ANSWER_CONTINUE; }
static inline void request_refuse(struct request *request, int error, const char *why) {
    request_value(request, -error);
    request->is_refused = true;
    request->why = why;
}

/* data.c: calls on descriptors; names.c: calls on paths. False: the number is none of theirs. */
bool data_execute(struct request *request);
bool names_execute(struct request *request);
/* Makes the memory through which bytes of callers go; once per thread. */
bool data_prepare_thread(void);

/* The library's verdict about a descriptor of this process: 1 replicated, 0 not, -errno not known. */
extern int (*library_verdict)(int descriptor);

#endif
