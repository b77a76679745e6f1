/* The exponential of a vector of any width.
   Rests on simd_avx2.h or simd_avx512.h, included before. */
#pragma once

/* 2^(n + f) for whole n and |f| <= 1/2, 0 where `at` is below the range of v_scale_exp. */
INLINE vec v_exp2(vec n, vec f, vec at)
{
    vec p = v_all(0.000155949136f);

    p = v_fma(p, f, v_all(0.00134067354f));
    p = v_fma(p, f, v_all(0.00961769186f));
    p = v_fma(p, f, v_all(0.0555031039f));
    p = v_fma(p, f, v_all(0.240226522f));
    p = v_fma(p, f, v_all(0.693147242f));
    p = v_fma(p, f, v_all(1.0f));
    return v_scale_exp(p, n, at);
}

/* e^x for x up to 88.7, infinite above 89, 0 below -87.3 (-inf included), NaN for NaN. As 2^(x / ln 2) = 2^n 2^f with |f| <=
   1/2; 2^f is a polynomial with the least relative error among those that are 1 at 0, 3e-9. The product with 1 / ln 2 in one
   float has an error of 1.3e-8 x, negligible in a sum of exponentials whose largest is 1: x e^x is small. */
INLINE vec v_exp_weight(vec x)
{
    const float per_ln2 = 1.44269504f, whole = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    vec n = v_sub(v_fma(x, v_all(per_ln2), v_all(whole)), v_all(whole));
    vec f = v_fms(x, v_all(per_ln2), n);
    return v_exp2(n, f, x);
}

/* The same within 1.5 units in the last place for any x. */
INLINE vec v_exp(vec x)
{
    const float per_ln2 = 1.44269504f, per_ln2_rest = 1.92596299e-8f, whole = 12582912.0f;
    vec n = v_sub(v_fma(x, v_all(per_ln2), v_all(whole)), v_all(whole));
    vec f = v_fma(x, v_all(per_ln2_rest), v_fms(x, v_all(per_ln2), n));
    return v_exp2(n, f, x);
}
