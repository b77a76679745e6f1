/* Rows of numbers in vectors of any width: the including file chooses it.
   Rests on simd_avx2.h or simd_avx512.h, and simd_math.h. elementwise_scalar.c is the definition.

   The last numbers of a row, fewer than a vector, are padded to a vector in memory, so that every number gets the same
   arithmetic. */
#include "device/cpu/elementwise.h"
#include "device/cpu/simd_math.h"

#include <math.h>

/* The n < VW numbers at p, then zeros. */
INLINE vec load_few(const float *p, int64_t n)
{
    float all[VW] = {0};

    memcpy(all, p, (size_t)n * sizeof(float));
    return v_load(all);
}

INLINE void store_few(float *p, vec x, int64_t n)
{
    float all[VW];

    v_store(all, x);
    memcpy(p, all, (size_t)n * sizeof(float));
}

/* One over the root of the mean square; `rest` are the last numbers, fewer than a vector. */
INLINE vec normaliser(const float *x, vec rest, float eps, int64_t n)
{
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0, whole = n - n % VW;

    for (; i + 4 * VW <= n; i += 4 * VW) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            vec a = v_load(x + i + j * VW);
            sum[j] = v_fma(a, a, sum[j]);
        }
    }
    for (; i < whole; i += VW) {
        sum[0] = v_fma(v_load(x + i), v_load(x + i), sum[0]);
    }
    sum[1] = v_fma(rest, rest, sum[1]);
    double total = (double)v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
    return v_all((float)(1 / sqrt(total / (double)n + (double)eps)));
}

static void rms_norm_row(float *out, const float *x, const float *weight, float eps, int64_t n)
{
    int64_t whole = n - n % VW;
    vec rest = load_few(x + whole, n - whole), by = normaliser(x, rest, eps, n);

    for (int64_t i = 0; i < whole; i += VW) {
        v_store(out + i, v_mul(v_mul(v_load(x + i), by), v_load(weight + i)));
    }
    if (whole < n) {
        store_few(out + whole, v_mul(v_mul(rest, by), load_few(weight + whole, n - whole)), n - whole);
    }
}

static void rms_norm_add_row(float *x, const float *y, const float *weight, float eps, int64_t n)
{
    int64_t whole = n - n % VW;
    vec rest = load_few(y + whole, n - whole), by = normaliser(y, rest, eps, n);

    for (int64_t i = 0; i < whole; i += VW) {
        v_store(x + i, v_fma(v_mul(v_load(y + i), by), v_load(weight + i), v_load(x + i)));
    }
    if (whole < n) {
        vec old = load_few(x + whole, n - whole);
        store_few(x + whole, v_fma(v_mul(rest, by), load_few(weight + whole, n - whole), old), n - whole);
    }
}

INLINE void rotate(vec *a, vec *b, vec cos, vec sin)
{
    vec turned = v_fnma(*b, sin, v_mul(*a, cos));

    *b = v_fma(*b, cos, v_mul(*a, sin));
    *a = turned;
}

static void rope_halves(float *x, const float *cos, const float *sin, int64_t half)
{
    int64_t i = 0;

    for (; i + VW <= half; i += VW) {
        vec a = v_load(x + i), b = v_load(x + half + i);
        rotate(&a, &b, v_load(cos + i), v_load(sin + i));
        v_store(x + i, a);
        v_store(x + half + i, b);
    }
    if (i < half) {
        int64_t n = half - i;
        vec a = load_few(x + i, n), b = load_few(x + half + i, n);
        rotate(&a, &b, load_few(cos + i, n), load_few(sin + i, n));
        store_few(x + i, a, n);
        store_few(x + half + i, b, n);
    }
}

static void rope_pairs(float *x, const float *cos, const float *sin, int64_t half)
{
    int64_t i = 0;

    for (; i + VW / 2 <= half; i += VW / 2) {
        vec a = v_load(x + 2 * i), c = v_load_twice(cos + i), s = v_load_twice(sin + i);
        v_store(x + 2 * i, v_fma_sub_add(a, c, v_mul(v_swap_pairs(a), s)));
    }
    if (i < half) {
        int64_t n = half - i;
        float few_cos[VW] = {0}, few_sin[VW] = {0};
        memcpy(few_cos, cos + i, (size_t)n * sizeof(float));
        memcpy(few_sin, sin + i, (size_t)n * sizeof(float));
        vec a = load_few(x + 2 * i, 2 * n), c = v_load_twice(few_cos), s = v_load_twice(few_sin);
        store_few(x + 2 * i, v_fma_sub_add(a, c, v_mul(v_swap_pairs(a), s)), 2 * n);
    }
}

static void rope_row(float *x, const float *cos, const float *sin, int64_t half, rope_style style)
{
    if (style == ROPE_HALVES) {
        rope_halves(x, cos, sin, half);
    } else {
        rope_pairs(x, cos, sin, half);
    }
}

