/* Vectors of 16 floats for the kernels that are written once for all widths (elementwise_simd.h, attention_simd.h).
   Rests on AVX-512 F, BW, DQ and VL; include it first: what follows is compiled for them. simd_avx2.h is its other form.
   No instruction here rounds anything but what it stores as 16 bits, to nearest even. */
#ifndef DEVICE_CPU_SIMD_H
#define DEVICE_CPU_SIMD_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
/* Some loops have a constant length in one of their uses only. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define UNROLL _Pragma("unroll")
#define SIMD_END _Pragma("clang attribute pop")
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define UNROLL _Pragma("GCC unroll 32")
#define SIMD_END
#endif
#define INLINE static inline __attribute__((always_inline))
#define SIMD_NAME(name) name##_avx512

enum { VW = 16 };     /* floats of a vector */
enum { PANEL_MAX = 4 }; /* vectors of a row of a register tile: 6 rows of 4 are 24 of the 32 registers */
#define PANEL_WIDTHS(M, R) M(R, 1) M(R, 2) M(R, 3) M(R, 4)

typedef __m512 vec;

INLINE vec v_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE vec v_all(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void v_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}
INLINE vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
INLINE vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
/* a * b + c, a * b - c and -(a * b) + c, rounded once. */
INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vec v_fms(vec a, vec b, vec c)
{
    return _mm512_fmsub_ps(a, b, c);
}
INLINE vec v_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
/* a * b - c in even lanes, a * b + c in odd ones. */
INLINE vec v_fma_sub_add(vec a, vec b, vec c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}
/* The larger; b where either is no number. */
INLINE vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}
INLINE vec v_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}
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

INLINE vec v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vec v_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
INLINE void v_store_f16(uint16_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE void v_store_bf16(uint16_t *p, vec x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    /* A NaN keeps its sign and becomes quiet; adding could have made it infinite. */
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __m512i kept = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}

/* (a, b, ..) -> (a, a, b, b, ..) of the VW / 2 floats at p; and neighbours exchanged. */
INLINE vec v_load_twice(const float *p)
{
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
INLINE vec v_swap_pairs(vec x)
{
    return _mm512_permute_ps(x, 0xb1);
}

/* 2^n * x for whole n, 0 where `at` (of which this is the exponential) is below the normal range: such terms are less than
   1e-38 of a sum of at least 1, and denormals are slow. */
INLINE vec v_scale_exp(vec x, vec n, vec at)
{
    __mmask16 kept = _mm512_cmp_ps_mask(at, _mm512_set1_ps(-87.33654f), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(kept, x, n);
}

/* Rows become columns. */
INLINE void v_transpose(vec t[VW])
{
    vec u[VW];

    UNROLL
    for (int i = 0; i < VW; i += 2) {
        u[i] = _mm512_unpacklo_ps(t[i], t[i + 1]);
        u[i + 1] = _mm512_unpackhi_ps(t[i], t[i + 1]);
    }
    UNROLL
    for (int i = 0; i < VW; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(u[i + j]), b = _mm512_castps_pd(u[i + j + 2]);
            t[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            t[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
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

/* The sums of the lanes of four vectors, each spread over the 128-bit lanes: lane 4 * i + j has a part of t[j]'s sum. */
INLINE vec v_sum_quad(vec t0, vec t1, vec t2, vec t3)
{
    vec a = _mm512_add_ps(_mm512_unpacklo_ps(t0, t1), _mm512_unpackhi_ps(t0, t1));
    vec b = _mm512_add_ps(_mm512_unpacklo_ps(t2, t3), _mm512_unpackhi_ps(t2, t3));
    __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
}
/* VW / 4 such parts summed up: lane i is the sum of the i-th of the VW vectors. */
INLINE vec v_join_quads(const vec q[VW / 4])
{
    vec a = _mm512_add_ps(_mm512_shuffle_f32x4(q[0], q[1], 0x44), _mm512_shuffle_f32x4(q[0], q[1], 0xee));
    vec b = _mm512_add_ps(_mm512_shuffle_f32x4(q[2], q[3], 0x44), _mm512_shuffle_f32x4(q[2], q[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

#endif
