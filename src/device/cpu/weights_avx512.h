/* Unpacking the codes and factors of weights with AVX-512: the operations of weights_simd.h and linear_simd.h.
   weights_avx2.h has the same functions.
   Rests on simd_avx512.h. Include it first in a file that is compiled for x86-64. */
#pragma once

#include "device/cpu/simd_avx512.h"

/* VW bytes, without and with sign, as 32-bit integers. */
INLINE ivec i_of_bytes(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}

INLINE ivec i_of_signed_bytes(const void *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(p));
}

INLINE ivec i_and(ivec a, int mask)
{
    return _mm512_and_si512(a, _mm512_set1_epi32(mask));
}

INLINE ivec i_or(ivec a, ivec b)
{
    return _mm512_or_si512(a, b);
}

/* a | (b & mask) */
INLINE ivec i_or_masked(ivec a, ivec b, int mask)
{
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(mask), 0xf8);
}

#define i_right(a, n) _mm512_srli_epi32(a, (unsigned)(n))
#define i_left(a, n) _mm512_slli_epi32(a, (unsigned)(n))

/* `value` in each lane i whose bit i is set, else 0. */
INLINE ivec i_of_bits(uint32_t bits, int value)
{
    return _mm512_maskz_set1_epi32((__mmask16)bits, value);
}

/* table[code] for the lowest four bits of each lane; a permutation ignores the others. */
INLINE vec v_lookup(const int8_t table[16], ivec codes)
{
    return _mm512_permutexvar_ps(codes, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)table))));
}

/* The lowest four bits of each lane as a number. */
INLINE vec v_of_low_nibbles(ivec a)
{
    return _mm512_permutexvar_ps(a, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* --- bytes of codes: four units of 16 --- */

INLINE ivec i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE ivec i_load_32_bytes(const void *p)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(p));
}

/* Moves bit `from` of each byte of the lower half and bit `from` + `step` of the upper half to bit `to`; other bits are
   undefined. */
INLINE ivec i_move_halves(ivec a, int from, int step, int to)
{
    int n = (to - from) & 31, m = (to - from - step) & 31;

    return _mm512_rolv_epi32(a, _mm512_setr_epi32(n, n, n, n, n, n, n, n, m, m, m, m, m, m, m, m));
}

/* Adds `value` to each byte whose bit is set. */
INLINE ivec i_add_to_bytes(ivec a, uint64_t bits, int value)
{
    return _mm512_mask_add_epi8(a, bits, a, _mm512_set1_epi8((char)value));
}

/* Index, in 16-bit words, of byte `at` of four blocks of `size` bytes in two vectors: their first and their last 64 bytes. */
#define WORD_OF(at, size) ((at) < 64 ? (at) / 2 : 32 + ((at) + 64 - 4 * (size)) / 2)
#define WORDS_OF_UNIT(u, size)                                                                                           \
    WORD_OF((u) * (size) + (size) - 16, size), WORD_OF((u) * (size) + (size) - 14, size),                                 \
        WORD_OF((u) * (size) + (size) - 12, size), WORD_OF((u) * (size) + (size) - 10, size),                             \
        WORD_OF((u) * (size) + (size) - 8, size), WORD_OF((u) * (size) + (size) - 6, size),                               \
        WORD_OF((u) * (size) + (size) - 4, size), WORD_OF((u) * (size) + (size) - 2, size)
#define UNITS_INDEX(size) {WORDS_OF_UNIT(0, size), WORDS_OF_UNIT(1, size), WORDS_OF_UNIT(2, size), WORDS_OF_UNIT(3, size)}
#define FACTORS_INDEX(size)                                                                                              \
    {WORD_OF(0, size), WORD_OF(size, size), WORD_OF(2 * (size), size), WORD_OF(3 * (size), size),                         \
     WORD_OF(2, size), WORD_OF((size) + 2, size), WORD_OF(2 * (size) + 2, size), WORD_OF(3 * (size) + 2, size)}

/* The last 16 bytes of each of four consecutive blocks of `size` bytes (18, 20, 22 or 24) at p, and the two f16 at their
   beginnings: factors 0 to 3 are the first f16 of each, 4 to 7 the second. */
INLINE ivec i_of_blocks(const unsigned char *p, size_t size, __m256 *halves)
{
    static const _Alignas(64) uint16_t units[4][32] = {UNITS_INDEX(18), UNITS_INDEX(20), UNITS_INDEX(22), UNITS_INDEX(24)};
    static const _Alignas(64)
        uint16_t factors[4][32] = {FACTORS_INDEX(18), FACTORS_INDEX(20), FACTORS_INDEX(22), FACTORS_INDEX(24)};
    size_t i = (size - 18) / 2;
    __m512i first = _mm512_loadu_si512(p), last = _mm512_loadu_si512(p + 4 * size - 64);

    /* Keeps compilers from loading each vector twice: most loads cross a cache line and would be the bottleneck. */
    __asm__("" : "+v"(first), "+v"(last));
    __m512i words = _mm512_permutex2var_epi16(first, _mm512_load_si512(factors[i]), last);

    *halves = _mm256_cvtph_ps(_mm512_castsi512_si128(words));
    return _mm512_permutex2var_epi16(first, _mm512_load_si512(units[i]), last);
}

