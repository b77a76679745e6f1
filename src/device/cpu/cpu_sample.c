/* Sampling a token from logits, one row a thread: the definition of the op.
   Rests on device/sampling.h for order and weights. device/cuda/runtime/sample.cu is the GPU's version, with a block of
   threads a row.

   top-k and top-p keep a prefix of one order (larger logit first, lower id of equals first). Its end is found by a radix
   selection on the ordered image: a histogram of each digit, then the digit of the end. So nothing is sorted, no memory is
   needed, and GPUs find the same bounds. */
#include "device/cpu/cpu_sample.h"

#include "device/cpu/cpu.h"
#include "device/sampling.h"

#include <math.h>

enum { DIGIT = 11, DIGITS = 1 << DIGIT };

/* One row, and the scale of its weights. */
typedef struct row {
    const float *logits;
    int64_t vocab;
    float best, scale;
} row;

/* The measure of a prefix: tokens, or their weight. */
typedef enum measure { COUNT, WEIGHT } measure;

static uint64_t measured(const row *r, measure by, float logit)
{
    return by == COUNT ? 1 : sampling_weight(r->best, logit, r->scale);
}

/* The best id; -1: a logit is not finite. */
static int64_t find_best(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    bool finite = true;

    for (int64_t i = 0; i < vocab; i++) {
        finite = finite && isfinite(logits[i]);
        best = logits[i] > logits[best] ? i : best;
    }
    return finite ? best : -1;
}

/* The `ties`-th token of that image among those of a set. */
static int64_t find_tie(const row *r, sampling_set of, uint32_t image, uint64_t ties)
{
    int64_t i = -1;

    while (ties) {
        i++;
        uint32_t here = sampling_image(r->logits[i]);
        ties -= here == image && sampling_holds(of, here, i);
    }
    return i;
}

/* The shortest prefix of a set with a measure of at least `wanted`, which is in [1, measure of the set]. */
static sampling_set leading(const row *r, sampling_set of, measure by, uint64_t wanted)
{
    uint32_t image = 0, known = 0;

    for (int shift = 32 - DIGIT; known != UINT32_MAX; shift = shift > DIGIT ? shift - DIGIT : 0) {
        uint64_t brings[DIGITS] = {0};
        for (int64_t i = 0; i < r->vocab; i++) {
            uint32_t here = sampling_image(r->logits[i]);
            if ((here & known) == image && sampling_holds(of, here, i)) {
                brings[here >> shift & (DIGITS - 1)] += measured(r, by, r->logits[i]);
            }
        }
        uint32_t digit = DIGITS - 1;
        while (brings[digit] < wanted) {
            wanted -= brings[digit--];
        }
        image |= digit << shift;
        known |= (uint32_t)(DIGITS - 1) << shift;
    }
    uint64_t each = measured(r, by, sampling_logit(image));
    return (sampling_set){image, find_tie(r, of, image, (wanted + each - 1) / each)};
}

/* Sum of the weights of at least `least` in a set. */
static uint64_t sum_of(const row *r, sampling_set of, uint64_t least)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < r->vocab; i++) {
        if (sampling_holds(of, sampling_image(r->logits[i]), i)) {
            uint64_t weight = sampling_weight(r->best, r->logits[i], r->scale);
            sum += weight >= least ? weight : 0;
        }
    }
    return sum;
}

/* The first id at which the running sum exceeds `passed`, which is below the total. */
static int64_t draw(const row *r, sampling_set of, uint64_t least, uint64_t passed)
{
    for (int64_t i = 0;; i++) {
        if (sampling_holds(of, sampling_image(r->logits[i]), i)) {
            uint64_t weight = sampling_weight(r->best, r->logits[i], r->scale);
            weight = weight >= least ? weight : 0;
            if (weight > passed) {
                return i;
            }
            passed -= weight;
        }
    }
}

int32_t cpu_sample_row(const float *logits, int64_t vocab, const sample_setting *s)
{
    int64_t best = find_best(logits, vocab);

    if (best < 0 || s->temperature == 0) {
        return (int32_t)best;
    }
    row r = {.logits = logits, .vocab = vocab, .best = logits[best], .scale = sampling_scale(s->temperature)};
    sampling_set kept = sampling_all();
    if (s->top_k > 0 && s->top_k < vocab) {
        kept = leading(&r, kept, COUNT, (uint64_t)s->top_k);
    }
    if (s->top_p < 1) {
        uint64_t wanted = sampling_share((double)s->top_p, sum_of(&r, kept, 0));
        kept = leading(&r, kept, WEIGHT, wanted ? wanted : 1);
    }
    uint64_t least = sampling_share((double)s->min_p, SAMPLING_ONE), sum = sum_of(&r, kept, least);
    uint64_t passed = sampling_share(s->uniform, sum);
    return (int32_t)draw(&r, kept, least, passed < sum ? passed : sum - 1);
}

/* --- the op --- */

typedef struct sample_call {
    int32_t *tokens;
    const float *logits;
    int64_t ld, vocab;
    const sample_setting *settings;
} sample_call;

static void sample_piece(void *arg, int64_t t, int thread)
{
    const sample_call *c = arg;

    (void)thread;
    c->tokens[t] = cpu_sample_row(c->logits + t * c->ld, c->vocab, &c->settings[t]);
}

void cpu_sample(device *dev, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                const sample_setting *settings)
{
    sample_call call = {tokens, logits, ld, vocab, settings};

    pool_run(((cpu_device *)dev)->pool, n, sample_piece, &call);
}
