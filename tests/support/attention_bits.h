/* Random numbers of the tests of attention, on CPUs and on cards: the same ones in each run. Rests on nothing. */
#pragma once

#include <stdint.h>

static uint64_t seed = 1;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static int32_t random_below(int32_t n)
{
    return (int32_t)(random_bits() % (uint32_t)n);
}
