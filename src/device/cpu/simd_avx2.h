/* Vectors of 8 floats: the AVX2 version of simd_avx512.h, which describes each function.
   Rests on AVX2, FMA and F16C; include it first: the code after it is compiled for them. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
/* Some loops have a constant length in one use only. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define UNROLL _Pragma("unroll")
#define SIMD_END _Pragma("clang attribute pop")
#else
#pragma GCC target("avx2,fma,f16c")
#define UNROLL _Pragma("GCC unroll 32")
#define SIMD_END
#endif
#define INLINE static inline __attribute__((always_inline))
#define SIMD_NAME(name) name##_avx2

enum { VW = 8 };
enum { PANEL_MAX = 2 }; /* 6 rows of 2 are 12 of the 16 registers */
#define PANEL_WIDTHS(M, R) M(R, 1) M(R, 2)

typedef __m256 vec;
typedef __m256i ivec;
typedef __m256d dvec;
#define SIMD(op) _mm256_##op

#include "device/cpu/simd_ops.h"

INLINE bool v_any_greater(vec a, vec b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
INLINE float v_sum(vec x)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
INLINE float v_highest(vec x)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}

INLINE vec v_first(vec x, int n, vec other)
{
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane)));
}

INLINE vec v_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}
INLINE vec v_load_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
INLINE vec v_load_i8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}
INLINE void v_store_i8(int8_t *p, vec x)
{
    __m256i a = _mm256_cvtps_epi32(x);
    __m128i b = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(b, b));
}
INLINE ivec i_magnitude(vec x)
{
    return _mm256_srli_epi32(_mm256_slli_epi32(_mm256_castps_si256(x), 1), 1);
}
INLINE void i_store(uint32_t *p, ivec x)
{
    _mm256_storeu_si256((__m256i *)p, x);
}
INLINE void v_store_f16(uint16_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE void v_store_bf16(uint16_t *p, vec x)
{
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i kept = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    __m256i high = _mm256_srli_epi32(kept, 16);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}

INLINE vec v_load_twice(const float *p)
{
    const __m256i index = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}

INLINE vec v_scale_exp(vec x, vec n, vec at)
{
    /* In two steps, since 2^128 is no float. Lanes below the range, where n is arbitrary, are cleared afterwards. */
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    const __m256i bias = _mm256_set1_epi32(127);
    vec a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vec b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    vec kept = _mm256_cmp_ps(at, _mm256_set1_ps(-87.33654f), _CMP_NLT_UQ);
    return _mm256_and_ps(kept, _mm256_mul_ps(_mm256_mul_ps(x, a), b));
}

INLINE void v_transpose(vec t[VW])
{
    vec u[VW];

    UNROLL
    for (int i = 0; i < VW; i += 4) {
        v_transpose_quads(t + i);
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        u[j] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x20);
        u[j + 4] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x31);
    }
    UNROLL
    for (int i = 0; i < VW; i++) {
        t[i] = u[i];
    }
}

INLINE vec v_join_quads(const vec q[VW / 4])
{
    return _mm256_add_ps(_mm256_permute2f128_ps(q[0], q[1], 0x20), _mm256_permute2f128_ps(q[0], q[1], 0x31));
}