static void store_row(void *to, dtype type, const float *x, int64_t n)
{
    uint16_t *bits = to, few[VW];
    int64_t whole = n - n % VW;

    if (type == DTYPE_F32) {
        memcpy(to, x, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < whole; i += VW) {
        if (type == DTYPE_F16) {
            v_store_f16(bits + i, v_load(x + i));
        } else {
            v_store_bf16(bits + i, v_load(x + i));
        }
    }
    if (whole < n) {
        vec rest = load_few(x + whole, n - whole);
        if (type == DTYPE_F16) {
            v_store_f16(few, rest);
        } else {
            v_store_bf16(few, rest);
        }
        memcpy(bits + whole, few, (size_t)(n - whole) * sizeof *few);
    }
}

static float store_codes_row(int8_t *to, const float *x, int64_t n)
{
    int64_t whole = n - n % VW;
    vec rest = load_few(x + whole, n - whole);
    ivec high = i_magnitude(rest);
    uint32_t lanes[VW], most = 0;
    int8_t few[VW];
    float to_code;

    for (int64_t i = 0; i < whole; i += VW) {
        high = i_max(high, i_magnitude(v_load(x + i))); /* as numbers without a sign: a NaN is the largest */
    }
    i_store(lanes, high);
    for (int i = 0; i < VW; i++) {
        most = lanes[i] > most ? lanes[i] : most;
    }
    float scale = kv_scale_of(most, &to_code);
    if (!(to_code > 0)) {
        memset(to, 0, (size_t)n);
        return scale;
    }
    for (int64_t i = 0; i < whole; i += VW) {
        v_store_i8(to + i, v_mul(v_load(x + i), v_all(to_code)));
    }
    if (whole < n) {
        v_store_i8(few, v_mul(rest, v_all(to_code)));
        memcpy(to + whole, few, (size_t)(n - whole));
    }
    return scale;
}

INLINE vec silu_mul(vec g, vec u)
{
    /* Beyond 89 the exponential is infinite and the quotient 0, the correct limit. */
    vec e = v_exp(v_min(v_all(100.0f), v_sub(v_zero(), g)));

    return v_mul(v_div(g, v_add(v_all(1.0f), e)), u);
}

static void silu_mul_row(float *g, const float *u, int64_t n)
{
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(g + i, silu_mul(v_load(g + i), v_load(u + i)));
    }
    if (i < n) {
        store_few(g + i, silu_mul(load_few(g + i, n - i), load_few(u + i, n - i)), n - i);
    }
}

INLINE vec gelu_mul(vec g, vec u)
{
    vec cube = v_mul(v_mul(g, g), v_mul(g, v_all(GELU_CUBE)));
    vec e = v_exp(v_min(v_all(100.0f), v_mul(v_all(-2 * GELU_ROOT), v_add(g, cube)))); /* as above */

    return v_mul(v_div(g, v_add(v_all(1.0f), e)), u);
}

static void gelu_mul_row(float *g, const float *u, int64_t n)
{
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(g + i, gelu_mul(v_load(g + i), v_load(u + i)));
    }
    if (i < n) {
        store_few(g + i, gelu_mul(load_few(g + i, n - i), load_few(u + i, n - i)), n - i);
    }
}

static void scale_row(float *to, const float *x, float by, int64_t n)
{
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(to + i, v_mul(v_load(x + i), v_all(by)));
    }
    for (; i < n; i++) {
        to[i] = x[i] * by;
    }
}

static void divide_row(float *to, const float *x, float by, int64_t n)
{
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(to + i, v_div(v_load(x + i), v_all(by)));
    }
    for (; i < n; i++) {
        to[i] = x[i] / by;
    }
}

/* into = shrinks * shrink + stays: only the side with the smaller maximum is scaled. */
INLINE void add_shrunk(float *into, const float *shrinks, float shrink, const float *stays, int64_t n)
{
    int64_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(into + i, v_fma(v_load(shrinks + i), v_all(shrink), v_load(stays + i)));
    }
    if (i < n) {
        store_few(into + i, v_fma(load_few(shrinks + i, n - i), v_all(shrink), load_few(stays + i, n - i)), n - i);
    }
}

static void merge_row(float *o, float *m, float *l, const float *from_o, float from_m, float from_l, int64_t n)
{
    if (from_l == 0) {
        return;
    }
    if (*l == 0) {
        memcpy(o, from_o, (size_t)n * sizeof(float));
        *m = from_m;
        *l = from_l;
    } else if (from_m > *m) {
        float shrink = expf(*m - from_m);
        add_shrunk(o, o, shrink, from_o, n);
        *l = *l * shrink + from_l;
        *m = from_m;
    } else {
        float shrink = expf(from_m - *m);
        add_shrunk(o, from_o, shrink, o, n);
        *l = from_l * shrink + *l;
    }
}

const row_kernels SIMD_NAME(row_kernels) = {
    .rms_norm = rms_norm_row,
    .rms_norm_add = rms_norm_add_row,
    .rope = rope_row,
    .store = store_row,
    .store_codes = store_codes_row,
    .silu_mul = silu_mul_row,
    .gelu_mul = gelu_mul_row,
    .scale = scale_row,
    .divide = divide_row,
    .merge = merge_row,
};
