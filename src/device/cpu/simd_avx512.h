/* Vectors of 16 floats, for kernels that are independent of the width (elementwise_simd.h, attention_simd.h, linear_simd.h).
   Rests on AVX-512 F, BW, DQ and VL; include it first: the code after it is compiled for them. simd_avx2.h is the version
   for 8. Only stores to 16 bits round, to nearest even. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
/* Some loops have a constant length in one use only. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define UNROLL _Pragma("unroll")
#define SIMD_END _Pragma("clang attribute pop")
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define UNROLL _Pragma("GCC unroll 32")
#define SIMD_END
/* GCC 12 warns of its own _mm512_undefined_ps() inside the intrinsics. */
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define INLINE static inline __attribute__((always_inline))
#define SIMD_NAME(name) name##_avx512

enum { VW = 16 };     /* floats of a vector */
enum { PANEL_MAX = 4 }; /* vectors of a row of a register tile: 6 rows of 4 are 24 of the 32 registers */
#define PANEL_WIDTHS(M, R) M(R, 1) M(R, 2) M(R, 3) M(R, 4)

typedef __m512 vec;
typedef __m512i ivec;
typedef __m512d dvec;
#define SIMD(op) _mm512_##op

#include "device/cpu/simd_ops.h"

INLINE bool v_any_greater(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
}
INLINE float v_sum(vec x)
{
    return _mm512_reduce_add_ps(x);
}
INLINE float v_highest(vec x)
{
    return _mm512_reduce_max_ps(x);
}

/* x in its first n lanes, `other` in the rest. */
INLINE vec v_first(vec x, int n, vec other)
{
    return _mm512_mask_mov_ps(other, (__mmask16)((1u << n) - 1u), x);
}

INLINE vec v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
INLINE vec v_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
INLINE vec v_load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}
/* Rounds to nearest even; |x| is at most 127. */
INLINE void v_store_i8(int8_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_cvtps_epi32(x)));
}
/* The bits of |x|. */
INLINE ivec i_magnitude(vec x)
{
    return _mm512_srli_epi32(_mm512_slli_epi32(_mm512_castps_si512(x), 1), 1);
}
INLINE void i_store(uint32_t *p, ivec x)
{
    _mm512_storeu_si512(p, x);
}
INLINE void v_store_f16(uint16_t *p, vec x)
{
    /* With a mask: what gcc 12 makes of the form without one at -O0 does not pass -Wsign-conversion. */
    _mm256_storeu_si256((__m256i *)p, _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE void v_store_bf16(uint16_t *p, vec x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    /* A NaN keeps its sign and becomes quiet; the addition could have made it infinite. */
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __m512i kept = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}

/* (a, b, ..) -> (a, a, b, b, ..) of the VW / 2 floats at p */
INLINE vec v_load_twice(const float *p)
{
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

/* 2^n * x for whole n. 0 where the exponent's argument `at` is below the normal range: such terms are less than 1e-38 of a
   sum of at least 1, and denormals are slow. */
INLINE vec v_scale_exp(vec x, vec n, vec at)
{
    __mmask16 kept = _mm512_cmp_ps_mask(at, _mm512_set1_ps(-87.33654f), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(kept, x, n);
}

/* Transposes VW x VW floats. */
INLINE void v_transpose(vec t[VW])
{
    vec u[VW];

    UNROLL
    for (int i = 0; i < VW; i += 4) {
        v_transpose_quads(t + i);
    }
    /* t[4 * i + j] holds in its four 128-bit lanes columns j, j + 4, j + 8, j + 12 of rows 4 * i .. 4 * i + 3. */
    UNROLL
    for (int j = 0; j < 4; j++) {
        vec low01 = _mm512_shuffle_f32x4(t[j], t[j + 4], 0x44), high01 = _mm512_shuffle_f32x4(t[j], t[j + 4], 0xee);
        vec low23 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0x44), high23 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0xee);
        u[j] = _mm512_shuffle_f32x4(low01, low23, 0x88);
        u[j + 4] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
        u[j + 8] = _mm512_shuffle_f32x4(high01, high23, 0x88);
        u[j + 12] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
    }
    UNROLL
    for (int i = 0; i < VW; i++) {
        t[i] = u[i];
    }
}

/* Sums up VW / 4 results of v_sum_quad: lane i is the sum of the i-th of the VW vectors. */
INLINE vec v_join_quads(const vec q[VW / 4])
{
    vec a = _mm512_add_ps(_mm512_shuffle_f32x4(q[0], q[1], 0x44), _mm512_shuffle_f32x4(q[0], q[1], 0xee));
    vec b = _mm512_add_ps(_mm512_shuffle_f32x4(q[2], q[3], 0x44), _mm512_shuffle_f32x4(q[2], q[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
