/* From logits to the next token. Each sequence has its own sampler, and with it its own random stream.
   Rests on status.h. */
#ifndef LARIAT_SAMPLE_H
#define LARIAT_SAMPLE_H

#include "lariat/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_sampling {
    float temperature; /* 0: the largest logit, the lowest id of equals; nothing below matters then */
    int32_t top_k;     /* keep the k most likely; 0: all */
    float top_p;       /* then the smallest set whose probabilities reach p; 1: all */
    float min_p;       /* then those at least min_p as likely as the best; 0: all */
    uint64_t seed;
} lariat_sampling;

typedef struct lariat_sampler lariat_sampler;

/* For logits of `vocab` values. Out-of-range settings are LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_sampler_open(const lariat_sampling *settings, int32_t vocab, lariat_sampler **out);
/* NULL is allowed. */
LARIAT_API void lariat_sampler_close(lariat_sampler *s);

/* The next token's id; `logits` [vocab] is not changed. Logits that are not finite are LARIAT_FAILED: the model or its weights
   are broken, and no token would mean anything. */
LARIAT_API lariat_status lariat_sample(lariat_sampler *s, const float *logits, int32_t *token);

#ifdef __cplusplus
}
#endif
#endif
