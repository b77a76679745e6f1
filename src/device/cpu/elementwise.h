/* Operations on rows of numbers: every kernel family has each for one row; elementwise.c distributes rows to threads.
   Rests on device.h. elementwise_scalar.c is the definition, elementwise_simd.h the vector version.

   All are memory-bound: at most a dozen operations a number. */
#pragma once

#include "device/cpu/cpu_device.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct row_kernels {
    void (*rms_norm)(float *out, const float *x, const float *weight, float eps, int64_t n); /* out may be x */
    void (*rms_norm_add)(float *x, const float *y, const float *weight, float eps, int64_t n);
    /* Rotates one head of 2 * half numbers in place. */
    void (*rope)(float *x, const float *cos, const float *sin, int64_t half, rope_style style);
    /* Converts to `type` (F32, F16 or BF16), to nearest even. */
    void (*store)(void *to, dtype type, const float *x, int64_t n);
    /* Codes of an I8 row of the KV cache; returns the scale. */
    float (*store_codes)(int8_t *to, const float *x, int64_t n);
    void (*silu_mul)(float *g, const float *u, int64_t n);
    void (*gelu_mul)(float *g, const float *u, int64_t n);
    void (*scale)(float *to, const float *x, float by, int64_t n);
    void (*divide)(float *to, const float *x, float by, int64_t n);
    /* Merges one query's partial result into another. */
    void (*merge)(float *o, float *m, float *l, const float *from_o, float from_m, float from_l, int64_t n);
};

/* The scale of an I8 row by the bits of its largest magnitude, and what elements are multiplied with to become codes. 0: all
   codes are 0. */
static inline float kv_scale_of(uint32_t bits, float *to_code)
{
    float most;

    memcpy(&most, &bits, sizeof most);
    *to_code = 0;
    if (!(most <= FLT_MAX)) {
        return NAN;
    }
    if (most < KV_MAGNITUDE_LEAST) {
        return 0;
    }
    *to_code = KV_CODE_MOST / most;
    return most / KV_CODE_MOST;
}

extern const row_kernels row_kernels_scalar, row_kernels_avx2, row_kernels_avx512;

void cpu_rms_norm(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t d);
void cpu_rms_norm_add(device *dev, float *x, const void *y, const float *weight, float eps, int64_t n, int64_t d);
void cpu_rope_angles(device *dev, float *cos, float *sin, const int64_t *positions, int64_t n, const float *inv_freq,
                     int64_t half, float factor);
void cpu_rope(device *dev, const rotation *rows, int64_t n, int32_t head_dim);
void cpu_kv_store(device *dev, void *cache, float *scales, dtype type, int64_t head_stride, const int64_t *slots, const void *x,
                  int64_t ldx, int64_t n, int32_t heads, int32_t head_dim);
void cpu_silu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d);
void cpu_gelu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d);
void cpu_copy(device *dev, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width, bool add);
void cpu_carry_clear(device *dev, const carry *c, const attention_shape *s, int64_t rows);
void cpu_carry_merge(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows);
void cpu_carry_finish(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo);
