/* Keys, values and queries on a card with copies on the host, and attention over them in double precision: of test_attention.c.
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
#include <string.h>

#include <cmocka.h>

/* --- numbers --- */

/* Standard deviation 1. */
static float random_number(void)
{
    return (float)((random_bits() + random_bits() + (double)random_bits() + random_bits()) / 2147483648.0 - 2) * 1.7f;
}

static void put(void *to, dtype type, int64_t i, float x)
{
    if (type == DTYPE_F32) {
        ((float *)to)[i] = x;
    } else if (type == DTYPE_I8) {
        ((int8_t *)to)[i] = (int8_t)(isnan(x) ? 0 : lrintf(fmaxf(-127, fminf(127, 37 * x))));
    } else {
        ((uint16_t *)to)[i] = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    }
}

static float get(const void *from, dtype type, int64_t i)
{
    if (type == DTYPE_F32) {
        return ((const float *)from)[i];
    }
    if (type == DTYPE_I8) {
        return ((const int8_t *)from)[i];
    }
    uint16_t bits = ((const uint16_t *)from)[i];
    return type == DTYPE_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

/* --- memory on the host with a copy on the device --- */

typedef struct twin {
    void *host, *device;
    size_t bytes;
} twin;

static void *host_memory(size_t bytes)
{
    void *p = malloc(bytes + 1);

    assert_non_null(p);
    return p;
}

static void *device_memory(device *dev, size_t bytes)
{
    void *p;

    assert_int_equal(dev->ops->reserve(dev, bytes, "a test", &p), LARIAT_OK);
    return p;
}

static twin new_twin(device *dev, size_t bytes)
{
    return (twin){host_memory(bytes), device_memory(dev, bytes), bytes};
}

static void to_device(device *dev, const twin *t)
{
    dev->ops->upload(dev, t->device, t->host, t->bytes);
}

static void free_twin(device *dev, twin *t)
{
    free(t->host);
    dev->ops->release(dev, t->device, t->bytes);
}

/* Rows of queries [rows, ldq] of the device's type. */
static twin new_queries(device *dev, int64_t elements, float size)
{
    twin t = new_twin(dev, dtype_row_bytes(dev->act, elements));

    for (int64_t i = 0; i < elements; i++) {
        put(t.host, dev->act, i, size * random_number());
    }
    to_device(dev, &t);
    return t;
}

/* Keys or values [n_kv_heads, head_stride, head_dim]; slots beyond count hold NaN. */
static twin new_slots(device *dev, const attention_shape *s, int64_t count, int64_t head_stride)
{
    int64_t n = s->n_kv_heads * head_stride * s->head_dim;
    twin t = new_twin(dev, dtype_row_bytes(s->kv_type, n));

    for (int64_t i = 0; i < n; i++) {
        put(t.host, s->kv_type, i, i / s->head_dim % head_stride < count ? random_number() : NAN);
    }
    to_device(dev, &t);
    return t;
}

/* A scale for each row of I8; of other types nothing. */
static twin new_scales(device *dev, const attention_shape *s, int64_t count, int64_t head_stride)
{
    int64_t n = s->n_kv_heads * head_stride;
    twin t = {0};

    if (s->kv_type == DTYPE_I8) {
        t = new_twin(dev, (size_t)n * sizeof(float));
        for (int64_t i = 0; i < n; i++) { /* so that no value is above 3.4 */
            ((float *)t.host)[i] = i % head_stride < count ? (float)(1 + random_below(8)) / (37 * 8) : NAN;
        }
        to_device(dev, &t);
    }
    return t;
}

/* Keys and values with a segment for each side. */
typedef struct keys {
    twin k, v, k_scales, v_scales;
    kv_segment host, device;
} keys;

static keys new_keys(device *dev, const attention_shape *s, int32_t count, int64_t first)
{
    int64_t stride = count + random_below(3) + (count == 0);
    keys n = {.k = new_slots(dev, s, count, stride), .v = new_slots(dev, s, count, stride),
              .k_scales = new_scales(dev, s, count, stride), .v_scales = new_scales(dev, s, count, stride)};

    n.host = (kv_segment){.k = n.k.host, .v = n.v.host, .k_scales = n.k_scales.host, .v_scales = n.v_scales.host,
                          .head_stride = stride, .count = count, .first = first};
    n.device = (kv_segment){.k = n.k.device, .v = n.v.device, .k_scales = n.k_scales.device, .v_scales = n.v_scales.device,
                            .head_stride = stride, .count = count, .first = first};
    return n;
}

static void free_keys(device *dev, keys *n)
{
    free_twin(dev, &n->k);
    free_twin(dev, &n->v);
    free_twin(dev, &n->k_scales);
    free_twin(dev, &n->v_scales);
}

/* Element i of row `row` of keys or values. */
static double value_at(const attention_shape *s, const void *from, const float *scales, int64_t row, int32_t i)
{
    return (double)get(from, s->kv_type, row * s->head_dim + i) * (scales ? (double)scales[row] : 1);
}

/* The part of a segment from slot `from` on. */
static kv_segment part_of(const attention_shape *s, const kv_segment *whole, int32_t from, int32_t count)
{
    size_t offset = dtype_row_bytes(s->kv_type, (int64_t)from * s->head_dim);
    kv_segment part = *whole;

    part.k = (const char *)whole->k + offset;
    part.v = (const char *)whole->v + offset;
    part.k_scales = whole->k_scales ? whole->k_scales + from : NULL;
    part.v_scales = whole->v_scales ? whole->v_scales + from : NULL;
    part.count = count;
    part.first = whole->first == KV_ALL_VISIBLE ? KV_ALL_VISIBLE : whole->first + from;
    return part;
}

static carry device_carry(device *dev, const attention_shape *s, int64_t rows)
{
    carry c = carry_at(device_memory(dev, carry_bytes(s, rows)), s, rows);

    dev->ops->carry_clear(dev, &c, s, rows);
    return c;
}

static void free_device_carry(device *dev, carry *c, const attention_shape *s, int64_t rows)
{
    dev->ops->release(dev, c->o, carry_bytes(s, rows));
}

/* What the device has, on the host. */
static carry fetched(device *dev, const carry *c, const attention_shape *s, int64_t rows)
{
    carry host = carry_at(host_memory(carry_bytes(s, rows)), s, rows);

    dev->ops->download(dev, host.o, c->o, carry_bytes(s, rows));
    assert_int_equal(dev->ops->finish(dev), LARIAT_OK);
    return host;
}

/* --- the definition, in double --- */

static dtype act_of_test;

typedef struct truth {
    double out[512], m, l;
    double largest; /* of the values */
    double terms;   /* a score is a sum of terms; the largest sum of their magnitudes */
    double n;       /* keys seen */
    double expanded; /* half a unit in the last place of what codes were rounded to; 0: they were read as they are */
} truth;

static bool sees(const attention_item *item, const kv_segment *s, int32_t query, int32_t slot)
{
    return s->first == KV_ALL_VISIBLE || s->first + slot <= item->first + query;
}

static double score_of(const attention_shape *s, const float *q, const kv_segment *seg, int64_t row, truth *t)
{
    double dot = 0, terms = 0;

    for (int32_t i = 0; i < s->head_dim; i++) {
        double term = (double)q[i] * value_at(s, seg->k, seg->k_scales, row, i);
        dot += term;
        terms += fabs(term);
    }
    t->terms = fmax(t->terms, (double)s->scale * terms);
    return (double)s->scale * dot;
}

/* Codes are read as they are by kernels of few rows and in fp32. */
static double expansion_error(const attention_shape *s, const attention_item *item)
{
    bool many = (int64_t)item->count * (s->n_heads / s->n_kv_heads) > 16;

    return s->expanded && many ? (act_of_test == DTYPE_BF16 ? 1.0 / 512 : 1.0 / 4096) : 0;
}

/* The rounding of exp(s - m), and of what it is multiplied with. */
static double rounding_of(dtype act, const attention_shape *s, const truth *t)
{
    bool bf16 = act == DTYPE_BF16 && !(s->expanded && t->expanded == 0); /* weights of codes are f16 in all types */

    return (act == DTYPE_F32 ? 0 : bf16 ? 1.0 / 256 : 1.0 / 2048) + t->expanded;
}

static void attend_exactly(const attention_shape *s, const float *q, const attention_item *item, int32_t query, int32_t head,
                           truth *t)
{
    int64_t g = head / (s->n_heads / s->n_kv_heads);

    *t = (truth){.m = -INFINITY, .expanded = expansion_error(s, item)};
    for (int32_t n = 0; n < item->n_segments; n++) {
        const kv_segment *seg = &item->segments[n];
        for (int32_t slot = 0; slot < seg->count && sees(item, seg, query, slot); slot++) {
            int64_t row = g * seg->head_stride + slot;
            double score = score_of(s, q, seg, row, t), shrink = score > t->m ? exp(t->m - score) : 1;
            t->m = fmax(t->m, score);
            double p = exp(score - t->m);
            t->l = t->l * shrink + p;
            for (int32_t i = 0; i < s->head_dim; i++) {
                double v = value_at(s, seg->v, seg->v_scales, row, i);
                t->out[i] = t->out[i] * shrink + p * v;
                t->largest = fmax(t->largest, fabs(v));
            }
            t->n++;
        }
    }
}

/* One row of one head. Scores and sums are fp32 in all types: some 6e-8 of the terms' magnitudes, made a relative error by the
   exponential. In 16-bit types exp(s - m) is rounded before it meets V: half a unit of its last place, and what lies under
   F16's smallest. */
static void assert_near_truth(dtype act, const attention_shape *s, const carry *c, int64_t at, const truth *t)
{
    double bound = 1e-6 * (1 + t->terms) + t->n * 1e-8 + t->expanded * t->terms;
    double rounding = rounding_of(act, s, t) + (act == DTYPE_F16 || s->expanded ? t->n * 3e-8 / t->l : 0);

    if (t->l == 0) {
        assert_true(c->m[at] == -INFINITY && c->l[at] == 0);
        return;
    }
    assert_true(fabs((double)c->m[at] - t->m) <= bound);
    assert_true(fabs((double)c->m[at] + log((double)c->l[at]) - (t->m + log(t->l))) <= bound);
    for (int32_t i = 0; i < s->head_dim; i++) {
        double error = fabs((double)c->o[at * s->head_dim + i] / (double)c->l[at] - t->out[i] / t->l);
        assert_true(error <= (bound + rounding) * t->largest);
    }
}

/* Checks `samples` rows of an item (all, if there are fewer) in all heads. */
static void assert_item_true(dtype act, const attention_shape *s, const void *q, int64_t ldq, const attention_item *item,
                             const carry *c, int32_t samples)
{
    float row[512];
    truth t;

    for (int32_t n = 0; n < samples && n < item->count; n++) {
        int32_t i = item->count <= samples ? n : n == 0 ? 0 : n == 1 ? item->count - 1 : random_below(item->count);
        for (int32_t h = 0; h < s->n_heads; h++) {
            for (int32_t e = 0; e < s->head_dim; e++) {
                row[e] = get(q, act, (item->row + i) * ldq + (int64_t)h * s->head_dim + e);
            }
            attend_exactly(s, row, item, i, h, &t);
            assert_near_truth(act, s, c, (int64_t)(item->row + i) * s->n_heads + h, &t);
        }
    }
}
