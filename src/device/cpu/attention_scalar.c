/* Attention, one key at a time: the definition of what the SIMD kernels compute.
   Rests on base/dtype.h for the conversions. attention_simd.h is the fast form.

   Budget: 4 * head_dim operations a row and key, one after the other; nobody waits for it but tests and machines without a
   vector kernel. */
#include "device/cpu/attention.h"

#include <math.h>

static float element(const void *base, dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F16:
        return f16_to_f32(((const uint16_t *)base)[i]);
    case DTYPE_BF16:
        return bf16_to_f32(((const uint16_t *)base)[i]);
    default:
        return ((const float *)base)[i];
    }
}

/* One key or value as floats. */
static void expand(const attention_block *b, const void *from, int32_t key, float *to)
{
    for (int32_t i = 0; i < b->head_dim; i++) {
        to[i] = element(from, b->kv_type, (int64_t)key * b->head_dim + i);
    }
}

static void attend_key(const attention_block *b, int32_t row, const float *k, const float *v)
{
    const float *q = b->q + (int64_t)row * b->ld;
    float *o = b->o + (int64_t)row * b->ld, *m = b->m + row, *l = b->l + (int64_t)row * LANES_MAX;
    float score = 0;

    for (int32_t i = 0; i < b->head_dim; i++) {
        score += q[i] * k[i];
    }
    if (score > *m) {
        float shrink = expf(*m - score); /* 0 for the first key, where m is -inf */
        for (int32_t i = 0; i < b->head_dim; i++) {
            o[i] *= shrink;
        }
        *l *= shrink;
        *m = score;
    }
    /* A score of -inf before any other counts as nothing; -inf - -inf is never formed. */
    float p = expf(score - (*m == -INFINITY ? 0.0f : *m));
    for (int32_t i = 0; i < b->head_dim; i++) {
        o[i] += p * v[i];
    }
    *l += p;
}

void attend_keys_scalar(const attention_block *b, const key_run *t)
{
    for (int32_t key = 0; key < t->count; key++) {
        expand(b, t->k, key, b->k);
        expand(b, t->v, key, b->v);
        for (int32_t row = 0; row < b->rows; row++) {
            if (key < keys_seen(b, t, row)) {
                attend_key(b, row, b->k, b->v);
            }
        }
    }
}
