/* Attention, one row and tile of keys at a time: the definition of the SIMD kernels.
   Rests on base/dtype.h for the conversions. attention_simd.h is the vector version. Budget: 4 * head_dim operations a row
   and key, one after the other; for tests and machines without vector kernels. */
#include "device/cpu/cpu_attention.h"

#include <math.h>

static float element(const void *base, dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F16:
        return f16_to_f32(((const uint16_t *)base)[i]);
    case DTYPE_BF16:
        return bf16_to_f32(((const uint16_t *)base)[i]);
    case DTYPE_I8:
        return ((const int8_t *)base)[i];
    default:
        return ((const float *)base)[i];
    }
}

/* Keys or values [first, first + n) as floats, dense. scales: of I8, NULL otherwise. */
static void expand(const attention_block *b, const void *from, const float *scales, int32_t first, int32_t n, float *to)
{
    for (int32_t key = 0; key < n; key++) {
        float by = scales ? scales[first + key] : 1;
        for (int32_t i = 0; i < b->head_dim; i++) {
            to[(int64_t)key * b->head_dim + i] = element(from, b->kv_type, (int64_t)(first + key) * b->head_dim + i) * by;
        }
    }
}

/* Raises the row's maximum to `high` and rescales its o and l. */
static void raise_maximum(const attention_block *b, int32_t row, float high)
{
    float *o = b->o + (int64_t)row * b->ld;
    float shrink = expf(b->m[row] - high); /* 0 for the first keys, where m is -inf */

    for (int32_t i = 0; i < b->head_dim; i++) {
        o[i] *= shrink;
    }
    b->l[(int64_t)row * LANES_MAX] *= shrink;
    b->m[row] = high;
}

/* One row over the first n keys of the converted tile. The tile has sums of its own: see cpu_attention.c. */
static void attend_row(const attention_block *b, int32_t row, int32_t n)
{
    const float *q = b->q + (int64_t)row * b->ld;
    float *o = b->o + (int64_t)row * b->ld, *p = b->p, high = -INFINITY, total = 0;

    for (int32_t key = 0; key < n; key++) {
        float score = 0;
        for (int32_t i = 0; i < b->head_dim; i++) {
            score += q[i] * b->k[(int64_t)key * b->head_dim + i];
        }
        p[key] = score;
        high = score > high ? score : high;
    }
    if (high > b->m[row]) {
        raise_maximum(b, row, high);
    }
    /* A maximum of -inf is replaced by 0: -inf - -inf is never formed. */
    float m = b->m[row] == -INFINITY ? 0.0f : b->m[row];
    for (int32_t key = 0; key < n; key++) {
        p[key] = expf(p[key] - m);
        total += p[key];
    }
    for (int32_t i = 0; i < b->head_dim; i++) {
        float sum = 0;
        for (int32_t key = 0; key < n; key++) {
            sum += p[key] * b->v[(int64_t)key * b->head_dim + i];
        }
        o[i] += sum;
    }
    b->l[(int64_t)row * LANES_MAX] += total;
}

void attend_keys_scalar(const attention_block *b, const key_range *t)
{
    for (int32_t first = 0; first < t->count; first += KEY_TILE) {
        int32_t n = t->count - first < KEY_TILE ? t->count - first : KEY_TILE;
        expand(b, t->k, t->k_scales, first, n, b->k);
        expand(b, t->v, t->v_scales, first, n, b->v);
        for (int32_t row = 0; row < b->rows; row++) {
            int32_t seen = keys_seen(b, t, row) - first;
            if (seen > 0) {
                attend_row(b, row, seen < n ? seen : n);
            }
        }
    }
}
