/* Log-probabilities of one row of logits, on the host: log softmax in double.
   Rests on the C library. See logprob.h. */
#include "model/logprob.h"

#include <math.h>

/* ln of the sum of exp(logit - best): the probability of a token is exp(logit - best - this). */
static double log_sum(const float *logits, int64_t vocab, float best)
{
    double sum = 0;

    for (int64_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - (double)best);
    }
    return log(fmax(sum, 1)); /* the best alone is 1 */
}

/* The largest n logits, the larger first, the lower id of equals first: the order in which sampling keeps tokens. */
static void list_top(const float *logits, int64_t vocab, int32_t n, lariat_top top[])
{
    int32_t listed = 0;

    for (int64_t i = 0; i < vocab; i++) {
        if (listed == n && !(logits[i] > logits[top[n - 1].token])) {
            continue;
        }
        int32_t at = listed < n ? listed++ : n - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1].token]; at--) {
            top[at] = top[at - 1];
        }
        top[at].token = (int32_t)i;
    }
}

void logprob_row(const float *logits, int64_t vocab, int32_t token, pass_logprob *out)
{
    list_top(logits, vocab, out->n_top, out->top);
    float best = logits[out->top[0].token];
    double sum = log_sum(logits, vocab, best);
    for (int32_t i = 0; i < out->n_top; i++) {
        out->top[i].logprob = (float)((double)logits[out->top[i].token] - (double)best - sum);
    }
    out->logprob = (float)((double)logits[token] - (double)best - sum);
}
