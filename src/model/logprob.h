/* What the host does with a row of logits whose token is chosen: log-probabilities, of that token and of the most probable
   ones; or choosing it.
   Rests on lariat/sample.h. head.c brings the rows to the host, engine/pass_queue.c hands the results on. */
#pragma once

#include "lariat/sample.h"

#include <stdint.h>

/* What is wanted of one output whose token is chosen. */
typedef struct pass_logprob {
    lariat_sampler *sampler; /* by which the host chooses: see pass_input.choose; NULL: the device chooses */
    int32_t n_top; /* most probable tokens wanted; 0: no log-probability either */
    float logprob; /* of the token that was chosen */
    lariat_top top[LARIAT_TOP_MAX];
} pass_logprob;

/* Fills what out->n_top asks for from a row of logits [vocab]; `token` was chosen from it. */
void logprob_row(const float *logits, int64_t vocab, int32_t token, pass_logprob *out);
