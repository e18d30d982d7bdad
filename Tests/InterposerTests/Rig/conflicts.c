/*
 * conflicts.c: operations whose order in the ring does not say what the file became.
 *
 *     n ├── reserved ── call ── done ┤ done_reserved      operations numbered in between were in flight together with n
 *           m ├──────────────────────────┤                 n < m < done_reserved(n)
 *
 * Such pairs on the same bytes or the same names, and operations whose owner died without `done`, are read from ROOT
 * once everything is quiet: the rule of the product (R1, R3) at its simplest.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <stdarg.h>
#include <stdlib.h>

/* An operation that is done, with what it touched; kept until no later operation can have been in flight with it. */
struct window {
    uint64_t sequence, done_reserved;
    unsigned kind;
    struct lockstep_object object, parent, target_parent;
    char name[256], target_name[256];
    uint64_t lower, upper; /* bytes; empty: none */
    bool size;
    struct window *next;
};
static struct window *windows, *repairs;

struct contradiction {
    uint64_t sequence;
    char text[400];
    struct contradiction *next;
};
static struct contradiction *contradictions;

void contradiction(const struct operation *o, const char *format, ...) {
    struct contradiction *c = malloc(sizeof *c);
    c->sequence = o->sequence;
    c->next = contradictions;
    contradictions = c;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->text, sizeof c->text, format, arguments);
    va_end(arguments);
}

static void excuse(uint64_t sequence) {
    for (struct contradiction **link = &contradictions; *link;) {
        struct contradiction *c = *link;
        if (c->sequence == sequence) {
            *link = c->next;
            free(c);
        } else
            link = &c->next;
    }
}

static bool same(struct lockstep_object a, struct lockstep_object b) { return a.inode && a.inode == b.inode && a.generation == b.generation; }

static struct window *window_of(const struct operation *o) {
    const struct lockstep_intent *i = &o->intent;
    struct window *w = calloc(1, sizeof *w);
    *w = (struct window){.sequence = o->sequence, .done_reserved = i->done_reserved, .kind = i->kind, .object = i->object, .parent = i->parent, .target_parent = i->target_parent};
    memcpy(w->name, o->name, sizeof w->name);
    memcpy(w->target_name, o->target_name, sizeof w->target_name);
    switch (i->kind) {
    case LOCKSTEP_KIND_WRITE: case LOCKSTEP_KIND_SUBMIT: {
        bool whole = i->result_flags & LOCKSTEP_RESULT_CONTENDED || (o->lost && i->flags & (LOCKSTEP_FLAG_APPEND | LOCKSTEP_FLAG_PREDICTED));
        uint64_t offset = i->flags & LOCKSTEP_FLAG_PREDICTED && !o->lost ? i->actual_offset : i->offset;
        w->lower = whole ? 0 : offset;
        w->upper = whole ? INT64_MAX : offset + (o->lost ? i->length : i->result > 0 ? (uint64_t)i->result : 0);
        w->size = whole;
        break;
    }
    case LOCKSTEP_KIND_CHANGED: case LOCKSTEP_KIND_ALLOCATE:
        w->lower = i->offset;
        w->upper = i->offset + i->length;
        w->size = i->kind == LOCKSTEP_KIND_ALLOCATE;
        break;
    case LOCKSTEP_KIND_TRUNCATE:
        w->lower = i->length;
        w->upper = INT64_MAX;
        w->size = true;
        break;
    }
    return w;
}

static bool is_metadata(unsigned kind) { return kind == LOCKSTEP_KIND_CHMOD || kind == LOCKSTEP_KIND_CHOWN || kind == LOCKSTEP_KIND_SETXATTR || kind == LOCKSTEP_KIND_REMOVEXATTR; }

static bool shares_name(struct lockstep_object parent, const char *name, const struct window *w) {
    return *name && ((same(parent, w->parent) && !strcmp(name, w->name)) || (same(parent, w->target_parent) && !strcmp(name, w->target_name)));
}

static bool conflict(const struct window *a, const struct window *b) {
    bool names_a = *a->name, names_b = *b->name;
    if (names_a && names_b)
        return shares_name(a->parent, a->name, b) || shares_name(a->target_parent, a->target_name, b) || same(a->object, b->object) ||
               same(a->object, b->parent) || same(b->object, a->parent) || same(a->object, b->target_parent) || same(b->object, a->target_parent);
    if (!same(a->object, b->object)) return false;
    return (a->lower < b->upper && b->lower < a->upper) || (is_metadata(a->kind) && is_metadata(b->kind));
}

