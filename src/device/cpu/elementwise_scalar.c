/* Rows of numbers, one number at a time: the definition of the SIMD kernels.
   Rests on base/dtype.h. elementwise_simd.h is the vector version. */
#include "device/cpu/elementwise.h"

#include <math.h>
#include <string.h>

/* One over the root of the mean square. */
static float normaliser(const float *x, float eps, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return (float)(1 / sqrt(sum / (double)n + (double)eps));
}

static void rms_norm_row(float *out, const float *x, const float *weight, float eps, int64_t n)
{
    float by = normaliser(x, eps, n);

    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] * by * weight[i];
    }
}

static void rms_norm_add_row(float *x, const float *y, const float *weight, float eps, int64_t n)
{
    float by = normaliser(y, eps, n);

    for (int64_t i = 0; i < n; i++) {
        x[i] += y[i] * by * weight[i];
    }
}

static void rope_row(float *x, const float *cos, const float *sin, int64_t half, rope_style style)
{
    int64_t step = style == ROPE_HALVES ? 1 : 2, across = style == ROPE_HALVES ? half : 1;

    for (int64_t i = 0; i < half; i++) {
        float *a = x + i * step, *b = a + across, old = *a;
        *a = old * cos[i] - *b * sin[i];
        *b = *b * cos[i] + old * sin[i];
    }
}

static void store_row(void *to, dtype type, const float *x, int64_t n)
{
    if (type == DTYPE_F32) {
        memcpy(to, x, (size_t)n * sizeof(float));
        return;
    }
    uint16_t *bits = to;
    for (int64_t i = 0; i < n; i++) {
        bits[i] = type == DTYPE_F16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    }
}

static float store_codes_row(int8_t *to, const float *x, int64_t n)
{
    uint32_t most = 0; /* magnitudes are ordered as their bits, and a NaN is the largest */
    float to_code;

    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    float scale = kv_scale_of(most, &to_code);
    for (int64_t i = 0; i < n; i++) {
        to[i] = (int8_t)(to_code > 0 ? lrintf(x[i] * to_code) : 0);
    }
    return scale;
}

static void silu_mul_row(float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        g[i] = g[i] / (1 + expf(-g[i])) * u[i];
    }
}

static void gelu_mul_row(float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float z = GELU_ROOT * (g[i] + GELU_CUBE * g[i] * g[i] * g[i]);
        g[i] = g[i] / (1 + expf(-2 * z)) * u[i];
    }
}

static void scale_row(float *to, const float *x, float by, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] = x[i] * by;
    }
}

static void divide_row(float *to, const float *x, float by, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] = x[i] / by;
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
        return;
    }
    /* The side with the smaller maximum is rescaled. */
    bool grows = from_m > *m;
    float mine = grows ? expf(*m - from_m) : 1, theirs = grows ? 1 : expf(from_m - *m);
    for (int64_t i = 0; i < n; i++) {
        o[i] = o[i] * mine + from_o[i] * theirs;
    }
    *l = *l * mine + from_l * theirs;
    *m = grows ? from_m : *m;
}

const row_kernels row_kernels_scalar = {
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
