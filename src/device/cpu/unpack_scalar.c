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

#define UNPACK_16(TYPE)                                                               \
    static void unpack_##TYPE(const void *blocks, int64_t count, float *out)          \
    {                                                                                 \
        for (int64_t i = 0; i < count; i++) {                                         \
            uint16_t h;                                                               \
            memcpy(&h, (const char *)blocks + 2 * i, 2);                              \
            out[i] = TYPE##_to_f32(h);                                                \
        }                                                                             \
    }
UNPACK_16(f16)
UNPACK_16(bf16)

/* Blocks of N elements: VALUE is element i of block b, d its scale, low its minimum MIN. */
#define UNPACK(TYPE, N, MIN, VALUE)                                                   \
    static void unpack_##TYPE(const void *blocks, int64_t count, float *out)          \
    {                                                                                 \
        const block_##TYPE *b = blocks;                                               \
        for (; count > 0; count -= (N), b++, out += (N)) {                            \
            float d = f16_to_f32(b->d), low = (MIN);                                  \
            (void)low;                                                                \
            for (int i = 0; i < (N); i++) {                                           \
                out[i] = (VALUE);                                                     \
            }                                                                         \
        }                                                                             \
    }

UNPACK(q8_0, 32, 0, d * (float)b->q[i])
UNPACK(q4_0, 32, 0, d * (float)(nibble(b->q, i) - 8))
UNPACK(q4_1, 32, f16_to_f32(b->m), d * (float)nibble(b->q, i) + low)
UNPACK(q5_0, 32, 0, d * (float)((nibble(b->q, i) | bit(b->high, i) << 4) - 16))
UNPACK(q5_1, 32, f16_to_f32(b->m), d * (float)(nibble(b->q, i) | bit(b->high, i) << 4) + low)
UNPACK(iq4_nl, 32, 0, d * (float)iq4_nl_values[nibble(b->q, i)])

/* --- super-blocks of 256: eight groups of 32, or sixteen of 16, with small integer scales of their own --- */

/* Codes of 2 and of 4 bits, and the bit of element i in 32 bytes. */
static int code_2(const uint8_t q[64], int i)
{
    return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static int code_4(const uint8_t q[128], int i)
{
    return q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
}

static int plane_bit(const uint8_t high[32], int i)
{
    return high[i % 32] >> (i / 32) & 1;
}

/* Scale and minimum of group g of 32 in Q4_K and Q5_K from s [12]: 6 bits each, the first four in the low bits of bytes 0-3
   and 4-7, the last four with their low halves in bytes 8-11 and their upper 2 bits on top of the others'. */
static int scale_of(const uint8_t *s, int g)
{
    return g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
}

static int min_of(const uint8_t *s, int g)
{
    return g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

/* Scale of group g of 16 in Q3_K: 6 bits, less 32. */
static int scale_q3_k(const uint8_t *s, int g)
{
    int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;

    return (low | (s[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
}

static int scale_q6_k(const int8_t *s, int i)
{
    return s[i / 16];
}

static int code_q6_k(const block_q6_k *b, int i)
{
    int half = i / 128, quarter = i % 128 / 32, l = i % 32;
    int low = b->low[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;

    return low | (b->high[half * 32 + l] >> (quarter * 2) & 3) << 4;
}

UNPACK(q2_k, 256, f16_to_f32(b->dmin),
       d * (float)(b->scales[i / 16] & 15) * (float)code_2(b->q, i) - low * (float)(b->scales[i / 16] >> 4))
UNPACK(q3_k, 256, 0, d * (float)scale_q3_k(b->scales, i / 16) * (float)(code_2(b->q, i) + 4 * plane_bit(b->high, i) - 4))
UNPACK(q4_k, 256, f16_to_f32(b->dmin),
       d * (float)scale_of(b->scales, i / 32) * (float)code_4(b->q, i) - low * (float)min_of(b->scales, i / 32))
UNPACK(q5_k, 256, f16_to_f32(b->dmin),
       d * (float)scale_of(b->scales, i / 32) * (float)(code_4(b->q, i) + 16 * plane_bit(b->high, i)) -
           low * (float)min_of(b->scales, i / 32))
UNPACK(q6_k, 256, 0, d * (float)scale_q6_k(b->scales, i) * (float)(code_q6_k(b, i) - 32))

unpack_fn *const unpack_scalar[WEIGHT_TYPES] = {
    [DTYPE_F32] = unpack_f32,   [DTYPE_F16] = unpack_f16,   [DTYPE_BF16] = unpack_bf16, [DTYPE_Q8_0] = unpack_q8_0,
    [DTYPE_Q4_0] = unpack_q4_0, [DTYPE_Q4_1] = unpack_q4_1, [DTYPE_Q5_0] = unpack_q5_0, [DTYPE_Q5_1] = unpack_q5_1,
    [DTYPE_Q2_K] = unpack_q2_k, [DTYPE_Q3_K] = unpack_q3_k, [DTYPE_Q4_K] = unpack_q4_k, [DTYPE_Q5_K] = unpack_q5_k,
    [DTYPE_Q6_K] = unpack_q6_k, [DTYPE_IQ4_NL] = unpack_iq4_nl,
};
