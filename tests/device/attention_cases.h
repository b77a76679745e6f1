/* Random keys and values of every type that a cache may have, for test_attention.c.
   Rests on device/device.h and cmocka. */
#pragma once

#include "base/dtype.h"
#include "device/device.h"
#include "support/attention_bits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- numbers --- */

/* About normal, standard deviation 1. */
static float random_normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++) {
        sum += (double)random_bits() / 2147483648.0;
    }
    return (float)(sum - 6);
}

static float *random_floats(int64_t n, float size)
{
    float *x = malloc((size_t)n * sizeof *x);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = size * random_normal();
    }
    return x;
}

/* --- keys and values --- */

static void put(void *to, dtype type, int64_t i, float x)
{
    if (type == DTYPE_F32) {
        ((float *)to)[i] = x;
    } else if (type == DTYPE_I8) {
        ((int8_t *)to)[i] = (int8_t)(x > 4 ? 127 : x < -4 ? -127 : isnan(x) ? 0 : lrintf(x * 31));
    } else {
        ((uint16_t *)to)[i] = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    }
}

static double get(const void *from, dtype type, int64_t i)
{
    if (type == DTYPE_F32) {
        return (double)((const float *)from)[i];
    }
    if (type == DTYPE_I8) {
        return (double)((const int8_t *)from)[i];
    }
    uint16_t bits = ((const uint16_t *)from)[i];
    return (double)(type == DTYPE_F16 ? f16_to_f32(bits) : bf16_to_f32(bits));
}

/* Keys or values [n_kv_heads, head_stride, head_dim]; slots beyond count hold NaN. */
static void *new_slots(const attention_shape *s, int64_t count, int64_t head_stride)
{
    int64_t n = s->n_kv_heads * head_stride * s->head_dim;
    void *all = malloc(dtype_row_bytes(s->kv_type, n) + 1);

    assert_non_null(all);
    for (int64_t i = 0; i < n; i++) {
        bool written = i / s->head_dim % head_stride < count;
        put(all, s->kv_type, i, written ? random_normal() : NAN);
    }
    return all;
}

/* A scale for each of them; NULL where the type has none. */
static float *new_scales(const attention_shape *s, int64_t count, int64_t head_stride)
{
    int64_t n = s->n_kv_heads * head_stride;
    float *all = malloc((size_t)n * sizeof *all + 1);

    assert_non_null(all);
    for (int64_t i = 0; i < n; i++) {
        all[i] = i % head_stride < count ? 0.03f * expf(random_normal()) : NAN;
    }
    if (s->kv_type != DTYPE_I8) {
        free(all);
        return NULL;
    }
    return all;
}

static kv_segment new_segment(const attention_shape *s, int32_t count, int64_t first)
{
    int64_t stride = count + random_below(3) + (count == 0);

    return (kv_segment){.k = new_slots(s, count, stride), .v = new_slots(s, count, stride),
                        .k_scales = new_scales(s, count, stride), .v_scales = new_scales(s, count, stride),
                        .head_stride = stride, .count = count, .first = first};
}

static void free_segment(const kv_segment *s)
{
    free((void *)(uintptr_t)s->k);
    free((void *)(uintptr_t)s->v);
    free((void *)(uintptr_t)s->k_scales);
    free((void *)(uintptr_t)s->v_scales);
}

/* Element i of the head's row. */
static double value_at(const attention_shape *s, const void *from, const float *scales, int64_t row, int32_t i)
{
    return get(from, s->kv_type, row * s->head_dim + i) * (scales ? (double)scales[row] : 1);
}

/* The part of a segment from slot `from` on. */
static kv_segment part_of(const attention_shape *s, const kv_segment *whole, int32_t from, int32_t count)
{
    size_t offset = dtype_row_bytes(s->kv_type, (int64_t)from * s->head_dim);

    return (kv_segment){
        .k = (const char *)whole->k + offset,
        .v = (const char *)whole->v + offset,
        .k_scales = whole->k_scales ? whole->k_scales + from : NULL,
        .v_scales = whole->v_scales ? whole->v_scales + from : NULL,
        .head_stride = whole->head_stride,
        .count = count,
        .first = whole->first == KV_ALL_VISIBLE ? KV_ALL_VISIBLE : whole->first + from,
    };
}
