/*
 * check.c: protocol conformance. What a correct library never writes is a violation, even if the mirror comes out equal.
 */
#define _GNU_SOURCE
#include "rig.h"
#include <errno.h>

const char *kind_name(unsigned kind) {
    static const char *names[] = {"?", "WRITE", "TRUNCATE", "CREATE", "MKDIR", "SYMLINK", "UNLINK", "RMDIR", "RENAME", "CHMOD", "CHOWN",
                                  "TIMES", "BARRIER", "ALLOCATE", "LINK", "MKNOD", "SETXATTR", "REMOVEXATTR", "CHANGED", "SUBMIT"};
    return kind < sizeof names / sizeof *names ? names[kind] : "?";
}

static bool is_name(const uint8_t *name, unsigned bytes) {
    if (bytes == 0 || bytes > LOCKSTEP_NAME_BYTES_MAX || memchr(name, '/', bytes) || memchr(name, 0, bytes)) return false;
    return !(bytes == 1 && name[0] == '.') && !(bytes == 2 && name[0] == '.' && name[1] == '.');
}

/* What an operation of this kind names. */
enum { OBJECT = 1, PARENT = 2, TARGET = 4, PAYLOAD = 8, RANGE = 16 };
static unsigned needs(unsigned kind) {
    switch (kind) {
    case LOCKSTEP_KIND_WRITE: case LOCKSTEP_KIND_SUBMIT: return OBJECT | PAYLOAD | RANGE;
    case LOCKSTEP_KIND_ALLOCATE: case LOCKSTEP_KIND_CHANGED: return OBJECT | RANGE;
    case LOCKSTEP_KIND_TRUNCATE: case LOCKSTEP_KIND_CHMOD: case LOCKSTEP_KIND_CHOWN: case LOCKSTEP_KIND_TIMES: return OBJECT;
    case LOCKSTEP_KIND_CREATE: case LOCKSTEP_KIND_MKDIR: case LOCKSTEP_KIND_MKNOD: return PARENT;
    case LOCKSTEP_KIND_SYMLINK: return PARENT | PAYLOAD;
    /* Their object is a hint: the name may have meant nothing when the library looked. */
    case LOCKSTEP_KIND_UNLINK: case LOCKSTEP_KIND_RMDIR: return PARENT;
    case LOCKSTEP_KIND_RENAME: return PARENT | TARGET;
    case LOCKSTEP_KIND_LINK: return OBJECT | TARGET;
    case LOCKSTEP_KIND_SETXATTR: case LOCKSTEP_KIND_REMOVEXATTR: return OBJECT;
    default: return 0;
    }
}

