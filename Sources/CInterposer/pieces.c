/*
 * pieces.c: the list of this process's shared mappings of files of the tree.
 *
 * A fixed table, looked through from its start; most programs have none, and pay one load per call. The lock lies on the
 * page that a forked child finds empty: what its parent's other threads held is free there.
 */
#define _GNU_SOURCE
#include "map.h"
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#define PIECES_MAX 1024u

static struct piece pieces[PIECES_MAX];
static _Atomic(uint32_t) pieces_end; /* none from here on */
static _Atomic(bool) incomplete;

bool pieces_exist(void) { return atomic_load_explicit(&pieces_end, memory_order_relaxed) != 0; }

bool pieces_are_incomplete(void) { return atomic_load(&incomplete); }

void pieces_lock(uint64_t *signals) {
    /* A handler that maps something would wait for its own thread. */
    uint64_t all = ~0ull & ~(1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1));
    kernel(SYS_rt_sigprocmask, SIG_BLOCK, &all, signals, 8);
    uint32_t free_word = 0;
    while (!atomic_compare_exchange_strong(&process_page->pieces_lock, &free_word, 1)) {
        struct timespec bound = {.tv_nsec = 1000000};
        kernel(SYS_futex, &process_page->pieces_lock, FUTEX_WAIT, 1, &bound, 0, 0);
        free_word = 0;
    }
}

void pieces_unlock(const uint64_t *signals) {
    atomic_store(&process_page->pieces_lock, 0);
    kernel(SYS_futex, &process_page->pieces_lock, FUTEX_WAKE, 1, 0, 0, 0);
    kernel(SYS_rt_sigprocmask, SIG_SETMASK, signals, 0, 8);
}

struct piece *piece_add(const struct piece *made) {
    for (uint32_t i = 0; i < PIECES_MAX; i++) {
        struct piece *piece = &pieces[i];
        if (piece->kind != PIECE_NONE)
            continue;
        uint8_t kind = made->kind;
        *piece = *made;
        piece->kind = PIECE_NONE;
        atomic_signal_fence(memory_order_seq_cst);
        piece->kind = kind;
        if (i >= atomic_load(&pieces_end))
            atomic_store(&pieces_end, i + 1);
        return piece;
    }
    atomic_store(&incomplete, true);
    return NULL;
}

struct piece *piece_next(struct piece *from, uintptr_t address, size_t bytes) {
    for (uint32_t i = from ? (uint32_t)(from - pieces) : 0; i < atomic_load(&pieces_end); i++)
        if (pieces[i].kind != PIECE_NONE && pieces[i].address < address + bytes && address < pieces[i].address + pieces[i].bytes)
            return &pieces[i];
    return NULL;
}

/* `piece` ends at `at`, and a new one begins there. */
static bool cut(struct piece *piece, uintptr_t at) {
    struct piece back = *piece;
    size_t front = at - piece->address;
    back.address = at;
    back.bytes -= front;
    back.offset += front;
    back.hidden += back.hidden ? front : 0;
    struct piece *made = piece_add(&back);
    if (!made)
        return false;
    piece->bytes = front;
    if (piece->kind != PIECE_TRACKED || track_split(piece, made))
        return true;
    piece->bytes += made->bytes;
    made->kind = PIECE_NONE;
    return false;
}

bool pieces_cut(uintptr_t address, size_t bytes) {
    const uintptr_t bounds[2] = {address, address + bytes};
    for (int i = 0; i < 2; i++)
        for (struct piece *piece = piece_next(NULL, bounds[i], 1); piece; piece = piece_next(piece + 1, bounds[i], 1))
            if (piece->address != bounds[i] && !cut(piece, bounds[i]))
                return false;
    return true;
}
