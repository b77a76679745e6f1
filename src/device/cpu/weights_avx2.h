/* Unpacking the codes and factors of weights with AVX2: the operations of weights_simd.h and linear_simd.h. weights_avx512.h
   has the same functions.
   Rests on simd_avx2.h. Include it first in a file that is compiled for x86-64. */
#pragma once

#include "device/cpu/simd_avx2.h"

/* VW bytes, without and with sign, as 32-bit integers. */
INLINE ivec i_of_bytes(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}

INLINE ivec i_of_signed_bytes(const void *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
}

INLINE ivec i_and(ivec a, int mask)
{
    return _mm256_and_si256(a, _mm256_set1_epi32(mask));
}

INLINE ivec i_or(ivec a, ivec b)
{
    return _mm256_or_si256(a, b);
}

/* a | (b & mask) */
INLINE ivec i_or_masked(ivec a, ivec b, int mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, _mm256_set1_epi32(mask)));
}

#define i_right(a, n) _mm256_srli_epi32(a, n)
#define i_left(a, n) _mm256_slli_epi32(a, n)

/* `value` in each lane i whose bit i is set, else 0. */
INLINE ivec i_of_bits(uint32_t bits, int value)
{
    __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit);

    return _mm256_and_si256(set, _mm256_set1_epi32(value));
}

/* table[code] for the lowest four bits of each lane. */
INLINE vec v_lookup(const int8_t table[16], ivec codes)
{
    __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    __m256i index = _mm256_and_si256(codes, _mm256_set1_epi32(15)); /* garbage above the lowest byte leaves with the shift */

    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(_mm256_shuffle_epi8(bytes, index), 24), 24));
}

/* The lowest four bits of each lane as a number. */
INLINE vec v_of_low_nibbles(ivec a)
{
    return _mm256_cvtepi32_ps(i_and(a, 15));
}

/* --- bytes of codes: two units of 16 --- */

INLINE ivec i_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE ivec i_load_32_bytes(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* Moves bit `from` of each byte to bit `to`; other bits are undefined. (`step` is for sixteen lanes.) */
INLINE ivec i_move_halves(ivec a, int from, int step, int to)
{
    (void)step;
    return from < to ? i_left(a, to - from) : i_right(a, from - to);
}

/* Adds `value` to each byte whose bit is set. */
INLINE ivec i_add_to_bytes(ivec a, uint64_t bits, int value)
{
    const __m256i spread =
        _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i each = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)(uint32_t)bits), spread), bit);

    return _mm256_add_epi8(a, _mm256_and_si256(_mm256_cmpeq_epi8(each, bit), _mm256_set1_epi8((char)value)));
}

INLINE int two_halves(const unsigned char *a, const unsigned char *b)
{
    uint16_t x, y;
    memcpy(&x, a, 2);
    memcpy(&y, b, 2);
    return (int)((uint32_t)x | (uint32_t)y << 16);
}

INLINE ivec i_of_two_blocks(const unsigned char *a, const unsigned char *b, size_t size, __m256 *halves)
{
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(a + size - 16)));

    *halves = _mm256_cvtph_ps(_mm_setr_epi32(two_halves(a, b), 0, two_halves(a + 2, b + 2), 0));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const void *)(b + size - 16)), 1);
}

/* The last 16 bytes of each of two consecutive blocks of `size` bytes at p, and the two f16 at their beginnings: factors 0
   and 1 are the first f16 of each, 4 and 5 the second. */
INLINE ivec i_of_blocks(const unsigned char *p, size_t size, __m256 *halves)
{
    return i_of_two_blocks(p, p + size, size, halves);
}

/* The same of the block that ends at a and the one that ends at b. (`n` is for sixteen lanes.) */
INLINE ivec i_of_ends(const unsigned char *a, const unsigned char *b, size_t size, int64_t n, __m256 *halves)
{
    (void)n;
    return i_of_two_blocks(a - size, b - size, size, halves);
}

/* Numbers `first` and `first` + 1, each in the four lanes of its unit. */
INLINE vec v_spread(__m256 f, int first)
{
    return _mm256_permutevar8x32_ps(f,
                                    _mm256_setr_epi32(first, first, first, first, first + 1, first + 1, first + 1, first + 1));
}

/* The numbers in the lowest eight lanes. */
INLINE vec v_of_eight(__m256 f)
{
    return f;
}

/* One half of b added to the lower half of a. */
INLINE vec v_add_half(vec a, vec b, int half)
{
    return _mm256_add_ps(a, _mm256_zextps128_ps256(half ? _mm256_extractf128_ps(b, 1) : _mm256_castps256_ps128(b)));
}

/* --- sixteen factors --- */

typedef struct sixteen {
    __m256 v[2];
} sixteen;

/* Bytes, with or without sign, the first eight times d[i], the others times d[k]. */
INLINE sixteen sixteen_of_bytes(__m128i bytes, bool is_signed, __m128 d, int i, int k)
{
    __m128i rest = _mm_unpackhi_epi64(bytes, bytes);
    __m256i a = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    __m256i b = is_signed ? _mm256_cvtepi8_epi32(rest) : _mm256_cvtepu8_epi32(rest);
    __m256 dd = _mm256_castps128_ps256(d);
    return (sixteen){{_mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_permutevar8x32_ps(dd, _mm256_set1_epi32(i))),
                      _mm256_mul_ps(_mm256_cvtepi32_ps(b), _mm256_permutevar8x32_ps(dd, _mm256_set1_epi32(k)))}};
}

/* The factors with these numbers (both in one half), each in the four lanes of a unit. */
INLINE vec sixteen_spread(const sixteen *s, const int at[2])
{
    int a = at[0] % 8, b = at[1] % 8;

    return _mm256_permutevar8x32_ps(s->v[at[0] / 8], _mm256_setr_epi32(a, a, a, a, b, b, b, b));
}

INLINE vec sixteen_fma(const sixteen *s, const float *b, vec c)
{
    return _mm256_fmadd_ps(s->v[1], _mm256_loadu_ps(b + 8), _mm256_fmadd_ps(s->v[0], _mm256_loadu_ps(b), c));
}

/* The sums over the lanes of four vectors. For one vector the same order of additions, whatever the others are. */
INLINE __m128 v_sums(vec a, vec b, vec c, vec d)
{
    __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));

    return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

INLINE __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Stores the first n lanes, n <= VW; memory of the others is neither written nor read. */
INLINE void v_store_first(float *p, vec a, int n)
{
    _mm256_maskstore_ps(p, first_lanes(n), a);
}

INLINE vec v_load_first(const float *p, int n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

/* Two times 4 floats, 4 * stride apart. */
INLINE vec load_quads(const float *p, int64_t stride)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
}
