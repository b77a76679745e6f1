/* Hashes of texts and pairs, for tables with open addressing.
   Rests on nothing. Read on in tables.c and vocabulary.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xD6E8FEB86659FD93);
    x ^= x >> 32;
    x *= UINT64_C(0xD6E8FEB86659FD93);
    return x ^ x >> 32;
}

static inline uint64_t hash_text(const char *text, size_t size)
{
    uint64_t h = size, part;

    for (; size >= sizeof part; size -= sizeof part, text += sizeof part) {
        memcpy(&part, text, sizeof part);
        h = hash_mix(h ^ part) + UINT64_C(0x9E3779B97F4A7C15);
    }
    part = 0;
    memcpy(&part, text, size);
    return hash_mix(h ^ part);
}
