/*
 * records.c: reads decoded journal records on standard input with nothing of the product but the format's description
 * (Sources/Primitives/Record.swift), and checks them: kinds that exist, positions without gaps, lengths that agree.
 *
 *   lz4 -dc SEGMENT | records FIRST-POSITION
 *
 * Prints how many there were of each kind. Exit code 1 and a line: what is wrong, and at which byte.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 128, PAYLOAD_BYTES_MAX = 1 << 20, KINDS = 39 };

static uint64_t number(const unsigned char *bytes, int count) {
    uint64_t value = 0;
    while (count-- > 0) value = value << 8 | bytes[count];
    return value;
}

int main(int count, char **values) {
    if (count != 2) return 64;
    uint64_t expected = strtoull(values[1], NULL, 16), at = 0, counts[KINDS] = {0}, sequence = 0, records = 0;
    static unsigned char header[HEADER_BYTES], rest[PAYLOAD_BYTES_MAX + 512];
    size_t have;
    while ((have = fread(header, 1, sizeof header, stdin)) == sizeof header) {
        uint64_t kind = number(header, 2), bytes = number(header + 4, 4), position = number(header + 8, 8), ring = number(header + 16, 8);
        uint64_t names = number(header + 108, 2) + number(header + 110, 2), payload = number(header + 120, 4);
        const char *wrong = NULL;
        if (kind == 0 || kind >= KINDS || (kind > 17 && kind < 32) || kind == 12) wrong = "unknown kind";
        else if (position != expected) wrong = "position out of turn";
        else if (bytes != HEADER_BYTES + names + payload || names > 510 || payload > PAYLOAD_BYTES_MAX) wrong = "lengths do not agree";
        else if (kind < 32 && ring != 0 && ring <= sequence) wrong = "an operation's ring sequence does not grow";
        else if (kind == 1 && number(header + 80, 8) != payload) wrong = "a write's length is not its payload's";
        else if (fread(rest, 1, names + payload, stdin) != names + payload) wrong = "it ends in the middle of a record";
        if (wrong) {
            printf("byte %llu: %s (kind %llu, position %llu, expected %llu, sequence %llu after %llu)\n", (unsigned long long)at, wrong,
                   (unsigned long long)kind, (unsigned long long)position, (unsigned long long)expected, (unsigned long long)ring,
                   (unsigned long long)sequence);
            return 1;
        }
        if (kind < 32 && ring != 0) sequence = ring; /* 0: a repair by the daemon */
        counts[kind]++;
        records++;
        expected++;
        at += bytes;
    }
    if (have != 0 || records == 0) {
        printf("byte %llu: %s\n", (unsigned long long)at, records ? "it ends in the middle of a header" : "no records");
        return 1;
    }
    printf("%llu records, %llu bytes, last position %llu:", (unsigned long long)records, (unsigned long long)at, (unsigned long long)expected - 1);
    for (int kind = 0; kind < KINDS; kind++)
        if (counts[kind]) printf(" kind %d: %llu", kind, (unsigned long long)counts[kind]);
    printf("\n");
    return 0;
}