bool check_intent(const struct lockstep_intent *i, const uint8_t *inlines, uint64_t sequence, struct arena *arena) {
    uint64_t before = results.violations;
#define MUST(condition, ...) do { if (!(condition)) violation("#%lu %s of process %d: " #condition " does not hold", sequence, kind_name(i->kind), arena->pid); } while (0)
    MUST(i->kind >= LOCKSTEP_KIND_WRITE && i->kind <= LOCKSTEP_KIND_SUBMIT);
    MUST((i->flags & ~(LOCKSTEP_FLAG_PREDICTED | LOCKSTEP_FLAG_APPEND | LOCKSTEP_FLAG_DURABLE | LOCKSTEP_FLAG_CONTINUED | LOCKSTEP_FLAG_CROSSES)) == 0);
    bool writes = i->kind == LOCKSTEP_KIND_WRITE || i->kind == LOCKSTEP_KIND_SUBMIT;
    MUST(writes || (i->flags & ~LOCKSTEP_FLAG_CROSSES) == 0);
    MUST(!(i->flags & LOCKSTEP_FLAG_CROSSES) || i->kind == LOCKSTEP_KIND_LINK || i->kind == LOCKSTEP_KIND_UNLINK || i->kind == LOCKSTEP_KIND_RMDIR);
    MUST(i->tid > 0);
    MUST(i->object.root == 0 && i->parent.root == 0 && i->target_parent.root == 0); /* the rig has one root */
    unsigned need = needs(i->kind);
    MUST(!(need & OBJECT) || i->object.inode != 0);
    MUST(!(need & PARENT) || i->parent.inode != 0);
    MUST(!(need & TARGET) || i->target_parent.inode != 0);
    bool attribute = i->kind == LOCKSTEP_KIND_SETXATTR || i->kind == LOCKSTEP_KIND_REMOVEXATTR;
    if (need & PARENT && !(i->kind == LOCKSTEP_KIND_CREATE && i->name_bytes == 0)) MUST(is_name(inlines, i->name_bytes));
    else MUST(attribute ? i->name_bytes > 0 && !memchr(inlines, 0, i->name_bytes) : i->name_bytes == 0);
    if (need & TARGET) MUST(is_name(inlines + 256, i->target_name_bytes));
    else MUST(i->target_name_bytes == 0);
    MUST(i->payload_bytes <= LOCKSTEP_OPERATION_BYTES_MAX);
    if (i->block == LOCKSTEP_NO_BLOCK) {
        MUST(i->payload_bytes <= LOCKSTEP_INLINE_BYTES);
        MUST(i->payload_bytes == 0 || i->name_bytes == 0); /* names and payload would share the inline bytes */
    } else {
        uint32_t count = (i->payload_bytes + LOCKSTEP_BLOCK_BYTES - 1) / LOCKSTEP_BLOCK_BYTES;
        MUST(i->block < LOCKSTEP_BLOCKS && i->payload_bytes > 0 && count <= LOCKSTEP_BLOCKS - i->block);
    }
    MUST(!(need & PAYLOAD) || i->payload_bytes > 0);
    MUST((need & PAYLOAD) || attribute || i->payload_bytes == 0);
    MUST(!writes || i->length == i->payload_bytes);
    MUST(!(need & RANGE) || (i->offset <= INT64_MAX && i->length <= INT64_MAX && i->offset + i->length <= INT64_MAX));
    MUST(i->kind != LOCKSTEP_KIND_TRUNCATE || i->length <= INT64_MAX);
    MUST(i->kind != LOCKSTEP_KIND_SYMLINK || i->payload_bytes <= LOCKSTEP_LINK_TARGET_BYTES_MAX);
    MUST(((i->flags & LOCKSTEP_FLAG_CONTINUED) != 0) == (i->continues != 0));
    MUST(i->continues < sequence);
    for (unsigned r = 0; r < sizeof i->reserved / sizeof *i->reserved; r++) MUST(i->reserved[r] == 0);
    MUST(i->pad0 == 0 && i->pad1 == 0);
#undef MUST
    /* A durable write owes a barrier of the same thread, its next operation apart from further chunks of the same call. */
    if (arena->durable.sequence && arena->durable.tid == i->tid && !(i->flags & LOCKSTEP_FLAG_CONTINUED)) {
        if (i->kind != LOCKSTEP_KIND_BARRIER || (i->object.inode && i->object.inode != arena->durable.object.inode))
            violation("#%lu: durable write not followed by its barrier but by #%lu %s", arena->durable.sequence, sequence, kind_name(i->kind));
        arena->durable.sequence = 0;
    }
    if (writes && i->flags & LOCKSTEP_FLAG_DURABLE) {
        arena->durable.sequence = sequence;
        arena->durable.tid = i->tid;
        arena->durable.object = i->object;
    }
    return results.violations == before;
}

void check_result(const struct operation *o, uint64_t reserved) {
    const struct lockstep_intent *i = &o->intent;
#define MUST(condition) do { if (!(condition)) violation("#%lu %s of process %d, result %ld: " #condition " does not hold", o->sequence, kind_name(i->kind), o->pid, (long)i->result); } while (0)
    MUST(i->result >= -4095);
    MUST(i->done_reserved > o->sequence && i->done_reserved <= reserved);
    MUST((i->result_flags & ~LOCKSTEP_RESULT_CONTENDED) == 0);
    switch (i->kind) {
    case LOCKSTEP_KIND_WRITE: case LOCKSTEP_KIND_SUBMIT:
        MUST(i->result <= (int64_t)i->length);
        MUST(i->result <= 0 || i->actual_offset <= INT64_MAX);
        /* A write that failed wholly needs no barrier. */
        if (i->result <= 0 && o->arena->durable.sequence == o->sequence) o->arena->durable.sequence = 0;
        break;
    case LOCKSTEP_KIND_CREATE: case LOCKSTEP_KIND_MKDIR: case LOCKSTEP_KIND_SYMLINK: case LOCKSTEP_KIND_MKNOD: {
        if (i->result < 0) break;
        if (!i->outcome.inode) break; /* gone before the library could look: the name is repaired at the end */
        MUST(i->outcome.root == 0);
        mode_t type = i->kind == LOCKSTEP_KIND_CREATE ? S_IFREG : i->kind == LOCKSTEP_KIND_MKDIR ? S_IFDIR : i->kind == LOCKSTEP_KIND_SYMLINK ? S_IFLNK : i->mode & S_IFMT;
        MUST((i->outcome_mode & S_IFMT) == 0 || (i->outcome_mode & S_IFMT) == type);
        break;
    }
    case LOCKSTEP_KIND_BARRIER:
        /* It must wait for its answer, or for the bound. */
        MUST(o->answered || i->result < 0 || now_nanoseconds() - o->drained_at > options.wait_bound_milliseconds * 900000ull);
        break;
    default:
        MUST(i->result <= 0);
    }
#undef MUST
}
