/* Sampling the next token from logits. Each sequence has its own sampler with its own random stream.
   Rests on status.h. */
#ifndef LARIAT_SAMPLE_H
#define LARIAT_SAMPLE_H

#include "lariat/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_sampling {
    float temperature; /* 0: greedy (the lowest id among equal logits); the fields below have no effect */
    int32_t top_k;     /* keep the k most likely; 0: all */
    float top_p;       /* then keep the smallest set whose probabilities reach p; 1: all */
    float min_p;       /* then keep those at least min_p times as likely as the best; 0: all */
    uint64_t seed;
} lariat_sampling;

typedef struct lariat_sampler lariat_sampler;

/* For logits of `vocab` values. Out-of-range settings are LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_sampler_open(const lariat_sampling *settings, int32_t vocab, lariat_sampler **out);
/* NULL is allowed. */
LARIAT_API void lariat_sampler_close(lariat_sampler *s);

/* A token, and the natural logarithm of its probability: the softmax of the logits that the model gives, before a sampler's
   temperature or anything else changes them. */
typedef struct lariat_top {
    int32_t token;
    float logprob;
} lariat_top;

enum { LARIAT_TOP_MAX = 20 }; /* most of them for one token: see lariat_work */

/* The next token's id; `logits` [vocab] is not changed. LARIAT_FAILED: logits that are not finite, from a broken model. */
LARIAT_API lariat_status lariat_sample(lariat_sampler *s, const float *logits, int32_t *token);

#ifdef __cplusplus
}
#endif
#endif
