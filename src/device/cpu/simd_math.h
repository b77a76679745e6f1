/* The exponential of a vector, for kernels that are written once for all widths.
   Rests on simd_avx2.h or simd_avx512.h, whichever was included before. */
#ifndef DEVICE_CPU_SIMD_MATH_H
#define DEVICE_CPU_SIMD_MATH_H

/* e^x within 1.5 units in the last place for x up to 88.7, infinite above 89, 0 below -87.3 (-inf included), NaN for NaN.
   x = n ln 2 + r with |r| <= ln 2 / 2; e^r by interpolation of (e^r - 1 - r) / r^2 at five Chebyshev nodes. */
INLINE vec v_exp(vec x)
{
    vec n = v_round(v_mul(x, v_all(1.44269504f)));
    vec r = v_fnma(n, v_all(0.693359375f), x);
    r = v_fnma(n, v_all(-2.12194440e-4f), r);
    vec p = v_all(0.00140030333f);
    p = v_fma(p, r, v_all(0.00836319476f));
    p = v_fma(p, r, v_all(0.0416654013f));
    p = v_fma(p, r, v_all(0.166665763f));
    p = v_fma(p, r, v_all(0.5f));
    p = v_fma(v_mul(r, r), p, r);
    return v_scale_exp(v_add(p, v_all(1.0f)), n, x);
}

#endif
