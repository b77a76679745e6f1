/* The values of each stored type: the definition for every other version.
   Rests on base/dtype.h, which has the layouts. Read on in linear_scalar.c.

   A product of an f16 scale, a small integer scale and a code has at most 24 significant bits, so that it is exact in fp32;
   only the addition of a minimum rounds, once. Every instruction set therefore gives the same bits. */
#include "device/cpu/linear_kernels.h"

#include <string.h>

const int8_t iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static int nibble(const uint8_t q[16], int i)
{
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static int bit(const uint8_t bits[], int i)
{
    return bits[i / 8] >> (i % 8) & 1;
}

static void unpack_f32(const void *blocks, int64_t count, float *out)
{
    memcpy(out, blocks, (size_t)count * sizeof *out);
}

static void unpack_f16(const void *blocks, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t h;
        memcpy(&h, (const char *)blocks + 2 * i, 2);
        out[i] = f16_to_f32(h);
    }
}

static void unpack_bf16(const void *blocks, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t h;
        memcpy(&h, (const char *)blocks + 2 * i, 2);
        out[i] = bf16_to_f32(h);
    }
}

/* --- blocks of 32: VALUE is element i of block b, d its scale --- */

#define UNPACK_32(TYPE, VALUE)                                                        \
    static void unpack_##TYPE(const void *blocks, int64_t count, float *out)          \
    {                                                                                 \
        const block_##TYPE *b = blocks;                                               \
        for (; count > 0; count -= 32, b++, out += 32) {                              \
            float d = f16_to_f32(b->d);                                               \
            for (int i = 0; i < 32; i++) {                                            \
                out[i] = (VALUE);                                                     \
            }                                                                         \
        }                                                                             \
    }

UNPACK_32(q8_0, d * (float)b->q[i])
UNPACK_32(q4_0, d * (float)(nibble(b->q, i) - 8))
UNPACK_32(q4_1, d * (float)nibble(b->q, i) + f16_to_f32(b->m))
UNPACK_32(q5_0, d * (float)((nibble(b->q, i) | bit(b->high, i) << 4) - 16))
UNPACK_32(q5_1, d * (float)(nibble(b->q, i) | bit(b->high, i) << 4) + f16_to_f32(b->m))
UNPACK_32(iq4_nl, d * (float)iq4_nl_values[nibble(b->q, i)])

/* --- super-blocks of 256: eight groups of 32, or sixteen of 16, with small integer scales of their own --- */

/* Scale and minimum of group g of 32 in Q4_K and Q5_K from s [12]: 6 bits each, the first four in the low bits of bytes 0-3 and
   4-7, the last four with their low halves in bytes 8-11 and their upper 2 bits on top of the others'. */
static void scale_and_min(const uint8_t *s, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *min = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

static void unpack_q2_k(const void *blocks, int64_t count, float *out)
{
    const block_q2_k *b = blocks;

    for (; count > 0; count -= 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int i = 0; i < 256; i++) {
            int code = b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            int s = b->scales[i / 16];
            out[i] = d * (float)(s & 15) * (float)code - dmin * (float)(s >> 4);
        }
    }
}

static void unpack_q3_k(const void *blocks, int64_t count, float *out)
{
    const block_q3_k *b = blocks;

    for (; count > 0; count -= 256, b++, out += 256) {
        float d = f16_to_f32(b->d);
        for (int i = 0; i < 256; i++) {
            int code = b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            int high = b->high[i % 32] >> (i / 32) & 1;
            int g = i / 16;
            int low = g < 8 ? b->scales[g] & 15 : b->scales[g - 8] >> 4;
            int scale = (low | (b->scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
            out[i] = d * (float)scale * (float)(code + 4 * high - 4);
        }
    }
}

static void unpack_q4_k(const void *blocks, int64_t count, float *out)
{
    const block_q4_k *b = blocks;

    for (; count > 0; count -= 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int i = 0; i < 256; i++) {
            int code = b->q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            int scale, min;
            scale_and_min(b->scales, i / 32, &scale, &min);
            out[i] = d * (float)scale * (float)code - dmin * (float)min;
        }
    }
}

static void unpack_q5_k(const void *blocks, int64_t count, float *out)
{
    const block_q5_k *b = blocks;

    for (; count > 0; count -= 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int i = 0; i < 256; i++) {
            int code = b->q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            int high = b->high[i % 32] >> (i / 32) & 1;
            int scale, min;
            scale_and_min(b->scales, i / 32, &scale, &min);
            out[i] = d * (float)scale * (float)(code + 16 * high) - dmin * (float)min;
        }
    }
}

static void unpack_q6_k(const void *blocks, int64_t count, float *out)
{
    const block_q6_k *b = blocks;

    for (; count > 0; count -= 256, b++, out += 256) {
        float d = f16_to_f32(b->d);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, part = i % 128 / 32, l = i % 32;
            int low = b->low[half * 64 + part % 2 * 32 + l] >> (part / 2 * 4) & 15;
            int high = b->high[half * 32 + l] >> (part * 2) & 3;
            int scale = b->scales[i / 16];
            out[i] = d * (float)scale * (float)((low | high << 4) - 32);
        }
    }
}

unpack_fn *const unpack_scalar[WEIGHT_TYPES] = {
    [DTYPE_F32] = unpack_f32,   [DTYPE_F16] = unpack_f16,   [DTYPE_BF16] = unpack_bf16, [DTYPE_Q8_0] = unpack_q8_0,
    [DTYPE_Q4_0] = unpack_q4_0, [DTYPE_Q4_1] = unpack_q4_1, [DTYPE_Q5_0] = unpack_q5_0, [DTYPE_Q5_1] = unpack_q5_1,
    [DTYPE_Q2_K] = unpack_q2_k, [DTYPE_Q3_K] = unpack_q3_k, [DTYPE_Q4_K] = unpack_q4_k, [DTYPE_Q5_K] = unpack_q5_k,
    [DTYPE_Q6_K] = unpack_q6_k, [DTYPE_IQ4_NL] = unpack_iq4_nl,
};
