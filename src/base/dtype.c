/* Sizes and names of element types; exact conversions of single values.
   Rests on nothing. See dtype.h. */
#include "base/dtype.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    int32_t elements, bytes;
} types[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4},
    [DTYPE_F16] = {"F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 1, 2},
    [DTYPE_Q8_0] = {"Q8_0", 32, sizeof(block_q8_0)},
    [DTYPE_Q4_0] = {"Q4_0", 32, sizeof(block_q4_0)},
    [DTYPE_Q4_1] = {"Q4_1", 32, sizeof(block_q4_1)},
    [DTYPE_Q5_0] = {"Q5_0", 32, sizeof(block_q5_0)},
    [DTYPE_Q5_1] = {"Q5_1", 32, sizeof(block_q5_1)},
    [DTYPE_Q2_K] = {"Q2_K", 256, sizeof(block_q2_k)},
    [DTYPE_Q3_K] = {"Q3_K", 256, sizeof(block_q3_k)},
    [DTYPE_Q4_K] = {"Q4_K", 256, sizeof(block_q4_k)},
    [DTYPE_Q5_K] = {"Q5_K", 256, sizeof(block_q5_k)},
    [DTYPE_Q6_K] = {"Q6_K", 256, sizeof(block_q6_k)},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 32, sizeof(block_iq4_nl)},
    [DTYPE_F64] = {"F64", 1, 8},
    [DTYPE_I32] = {"I32", 1, 4},
    [DTYPE_I64] = {"I64", 1, 8},
    [DTYPE_U8] = {"U8", 1, 1},
    [DTYPE_I8] = {"I8", 1, 1},
};

/* The blocks are read straight from files: their sizes are the format's. */
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(block_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(block_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(block_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(block_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(block_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(block_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(block_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(block_q6_k) == 210, "Q6_K");
_Static_assert(sizeof(block_iq4_nl) == 18, "IQ4_NL");

int64_t dtype_block_elements(dtype type)
{
    return types[type].elements;
}

size_t dtype_block_bytes(dtype type)
{
    return (size_t)types[type].bytes;
}

size_t dtype_row_bytes(dtype type, int64_t cols)
{
    return (size_t)(cols / types[type].elements) * (size_t)types[type].bytes;
}

const char *dtype_name(dtype type)
{
    return types[type].name;
}

dtype dtype_from_name(const char *name)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcasecmp(types[i].name, name) == 0) {
            return (dtype)i;
        }
    }
    return DTYPE_COUNT;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t fraction = h & 0x3ffu;

    if (exponent == 0x1f) {
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent == 0) { /* zero, or subnormal: fraction * 2^-24, exact in fp32 */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u) { /* NaN stays NaN */
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    }
    if (magnitude >= 0x477ff000u) { /* from the half-way point above the largest f16 on */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) {
        /* Subnormal: adding 0.5 leaves the units of 2^-24 in the low bits, rounded to nearest even by the addition. */
        float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

float bf16_to_f32(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = bits_of_float(f);

    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
