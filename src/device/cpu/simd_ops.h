/* Operations whose intrinsics are named alike for 8 and for 16 floats: SIMD(op) is that of the width.
   Included by simd_avx2.h and simd_avx512.h, which define SIMD, VW and the types vec, ivec and dvec. */
#pragma once

INLINE vec v_zero(void) { return SIMD(setzero_ps)(); }
INLINE vec v_all(float x) { return SIMD(set1_ps)(x); }
INLINE vec v_load(const float *p) { return SIMD(loadu_ps)(p); }
INLINE void v_store(float *p, vec x) { SIMD(storeu_ps)(p, x); }
INLINE vec v_add(vec a, vec b) { return SIMD(add_ps)(a, b); }
INLINE vec v_sub(vec a, vec b) { return SIMD(sub_ps)(a, b); }
INLINE vec v_mul(vec a, vec b) { return SIMD(mul_ps)(a, b); }
INLINE vec v_div(vec a, vec b) { return SIMD(div_ps)(a, b); }
/* The larger and the smaller; b where either is NaN. */
INLINE vec v_max(vec a, vec b) { return SIMD(max_ps)(a, b); }
INLINE vec v_min(vec a, vec b) { return SIMD(min_ps)(a, b); }
/* a * b + c, a * b - c and -(a * b) + c, rounded once. */
INLINE vec v_fma(vec a, vec b, vec c) { return SIMD(fmadd_ps)(a, b, c); }
INLINE vec v_fms(vec a, vec b, vec c) { return SIMD(fmsub_ps)(a, b, c); }
INLINE vec v_fnma(vec a, vec b, vec c) { return SIMD(fnmadd_ps)(a, b, c); }
/* a * b - c in even lanes, a * b + c in odd ones. */
INLINE vec v_fma_sub_add(vec a, vec b, vec c) { return SIMD(fmaddsub_ps)(a, b, c); }
/* Exchanges neighbours. */
INLINE vec v_swap_pairs(vec x) { return SIMD(permute_ps)(x, 0xb1); }
INLINE vec v_of_ints(ivec a) { return SIMD(cvtepi32_ps)(a); }
INLINE ivec i_all(int i) { return SIMD(set1_epi32)(i); }
INLINE ivec i_max(ivec a, ivec b) { return SIMD(max_epu32)(a, b); }
INLINE ivec i_add(ivec a, ivec b) { return SIMD(add_epi32)(a, b); }

/* Transposes the 4 x 4 floats that t[0] to t[3] hold in each 128-bit lane. */
INLINE void v_transpose_quads(vec t[4])
{
    dvec ab0 = SIMD(castps_pd)(SIMD(unpacklo_ps)(t[0], t[1])), ab1 = SIMD(castps_pd)(SIMD(unpackhi_ps)(t[0], t[1]));
    dvec cd0 = SIMD(castps_pd)(SIMD(unpacklo_ps)(t[2], t[3])), cd1 = SIMD(castps_pd)(SIMD(unpackhi_ps)(t[2], t[3]));

    t[0] = SIMD(castpd_ps)(SIMD(unpacklo_pd)(ab0, cd0));
    t[1] = SIMD(castpd_ps)(SIMD(unpackhi_pd)(ab0, cd0));
    t[2] = SIMD(castpd_ps)(SIMD(unpacklo_pd)(ab1, cd1));
    t[3] = SIMD(castpd_ps)(SIMD(unpackhi_pd)(ab1, cd1));
}

/* The sums of the lanes of four vectors, each spread over the 128-bit lanes: lane 4 * i + j has a part of t[j]'s sum. */
INLINE vec v_sum_quad(vec t0, vec t1, vec t2, vec t3)
{
    dvec a = SIMD(castps_pd)(v_add(SIMD(unpacklo_ps)(t0, t1), SIMD(unpackhi_ps)(t0, t1)));
    dvec b = SIMD(castps_pd)(v_add(SIMD(unpacklo_ps)(t2, t3), SIMD(unpackhi_ps)(t2, t3)));
    return v_add(SIMD(castpd_ps)(SIMD(unpacklo_pd)(a, b)), SIMD(castpd_ps)(SIMD(unpackhi_pd)(a, b)));
}
