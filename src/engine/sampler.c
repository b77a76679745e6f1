/* Samplers: settings and a random stream for each sequence. Tokens are chosen where the logits are, by the device's op
   `sample`; lariat_sample does it on the host, by the CPU's. The stream is fixed (one number a token), as is what the op
   chooses: the same seed gives the same text for the same logits, on every machine. Rests on device/cpu/cpu.h. See
   include/lariat/sample.h. */
#include "lariat/sample.h"

#include "device/cpu/cpu.h"
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>

struct lariat_sampler {
    lariat_sampling settings;
    int32_t vocab;
    uint64_t state;
    bool listed; /* found once in the list that is checked */
};

/* --- the random stream: a counter stepped by the golden ratio, each value mixed by two xor-shift-multiplies (splitmix64) ---
 */

static const uint64_t STEP = 0x9E3779B97F4A7C15u;

static uint64_t next_bits(uint64_t *state)
{
    *state += STEP;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* In [0, 1), every multiple of 2^-53 equally likely. */
static double next_uniform(uint64_t *state)
{
    return (double)(next_bits(state) >> 11) * 0x1p-53;
}

/* --- the interface --- */

static bool is_share(float p)
{
    return p >= 0 && p <= 1; /* false for NaN */
}

lariat_status lariat_sampler_open(const lariat_sampling *settings, int32_t vocab, lariat_sampler **out)
{
    *out = NULL;
    if (vocab < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "sampler: a vocabulary of %d, give the model's", vocab);
    }
    if (!(settings->temperature >= 0) || !isfinite(settings->temperature)) {
        return fail(LARIAT_BAD_ARGUMENT, "temperature: %g is out of range, choose 0 or more",
                    (double)settings->temperature);
    }
    if (settings->top_k < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "top-k: %d is out of range, choose 0 (all) or more", settings->top_k);
    }
    if (!is_share(settings->top_p) || !is_share(settings->min_p)) {
        return fail(LARIAT_BAD_ARGUMENT, "top-p %g, min-p %g: out of range, choose both from 0 to 1", (double)settings->top_p,
                    (double)settings->min_p);
    }
    lariat_sampler *s = calloc(1, sizeof *s);
    TRY_MEMORY(s, "sampler: no memory" FREE_MEMORY);
    *s = (lariat_sampler){.settings = *settings, .vocab = vocab, .state = settings->seed};
    *out = s;
    return LARIAT_OK;
}

void lariat_sampler_close(lariat_sampler *s)
{
    free(s);
}

int32_t sampler_vocab(const lariat_sampler *s)
{
    return s->vocab;
}

bool sampler_list(lariat_sampler *s, bool listed)
{
    bool before = s->listed;

    s->listed = listed;
    return before;
}

sample_setting sampler_next(lariat_sampler *s)
{
    const lariat_sampling *settings = &s->settings;

    return (sample_setting){.temperature = settings->temperature,
                            .top_k = settings->top_k,
                            .top_p = settings->top_p,
                            .min_p = settings->min_p,
                            .uniform = next_uniform(&s->state)};
}

void sampler_take_back(lariat_sampler *s, int32_t n)
{
    s->state -= (uint64_t)n * STEP;
}

const char *sample_failure(void)
{
    return "logits: not finite, the model or its weights are broken, fetch them again";
}

lariat_status lariat_sample(lariat_sampler *s, const float *logits, int32_t *token)
{
    sample_setting setting = sampler_next(s);
    int32_t chosen = cpu_sample_row(logits, s->vocab, &setting);

    if (chosen < 0) {
        sampler_take_back(s, 1);
        return fail(LARIAT_FAILED, "%s", sample_failure());
    }
    *token = chosen;
    return LARIAT_OK;
}
