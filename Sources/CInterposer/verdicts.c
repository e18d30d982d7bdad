/*
 * verdicts.c: what was found out before, and what makes it count for nothing.
 *
 *   of a descriptor   number -> identity and verdict, while FS_IOC_GETVERSION gives the same generation     1 call
 *   of an identity    (inode, generation) -> verdict, after statx and FS_IOC_GETVERSION                     2 calls
 *
 * A number may mean another file at every call: raw system calls, descriptors that came through a socket, a thread's own
 * table. Its generation alone tells that where generations are drawn at random for each file: ext4, not xfs (64 new inodes
 * share one) and btrfs (a transaction's number); and never 0, which files have that a tool put into an image. Another
 * file is then taken for the one before with a chance of 2^-32, that by which R4 believes a reused inode. What opens or
 * copies a descriptor through the library does not leave it to chance: the number is forgotten.
 */
#define _GNU_SOURCE
#include "library.h"
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* value = | generation 32 | first root of the device 8 | root 8 | verdict 8 | 1 | */
static uint64_t packed(const struct target *target, uint32_t first, long verdict) {
    return (uint64_t)target->object.generation << 32 | first << 24 | target->object.root << 16 | (uint64_t)verdict << 8 | 1;
}

static uint64_t mixed(uint64_t x) {
    x *= 0x9e3779b97f4a7c15ull;
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9ull;
}

/* With the border's count of when it was found out: nothing from before a crossing agrees. */
static uint64_t sealed(uint64_t value, uint64_t border) { return mixed(value ^ border * 0x9e3779b97f4a7c15ull); }

/* ------------------------------------------------------------------ of an identity */

/* Two words per entry, without a lock: `check` is the inode mixed with `value`, so that halves of two different
   entries never agree. */
#define IDENTITIES 2048u
static struct {
    _Atomic(uint64_t) check, value;
} identities[IDENTITIES];

static unsigned place_of(const struct lockstep_object *object) {
    return (unsigned)(mixed(object->inode ^ ((uint64_t)object->generation << 32)) >> 40) % IDENTITIES;
}

bool verdict_of_identity(struct target *target, uint32_t first, uint64_t border, long *verdict) {
    unsigned place = place_of(&target->object);
    uint64_t value = atomic_load_explicit(&identities[place].value, memory_order_relaxed);
    uint64_t check = atomic_load_explicit(&identities[place].check, memory_order_relaxed);
    if ((check ^ sealed(value, border)) != target->object.inode || (uint32_t)(value >> 32) != target->object.generation
        || ((value >> 24) & 0xff) != first || !(value & 1))
        return false;
    target->object.root = (uint32_t)(value >> 16) & 0xff;
    *verdict = (long)((value >> 8) & 0xff);
    return true;
}

void verdict_remember(const struct target *target, uint32_t first, uint64_t border, long verdict) {
    unsigned place = place_of(&target->object);
    uint64_t value = packed(target, first, verdict);
    atomic_store_explicit(&identities[place].value, value, memory_order_relaxed);
    atomic_store_explicit(&identities[place].check, target->object.inode ^ sealed(value, border), memory_order_relaxed);
}

/* ------------------------------------------------------------------ of a descriptor */

/* `check` is made of both other words: parts of two entries never agree, whoever is interrupted in between. */
#define DESCRIPTORS 1024
static struct {
    _Atomic(uint64_t) inode, value, check;
} descriptors[DESCRIPTORS];

static bool has_generation(int descriptor, uint32_t generation) {
    long version = 0;
    if (kernel(SYS_ioctl, descriptor, FS_IOC_GETVERSION, &version) != 0)
        return false;
    return (uint32_t)version == generation || FAULT_SKIPS("generation");
}

bool verdict_of_descriptor(int descriptor, struct target *target, uint64_t border, long *verdict) {
    if ((unsigned)descriptor >= DESCRIPTORS)
        return false;
    uint64_t inode = atomic_load_explicit(&descriptors[descriptor].inode, memory_order_relaxed);
    uint64_t value = atomic_load_explicit(&descriptors[descriptor].value, memory_order_relaxed);
    uint64_t check = atomic_load_explicit(&descriptors[descriptor].check, memory_order_relaxed);
    uint32_t generation = (uint32_t)(value >> 32);
    if (!(value & 1) || check != mixed(inode ^ sealed(value, border)) || !has_generation(descriptor, generation))
        return false;
    target->object = (struct lockstep_object){inode, generation, (uint32_t)(value >> 16) & 0xff};
    target->device = control->roots[(value >> 24) & 0xff].device;
    target->mode = S_IFREG;
    *verdict = (long)((value >> 8) & 0xff);
    return true;
}

void verdict_forget(int descriptor) {
    if ((unsigned)descriptor < DESCRIPTORS)
        atomic_store_explicit(&descriptors[descriptor].value, 0, memory_order_relaxed);
}

/* Asked once for each device of a root. */
static bool generations_random(int descriptor, uint32_t first) {
    enum { UNKNOWN, RANDOM, OTHER };
    static _Atomic(uint8_t) found[LOCKSTEP_ROOTS_MAX];
    uint8_t kind = atomic_load_explicit(&found[first], memory_order_relaxed);
    if (kind == UNKNOWN) {
        struct statfs status;
        if (kernel(SYS_fstatfs, descriptor, &status) != 0)
            return false;
        kind = status.f_type == EXT4_SUPER_MAGIC ? RANDOM : OTHER;
        atomic_store_explicit(&found[first], kind, memory_order_relaxed);
    }
    return kind == RANDOM;
}

void verdict_remember_descriptor(int descriptor, const struct target *target, uint32_t first, uint64_t border, long verdict) {
    if ((unsigned)descriptor >= DESCRIPTORS || !S_ISREG(target->mode) || target->object.generation == 0
        || !generations_random(descriptor, first))
        return;
    uint64_t value = packed(target, first, verdict);
    atomic_store_explicit(&descriptors[descriptor].inode, target->object.inode, memory_order_relaxed);
    atomic_store_explicit(&descriptors[descriptor].check, mixed(target->object.inode ^ sealed(value, border)), memory_order_relaxed);
    atomic_store_explicit(&descriptors[descriptor].value, value, memory_order_relaxed);
}
