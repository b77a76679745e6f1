/* The arithmetic of sampling, shared by all devices: the order of logits, their weights, the kept set. device.h describes
   the op; cpu/cpu_sample.c is its definition, cuda/runtime/sample.cu the GPU's version.
   Rests on the C library. For C17 and for nvcc.

   Weights are integers: their sums are exact in any order, so every device chooses the same token from the same logits. A
   weight is computed by three fp32 operations, which IEEE 754 defines exactly, and integer arithmetic. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define SAMPLING_FN static inline __host__ __device__
#else
#define SAMPLING_FN static inline
#endif

/* --- order: the larger logit first, the lower id of equals first --- */

/* An integer with the order of the logits, equal for 0 and -0. Never 0 for a number. */
SAMPLING_FN uint32_t sampling_image(float logit)
{
    uint32_t bits;

    memcpy(&bits, &logit, sizeof bits);
    if (bits == 0x80000000u) {
        bits = 0;
    }
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

SAMPLING_FN float sampling_logit(uint32_t image)
{
    uint32_t bits = image & 0x80000000u ? image ^ 0x80000000u : ~image;
    float logit;

    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

/* The first tokens in this order: all above `image`, and those equal to it with ids up to `last`. */
typedef struct sampling_set {
    uint32_t image;
    int64_t last;
} sampling_set;

SAMPLING_FN sampling_set sampling_all(void)
{
    sampling_set all = {0, -1};

    return all;
}

SAMPLING_FN bool sampling_holds(sampling_set s, uint32_t image, int64_t id)
{
    return image > s.image || (image == s.image && id <= s.last);
}

/* --- weights --- */

/* The weight of the likeliest token. Vocabularies have up to 2^24 tokens, so any sum fits 64 bits. A token with less than
   2^-39 of the best probability has weight 0. */
static const uint64_t SAMPLING_ONE = (uint64_t)1 << 39;

/* log2(e) / temperature: from a difference of logits to one of exponents of two. */
SAMPLING_FN float sampling_scale(float temperature)
{
    return 1.44269504f / temperature;
}

/* a * b of fractions in units of 2^-32. */
SAMPLING_FN uint32_t sampling_times(uint32_t a, uint32_t b)
{
    return (uint32_t)((uint64_t)a * b >> 32);
}

/* 2^-f for f in units of 2^-32, in units of 2^-32: the chord from 1 to 1/2, less f (1 - f) times the rest, a polynomial of
   degree 4 through its values at Chebyshev's points. Off by 8e-9 at most, and never growing with f. */
SAMPLING_FN uint64_t sampling_power(uint32_t f)
{
    uint32_t left = sampling_times(f, 470068u);

    left = sampling_times(f, 5015662u - left);
    left = sampling_times(f, 36145778u - left);
    left = 829560729u - sampling_times(f, 202199414u - left);
    return ((uint64_t)1 << 32) - (f >> 1) - sampling_times(sampling_times(f, 0u - f), left);
}

/* ONE * exp((logit - best) / temperature), rounded down. */
SAMPLING_FN uint64_t sampling_weight(float best, float logit, float scale)
{
    float below = best - logit, exponent = below * scale;

    if (!(below > 0)) {
        return SAMPLING_ONE; /* also where the scale is infinite */
    }
    if (!(exponent < 40)) {
        return 0;
    }
    uint32_t parts = (uint32_t)(exponent * 67108864.0f); /* 2^26 to a whole */
    return sampling_power(parts << 6) << 7 >> (parts >> 26);
}

/* `share` in [0, 1] of a sum of weights. */
SAMPLING_FN uint64_t sampling_share(double share, uint64_t sum)
{
    uint64_t part = (uint64_t)(share * (double)sum);

    return part < sum ? part : sum; /* the product may have been rounded up */
}
