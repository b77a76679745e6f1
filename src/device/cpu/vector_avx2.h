/* Eight lanes: AVX2, FMA and F16C. The words that linear_simd.h is written in; vector_avx512.h has the same for sixteen.
   Rests on the compiler's intrinsics. Include it once, first, in a file that is compiled for x86-64. */
#ifndef DEVICE_CPU_VECTOR_AVX2_H
#define DEVICE_CPU_VECTOR_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Functions from here to the end of the file are compiled for these instructions. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
/* It says so where it keeps a loop that ends early rather than unroll it. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define VECTOR_END _Pragma("clang attribute pop")
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#define UNROLL _Pragma("GCC unroll 16")
#define VECTOR_END
#pragma GCC target("avx2,fma,f16c")
#endif

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };
typedef __m256 vf;
typedef __m256i vi;

INLINE vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

INLINE vf vf_set(float f)
{
    return _mm256_set1_ps(f);
}

INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

INLINE void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}

INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

/* a * b + c, rounded once. */
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vf vf_of_ints(vi a)
{
    return _mm256_cvtepi32_ps(a);
}

INLINE vf vf_of_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

INLINE vf vf_of_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

/* LANES bytes, without and with sign, as 32-bit integers. */
INLINE vi vi_of_bytes(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}

INLINE vi vi_of_signed_bytes(const void *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
}

INLINE vi vi_set(int i)
{
    return _mm256_set1_epi32(i);
}

INLINE vi vi_and(vi a, int mask)
{
    return _mm256_and_si256(a, _mm256_set1_epi32(mask));
}

INLINE vi vi_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}

INLINE vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

/* a | (b & mask) */
INLINE vi vi_or_masked(vi a, vi b, int mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, _mm256_set1_epi32(mask)));
}

#define vi_right(a, n) _mm256_srli_epi32(a, n)
#define vi_left(a, n) _mm256_slli_epi32(a, n)

/* `value` in each lane i whose bit i is set, else 0. */
INLINE vi vi_of_bits(uint32_t bits, int value)
{
    __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit);

    return _mm256_and_si256(set, _mm256_set1_epi32(value));
}

/* table[code] for the lowest four bits of each lane. */
INLINE vf vf_lookup(const int8_t table[16], vi codes)
{
    __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    __m256i index = _mm256_and_si256(codes, _mm256_set1_epi32(15)); /* garbage above the lowest byte leaves with the shift */

    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(_mm256_shuffle_epi8(bytes, index), 24), 24));
}

/* The lowest four bits of each lane as a number. */
INLINE vf vf_of_low_nibbles(vi a)
{
    return _mm256_cvtepi32_ps(vi_and(a, 15));
}

/* --- bytes of codes: two units of 16 --- */

INLINE vi vi_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE vi vi_load_32_bytes(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* Bit `from` of each byte as bit `to`; other bits are left over. (With twice as many lanes the upper half is `step` bits on.) */
INLINE vi vi_move_halves(vi a, int from, int step, int to)
{
    (void)step;
    return from < to ? vi_left(a, to - from) : vi_right(a, from - to);
}

/* `value` added to each byte whose bit is set. */
INLINE vi vi_add_to_bytes(vi a, uint64_t bits, int value)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
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

INLINE vi vi_of_two_blocks(const unsigned char *a, const unsigned char *b, size_t size, __m256 *halves)
{
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(a + size - 16)));

    *halves = _mm256_cvtph_ps(_mm_setr_epi32(two_halves(a, b), 0, two_halves(a + 2, b + 2), 0));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const void *)(b + size - 16)), 1);
}

/* The last 16 bytes of each of two blocks of `size` bytes, one after the other at p, and the two f16 at the beginning of each:
   factors 0 and 1 are the first ones, 4 and 5 the second. */
INLINE vi vi_of_blocks(const unsigned char *p, size_t size, __m256 *halves)
{
    return vi_of_two_blocks(p, p + size, size, halves);
}

/* The same of the block that ends at a and that which ends at b. (With twice as many lanes two of each, or n.) */
INLINE vi vi_of_ends(const unsigned char *a, const unsigned char *b, size_t size, int64_t n, __m256 *halves)
{
    (void)n;
    return vi_of_two_blocks(a - size, b - size, size, halves);
}

/* Numbers `first` and `first` + 1, each in the four lanes of its unit. */
INLINE vf vf_spread(__m256 f, int first)
{
    return _mm256_permutevar8x32_ps(f, _mm256_setr_epi32(first, first, first, first, first + 1, first + 1, first + 1, first + 1));
}

/* The numbers in the lowest eight lanes, of which there are no more. */
INLINE vf vf_of_eight(__m256 f)
{
    return f;
}

/* One half of b added to the lower half of a. */
INLINE vf vf_add_half(vf a, vf b, int half)
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
INLINE vf sixteen_spread(const sixteen *s, const int at[2])
{
    int a = at[0] % 8, b = at[1] % 8;

    return _mm256_permutevar8x32_ps(s->v[at[0] / 8], _mm256_setr_epi32(a, a, a, a, b, b, b, b));
}

INLINE vf sixteen_fma(const sixteen *s, const float *b, vf c)
{
    return _mm256_fmadd_ps(s->v[1], _mm256_loadu_ps(b + 8), _mm256_fmadd_ps(s->v[0], _mm256_loadu_ps(b), c));
}

/* The sums over the lanes of four vectors. For one vector the same order of additions, whatever the others are. */
INLINE __m128 vf_sums(vf a, vf b, vf c, vf d)
{
    __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));

    return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

INLINE __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Stores the first n lanes (n <= LANES; all others untouched, and not read either). */
INLINE void vf_store_first(float *p, vf a, int n)
{
    _mm256_maskstore_ps(p, first_lanes(n), a);
}

INLINE vf vf_load_first(const float *p, int n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

INLINE vf load_two(const float *p, int64_t stride)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
}

/* out[k * out_stride + r] = in[r * in_stride + k] for r, k < 8. Rows r and r + 4 come as the halves of one vector, so that the
   transposition itself stays within 128-bit lanes. */
INLINE void vf_transpose(const float *in, int64_t in_stride, float *out, int64_t out_stride)
{
    for (int k = 0; k < 8; k += 4) {
        vf a = load_two(in + k, in_stride), b = load_two(in + k + in_stride, in_stride);
        vf c = load_two(in + k + 2 * in_stride, in_stride), d = load_two(in + k + 3 * in_stride, in_stride);
        __m256d ab0 = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab1 = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
        __m256d cd0 = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd1 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
        vf_store(out + k * out_stride, _mm256_castpd_ps(_mm256_unpacklo_pd(ab0, cd0)));
        vf_store(out + (k + 1) * out_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(ab0, cd0)));
        vf_store(out + (k + 2) * out_stride, _mm256_castpd_ps(_mm256_unpacklo_pd(ab1, cd1)));
        vf_store(out + (k + 3) * out_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(ab1, cd1)));
    }
}

#endif