#define END_WORD(row, block, size, at) (32 * (row) + 32 - (2 - (block)) * (size) / 2 + (at) / 2)
#define END_WORDS(row, block, size)                                                                                            \
    END_WORD(row, block, size, (size) - 16), END_WORD(row, block, size, (size) - 14),                                          \
        END_WORD(row, block, size, (size) - 12), END_WORD(row, block, size, (size) - 10),                                      \
        END_WORD(row, block, size, (size) - 8), END_WORD(row, block, size, (size) - 6),                                        \
        END_WORD(row, block, size, (size) - 4), END_WORD(row, block, size, (size) - 2)
#define ENDS_INDEX(size) {END_WORDS(0, 0, size), END_WORDS(0, 1, size), END_WORDS(1, 0, size), END_WORDS(1, 1, size)}
#define END_FACTORS_INDEX(size)                                                                                          \
    {END_WORD(0, 0, size, 0), END_WORD(0, 1, size, 0), END_WORD(1, 0, size, 0), END_WORD(1, 1, size, 0),                  \
     END_WORD(0, 0, size, 2), END_WORD(0, 1, size, 2), END_WORD(1, 0, size, 2), END_WORD(1, 1, size, 2)}

/* The same of the two blocks that end at a and the two that end at b; n = 1: of the last block of each, after zeros. */
INLINE ivec i_of_ends(const unsigned char *a, const unsigned char *b, size_t size, int64_t n, __m256 *halves)
{
    static const _Alignas(64) uint16_t units[4][32] = {ENDS_INDEX(18), ENDS_INDEX(20), ENDS_INDEX(22), ENDS_INDEX(24)};
    static const _Alignas(64) uint16_t factors[4][32] = {END_FACTORS_INDEX(18), END_FACTORS_INDEX(20), END_FACTORS_INDEX(22),
                                                         END_FACTORS_INDEX(24)};
    size_t i = (size - 18) / 2;
    __mmask32 last = (__mmask32)(0xffffffffu << (32 - (size_t)n * size / 2)); /* nothing before the blocks is read */
    __m512i va = _mm512_maskz_loadu_epi16(last, a - 64), vb = _mm512_maskz_loadu_epi16(last, b - 64);

    *halves = _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_permutex2var_epi16(va, _mm512_load_si512(factors[i]), vb)));
    return _mm512_permutex2var_epi16(va, _mm512_load_si512(units[i]), vb);
}

/* Numbers `first` to `first` + 3, each in the four lanes of its unit. */
INLINE vec v_spread(__m256 f, int first)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), _mm512_set1_epi32(first));

    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(f));
}

/* The numbers in the lowest eight lanes, zeros above. */
INLINE vec v_of_eight(__m256 f)
{
    return _mm512_zextps256_ps512(f);
}

/* One half of b added to the lower half of a. */
INLINE vec v_add_half(vec a, vec b, int half)
{
    return _mm512_add_ps(a, _mm512_zextps256_ps512(half ? _mm512_extractf32x8_ps(b, 1) : _mm512_castps512_ps256(b)));
}

/* --- sixteen factors --- */

typedef struct sixteen {
    __m512 v;
} sixteen;

/* Bytes, with or without sign, the first eight times d[i], the others times d[k]. */
INLINE sixteen sixteen_of_bytes(__m128i bytes, bool is_signed, __m128 d, int i, int k)
{
    __m512i ints = is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    __m512i index = _mm512_setr_epi32(i, i, i, i, i, i, i, i, k, k, k, k, k, k, k, k);
    return (sixteen){_mm512_mul_ps(_mm512_cvtepi32_ps(ints), _mm512_permutexvar_ps(index, _mm512_castps128_ps512(d)))};
}

/* The factors with these numbers, each in the four lanes of a unit. */
INLINE vec sixteen_spread(const sixteen *s, const int at[4])
{
    return _mm512_permutexvar_ps(_mm512_setr_epi32(at[0], at[0], at[0], at[0], at[1], at[1], at[1], at[1], at[2], at[2], at[2],
                                                   at[2], at[3], at[3], at[3], at[3]),
                                 s->v);
}

INLINE vec sixteen_fma(const sixteen *s, const float *b, vec c)
{
    return _mm512_fmadd_ps(s->v, _mm512_loadu_ps(b), c);
}

INLINE __m128 sum_halves(__m512 a)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* The sums over the lanes of four vectors. For one vector the same order of additions, whatever the others are. */
INLINE __m128 v_sums(vec a, vec b, vec c, vec d)
{
    return sum_halves(v_sum_quad(a, b, c, d));
}

/* Stores the first n lanes, n <= VW; memory of the others is neither written nor read. */
INLINE void v_store_first(float *p, vec a, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), a);
}

INLINE vec v_load_first(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}

/* Four times 4 floats, 4 * stride apart. */
INLINE vec load_quads(const float *p, int64_t stride)
{
    vec v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * stride), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * stride), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * stride), 3);
}
