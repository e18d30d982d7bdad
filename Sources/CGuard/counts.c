#include "counts.h"

#include "../CKeeper/say.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

/* The entry of a program and call, made if it is the first; the last entry is everybody's whom the table can't hold. */
static struct guard_count *entry(struct guard_shared *shared, const char *program, int number, bool *is_first) {
    for (int index = 0; index < GUARD_COUNTS_MAX; index++) {
        struct guard_count *count = &shared->counts[index];
        bool is_last = index == GUARD_COUNTS_MAX - 1;
        if (atomic_load(&count->used)) {
            if (is_last || (count->number == number && strcmp(count->program, program) == 0)) return count;
            continue;
        }
        strcpy(count->program, is_last ? "others" : program);
        count->number = is_last ? -1 : number;
        *is_first = true;
        atomic_store_explicit(&count->used, 1, memory_order_release);
        return count;
    }
    __builtin_unreachable();
}

void counts_add(struct guard_shared *shared, struct request *request) {
    char program[GUARD_PROGRAM_BYTES];
    bool is_first = false;
    caller_program(&request->caller, program);
    pthread_mutex_lock(&adding);
    struct guard_count *count = entry(shared, program, request->data->nr, &is_first);
    uint64_t before = request->is_refused ? atomic_fetch_add(&count->refused, 1) : atomic_fetch_add(&count->captured, 1);
    pthread_mutex_unlock(&adding);
    if (is_first || before == 0)
        say("guard: %s of %s (process %d) did not come through the library: %s%s%s", request_name(request->data->nr), program,
            request->caller.tid, request->is_refused ? "refused" : "captured", request->is_refused && request->why ? ": " : "",
            request->is_refused && request->why ? request->why : "");
    if (atomic_exchange(&shared->rung, 1) == 0) send(GUARD_SOCKET, "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}
