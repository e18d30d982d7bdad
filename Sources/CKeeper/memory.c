#include "memory.h"

#include "CCaptureABI.h"
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A memfd that nobody can truncate under a mapping. Returns its size, or -1 with the reason. */
static off_t sealed_bytes(int descriptor, const char *what, char *why, size_t why_bytes) {
    int seals = fcntl(descriptor, F_GET_SEALS);
    struct stat status;
    if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW)) {
        snprintf(why, why_bytes, "the %s is not sealed against shrinking and growing", what);
        return -1;
    }
    if (fstat(descriptor, &status) != 0) {
        snprintf(why, why_bytes, "the %s cannot be examined: %s", what, strerror(errno));
        return -1;
    }
    return status.st_size;
}

/* The parts that never change are read, not mapped: the keeper itself needs no mapping at all. */
static bool read_header(int descriptor, void *header, size_t bytes, const char *what, char *why, size_t why_bytes) {
    if (pread(descriptor, header, bytes, 0) == (ssize_t)bytes) return true;
    snprintf(why, why_bytes, "the %s has no complete header", what);
    return false;
}

bool memory_check(int control, int ring, uint64_t incarnation[2], char *why, size_t why_bytes) {
    struct {
        uint64_t magic;
        uint32_t abi_version, slots;
        uint64_t incarnation[2];
    } order;
    _Static_assert(offsetof(struct lockstep_ring, slots) == 12 && offsetof(struct lockstep_ring, incarnation) == 16, "ABI");
    struct lockstep_control header;
    off_t control_bytes = sealed_bytes(control, "control object", why, why_bytes);
    off_t ring_bytes = sealed_bytes(ring, "order ring", why, why_bytes);
    if (control_bytes < 0 || ring_bytes < 0) return false;
    if (!read_header(control, &header, sizeof header, "control object", why, why_bytes)) return false;
    if (!read_header(ring, &order, sizeof order, "order ring", why, why_bytes)) return false;

    const char *wrong = NULL;
    uint32_t slots = header.ring_slots;
    uint64_t answers_end = (uint64_t)header.answers_offset + (uint64_t)slots * sizeof(uint32_t);
    uint64_t hot_end = (uint64_t)header.hot_offset + LOCKSTEP_HOT_ENTRIES * sizeof(uint64_t);
    if (header.magic != LOCKSTEP_MAGIC_CONTROL) wrong = "the control object's magic is wrong";
    else if (order.magic != LOCKSTEP_MAGIC_RING) wrong = "the order ring's magic is wrong";
    else if (header.abi_version != LOCKSTEP_ABI_VERSION || order.abi_version != LOCKSTEP_ABI_VERSION)
        wrong = "the shared memory is of another capture ABI version";
    else if (slots == 0 || (slots & (slots - 1)) != 0 || order.slots != slots) wrong = "the number of ring places is wrong";
    else if ((uint64_t)control_bytes < header.bytes_total || answers_end > header.bytes_total || hot_end > header.bytes_total
             || answers_end > (uint64_t)control_bytes || header.answers_offset < sizeof header || header.hot_offset < sizeof header)
        wrong = "the control object is too small";
    else if ((uint64_t)ring_bytes < lockstep_ring_bytes(slots)) wrong = "the order ring is too small";
    else if (header.root_count > LOCKSTEP_ROOTS_MAX || header.exclusion_count > LOCKSTEP_EXCLUSIONS_MAX)
        wrong = "the control object's counts are out of range";
    else if (memcmp(header.incarnation, order.incarnation, sizeof order.incarnation) != 0)
        wrong = "control object and order ring are of different incarnations";
    if (wrong != NULL) {
        snprintf(why, why_bytes, "%s", wrong);
        return false;
    }
    memcpy(incarnation, header.incarnation, sizeof header.incarnation);
    return true;
}

bool memory_adopt(struct memory *memory, int control, int ring, const uint64_t incarnation[2]) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", control);
    memory->control_read_only = open(path, O_RDONLY | O_CLOEXEC);
    if (memory->control_read_only < 0) return false;
    memory->control = control;
    memory->ring = ring;
    memcpy(memory->incarnation, incarnation, sizeof memory->incarnation);
    return true;
}
