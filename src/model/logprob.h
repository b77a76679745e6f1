/* Rows of logits on the host, where a token is chosen: log-probabilities, of that token and of the most probable ones; or the
   choice itself.
   Rests on lariat/sample.h. head.c brings the rows to the host, engine/pass_queue.c hands the results on. */
#pragma once

#include "lariat/sample.h"

#include <stdint.h>

/* The host's part in one output whose token is chosen. */
typedef struct pass_logprob {
    lariat_sampler *sampler; /* by which the host chooses: see pass_input.choose; NULL: the device chooses */
    int32_t n_top; /* most probable tokens wanted; 0: no log-probability either */
    float logprob; /* of the token that was chosen */
    lariat_top top[LARIAT_TOP_MAX];
} pass_logprob;

/* Fills out->logprob and out->top, as out->n_top asks, from a row of logits [vocab]; `token` was chosen from it. */
void logprob_row(const float *logits, int64_t vocab, int32_t token, pass_logprob *out);