static void repair_later(const struct window *w) {
    struct window *copy = malloc(sizeof *copy);
    *copy = *w;
    copy->next = repairs;
    repairs = copy;
    results.repairs++;
}

/* Names that were in a conflict mean in the mirror what they may not mean in ROOT, until they are repaired at the end:
   what later operations do with such a name is no evidence of a miss, and their names are to be repaired as well. */
static bool is_listed(struct lockstep_object parent, const char *name) {
    for (const struct window *r = repairs; r && *name; r = r->next)
        if (shares_name(parent, name, r)) return true;
    return false;
}

static bool is_tainted(const struct window *w) {
    bool name = is_listed(w->parent, w->name), target = is_listed(w->target_parent, w->target_name);
    if (!name && !target) return false;
    if ((*w->name && !name) || (*w->target_name && !target)) {
        repair_later(w);
        results.repairs--; /* a consequence, not one more conflict */
    }
    return true;
}

bool conflicts_note(const struct operation *o) {
    struct window *w = window_of(o);
    bool found = false; /* in a conflict */
    for (struct window **link = &windows; *link;) {
        struct window *other = *link;
        if (other->done_reserved <= o->sequence) { /* it was over before this one began, and before every later one */
            *link = other->next;
            free(other);
            continue;
        }
        if (o->intent.result >= 0 && conflict(w, other)) {
            found = true;
            excuse(other->sequence);
            repair_later(other);
        }
        link = &other->next;
    }
    if (found || o->intent.result_flags & LOCKSTEP_RESULT_CONTENDED || o->intent.kind == LOCKSTEP_KIND_CHANGED) repair_later(w);
    if (!found && o->intent.result >= 0) found = is_tainted(w);
    if (o->intent.result >= 0 && w->done_reserved > o->sequence + 1) {
        w->next = windows;
        windows = w;
    } else
        free(w);
    return found;
}

void conflicts_mapped(const struct lockstep_mapping *mapping) {
    struct window *w = calloc(1, sizeof *w);
    *w = (struct window){.kind = LOCKSTEP_KIND_CHANGED, .object = mapping->object, .lower = mapping->offset, .upper = mapping->offset + mapping->length};
    tree_note(mapping->object, false);
    repair_later(w);
    free(w);
}

void conflicts_lost(const struct operation *o) {
    if (o->intent.kind == LOCKSTEP_KIND_BARRIER) return;
    struct window *w = window_of(o);
    repair_later(w);
    free(w);
}

void conflicts_not_carried_out(const struct operation *o) {
    struct window *w = window_of(o);
    if (!is_listed(w->parent, w->name)) repair_later(w);
    free(w);
}

void conflicts_bytes_unseen(const struct operation *o) {
    struct window *w = window_of(o);
    *w = (struct window){.sequence = o->sequence, .kind = LOCKSTEP_KIND_CHMOD, .object = o->intent.object, .upper = INT64_MAX, .size = true};
    repair_later(w);
    free(w);
}

bool conflicts_in_names(void) {
    for (const struct window *r = repairs; r; r = r->next)
        if (*r->name) return true;
    return false;
}

void conflicts_repair(void) {
    for (struct contradiction *c = contradictions; c; c = c->next) difference("%s", c->text);
    /* Names first: bytes are found by the names that files have in the end. */
    for (int pass = 0; pass < 2; pass++) /* a directory that a later repair brings may be the parent of an earlier one */
        for (struct window *w = repairs; w; w = w->next) {
            struct node *parent = *w->name ? tree_node(w->parent) : NULL, *target = *w->target_name ? tree_node(w->target_parent) : NULL;
            if (parent) tree_repair_name(parent, w->name);
            if (target) tree_repair_name(target, w->target_name);
        }
    for (struct window *w = repairs; w; w = w->next) {
        struct node *n = w->object.inode ? tree_node(w->object) : NULL;
        if (!n) continue;
        if (w->upper > w->lower || w->size) tree_repair_range(n, w->lower, w->upper, w->size);
        if (is_metadata(w->kind)) tree_repair_metadata(n);
        n->changed = true;
        if (w->kind == LOCKSTEP_KIND_TIMES) n->times = true;
    }
}
