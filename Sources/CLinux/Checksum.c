/*
 * Checksums of headers and of the chain.
 *
 * CRC-32C detects every burst of up to 32 bits, but two CRCs of one polynomial with different seeds differ by a constant
 * that depends on the length only: they are no 64-bit checksum. So the chain takes its other half from fold64:
 *
 *   h = fold(seed ^ K0, count ^ K2)
 *   for each 16 bytes (little-endian words a, b; the last piece filled up with zeros):   h = fold(a ^ K1, b ^ h)
 *   result = fold(h ^ K2, K3)            fold(x, y) = low half of x * y  ^  high half of x * y
 *
 * Neither is cryptographic: they find torn, stale and rotten bytes. Who may send is decided by the link's keys.
 */
#include "CLinux.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* Castagnoli, reflected */

static uint32_t table[256];

__attribute__((constructor)) static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        table[byte] = crc;
    }
}

uint32_t lockstep_crc32c_portable(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    crc = ~crc;
    while (count--)
        crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2")))
static uint32_t crc32c_sse42(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    uint64_t state = ~crc;
    for (; count >= 8; p += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t rest = (uint32_t)state;
    while (count--)
        rest = _mm_crc32_u8(rest, *p++);
    return ~rest;
}
#endif

uint32_t lockstep_crc32c(uint32_t crc, const void *bytes, size_t count)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, bytes, count);
#endif
    return lockstep_crc32c_portable(crc, bytes, count);
}

static inline uint64_t fold(uint64_t x, uint64_t y)
{
    __uint128_t product = (__uint128_t)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t lockstep_fold64(uint64_t seed, const void *bytes, size_t count)
{
    const uint64_t k0 = 0x9e3779b97f4a7c15u, k1 = 0xbf58476d1ce4e5b9u, k2 = 0x94d049bb133111ebu, k3 = 0xd6e8feb86659fd93u;
    const uint8_t *p = bytes;
    uint64_t h = fold(seed ^ k0, count ^ k2), words[2];
    for (; count >= 16; p += 16, count -= 16) {
        memcpy(words, p, 16);
        h = fold(words[0] ^ k1, words[1] ^ h);
    }
    if (count) {
        words[0] = words[1] = 0;
        memcpy(words, p, count);
        h = fold(words[0] ^ k1, words[1] ^ h);
    }
    return fold(h ^ k2, k3);
}
