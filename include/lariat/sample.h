/* Sampling the next token from logits. Each sequence has its own sampler with its own random stream.
   Rests on status.h. */
#ifndef LARIAT_SAMPLE_H
#define LARIAT_SAMPLE_H

#include "lariat/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Added to the logit of a token. */
typedef struct lariat_bias {
    int32_t token;
    float bias; /* from -LARIAT_BIAS_MAX to LARIAT_BIAS_MAX */
} lariat_bias;

enum {
    LARIAT_BIAS_MAX = 100,     /* as in OpenAI's API */
    LARIAT_PENALTY_MAX = 2,    /* likewise, of presence and frequency */
    LARIAT_REPEAT_WINDOW = 64, /* tokens; llama.cpp's default */
    LARIAT_REPEAT_MAX = 100
};

typedef struct lariat_sampling {
    float temperature; /* 0: greedy (the lowest id among equal logits); the next three fields have no effect */
    int32_t top_k;     /* keep the k most likely; 0: all */
    float top_p;       /* then keep the smallest set whose probabilities reach p; 1: all */
    float min_p;       /* then keep those at least min_p times as likely as the best; 0: all */
    uint64_t seed;
    /* Changes of the logits, before all of the above and also at temperature 0; all zero: none. The order is llama.cpp's:
       bias, repeat, then frequency and presence. Logits that are changed are copied to the host, where the token is chosen; on
       GPUs lariat_submit waits for it, and such a pass is not replayed. */
    const lariat_bias *bias; /* [n_bias], copied; those of one token add up */
    int32_t n_bias;
    /* As llama.cpp's and transformers': the logit of each token among the last LARIAT_REPEAT_WINDOW of prompt and reply is
       divided by it if positive, otherwise multiplied. 0 or 1: none; otherwise from 0.01 to
       LARIAT_REPEAT_MAX, so that no logit becomes infinite */
    float repeat;
    /* As OpenAI's, over the tokens of the reply: minus frequency times how often it has the token, minus presence if it has it.
       From -LARIAT_PENALTY_MAX to LARIAT_PENALTY_MAX */
    float frequency, presence;
} lariat_sampling;

/* The seed of stream `index` of a seed: one for each of many sequences, whose random numbers are independent of one another and
   of those of the seed itself. */
LARIAT_API uint64_t lariat_seed_of(uint64_t seed, uint64_t index);

typedef struct lariat_sampler lariat_sampler;

/* For logits of `vocab` values. Out-of-range settings are LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_sampler_open(const lariat_sampling *settings, int32_t vocab, lariat_sampler **out);
/* NULL is allowed. */
LARIAT_API void lariat_sampler_close(lariat_sampler *s);

/* A reply begins behind these n tokens (0 is allowed): tokens that the sampler chose before are no longer part of it. The
   random stream goes on. Not while a pass is under way for which it chooses. Without this call a reply begins when the sampler
   is opened, behind nothing. */
LARIAT_API void lariat_sampler_begin(lariat_sampler *s, const int32_t *tokens, int64_t n);

/* A token, and the natural logarithm of its probability: the softmax of the logits that the model gives, before a sampler's
   temperature, penalties or bias change them. */
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
