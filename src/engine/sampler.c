/* Samplers: settings, a random stream and the tokens chosen so far, for each sequence. Tokens are chosen where the logits are,
   by the device's op `sample`; lariat_sample, and a sampler that changes logits, do it on the host, by the CPU's. The stream is
   fixed (one number a token), as is what the op chooses: the same seed gives the same text for the same logits, on every
   machine. Rests on device/cpu/cpu.h. See include/lariat/sample.h. */
#include "lariat/sample.h"

#include "device/cpu/cpu.h"
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lariat_sampler {
    lariat_sampling settings;
    int32_t vocab;
    uint64_t state;
    bool listed; /* found once in the list that is checked */
    /* Of a sampler that changes logits, otherwise NULL and 0: */
    float *row;        /* [vocab]: logits, changed */
    int32_t *counts;   /* [vocab]: how often the reply has each token */
    int32_t *ids;      /* [n_before + n_chosen], of `room`: the last tokens before the reply, and the reply */
    int64_t n_before, n_chosen, room;
    int64_t n_drawn;   /* tokens of the reply for which a number was drawn: a pass under way has not chosen its own yet */
};

/* --- the random stream: a counter stepped by the golden ratio, each value mixed by two xor-shift-multiplies (splitmix64) ---
 */

static const uint64_t STEP = 0x9E3779B97F4A7C15u;

static uint64_t splitmix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t next_bits(uint64_t *state)
{
    *state += STEP;
    return splitmix(*state);
}

/* Streams of seeds that differ by few steps would overlap: so both numbers are mixed, each its own way. */
uint64_t lariat_seed_of(uint64_t seed, uint64_t index)
{
    return splitmix(splitmix(seed + 0xD1B54A32D192ED03u) + (index + 1) * 0x8CB92BA72F3D8DD7u);
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

static bool is_within(float x, float most)
{
    return x >= -most && x <= most;
}

static lariat_status check_changes(const lariat_sampling *settings, int32_t vocab)
{
    for (int32_t i = 0; i < settings->n_bias; i++) {
        const lariat_bias *b = &settings->bias[i];
        if (b->token < 0 || b->token >= vocab) {
            return fail(LARIAT_BAD_ARGUMENT, "logit bias: token %d, the vocabulary has ids 0 to %d, choose one of these",
                        b->token, vocab - 1);
        }
        if (!is_within(b->bias, LARIAT_BIAS_MAX)) {
            return fail(LARIAT_BAD_ARGUMENT, "logit bias: %g for token %d is out of range, choose -%d to %d", (double)b->bias,
                        b->token, LARIAT_BIAS_MAX, LARIAT_BIAS_MAX);
        }
    }
    if (settings->repeat != 0 && !(settings->repeat >= 0.01f && settings->repeat <= LARIAT_REPEAT_MAX)) {
        return fail(LARIAT_BAD_ARGUMENT, "repeat penalty: %g is out of range, choose 1 (none), or 0.01 to %d",
                    (double)settings->repeat, LARIAT_REPEAT_MAX);
    }
    if (!is_within(settings->frequency, LARIAT_PENALTY_MAX) || !is_within(settings->presence, LARIAT_PENALTY_MAX)) {
        return fail(LARIAT_BAD_ARGUMENT, "frequency penalty %g, presence penalty %g: out of range, choose both from -%d to %d",
                    (double)settings->frequency, (double)settings->presence, LARIAT_PENALTY_MAX, LARIAT_PENALTY_MAX);
    }
    return LARIAT_OK;
}

static lariat_status check_settings(const lariat_sampling *settings, int32_t vocab)
{
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
    return check_changes(settings, vocab);
}

bool sampler_changes(const lariat_sampler *s)
{
    const lariat_sampling *w = &s->settings;

    return w->n_bias > 0 || (w->repeat != 0 && w->repeat != 1) || w->frequency != 0 || w->presence != 0;
}

/* The memory of a sampler that changes logits. */
static bool take_memory(lariat_sampler *s)
{
    size_t vocab = (size_t)s->vocab, n_bias = (size_t)s->settings.n_bias;
    lariat_bias *bias = calloc(n_bias ? n_bias : 1, sizeof *bias);

    if (bias && n_bias) {
        memcpy(bias, s->settings.bias, n_bias * sizeof *bias);
    }
    s->settings.bias = bias;
    s->row = malloc(vocab * sizeof *s->row);
    s->counts = calloc(vocab, sizeof *s->counts);
    s->room = LARIAT_REPEAT_WINDOW;
    s->ids = malloc((size_t)s->room * sizeof *s->ids);
    return bias && s->row && s->counts && s->ids;
}

lariat_status lariat_sampler_open(const lariat_sampling *settings, int32_t vocab, lariat_sampler **out)
{
    *out = NULL;
    TRY(check_settings(settings, vocab));
    lariat_sampler *s = calloc(1, sizeof *s);
    TRY_MEMORY(s, "sampler: no memory" FREE_MEMORY);
    *s = (lariat_sampler){.settings = *settings, .vocab = vocab, .state = settings->seed};
    s->settings.bias = NULL;
    if (sampler_changes(s)) {
        s->settings.bias = settings->bias;
        if (!take_memory(s)) {
            lariat_sampler_close(s);
            return fail(LARIAT_NO_MEMORY, "sampler: no memory" FREE_MEMORY);
        }
    }
    *out = s;
    return LARIAT_OK;
}

void lariat_sampler_close(lariat_sampler *s)
{
    if (s) {
        free((void *)(uintptr_t)s->settings.bias);
        free(s->row);
        free(s->counts);
        free(s->ids);
        free(s);
    }
}

void lariat_sampler_begin(lariat_sampler *s, const int32_t *tokens, int64_t n)
{
    if (!s->ids) {
        return;
    }
    memset(s->counts, 0, (size_t)s->vocab * sizeof *s->counts);
    s->n_before = n < LARIAT_REPEAT_WINDOW ? n : LARIAT_REPEAT_WINDOW;
    s->n_chosen = s->n_drawn = 0;
    if (n > 0) {
        memcpy(s->ids, tokens + (n - s->n_before), (size_t)s->n_before * sizeof *s->ids);
    }
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

lariat_status sampler_reserve(lariat_sampler *s)
{
    if (!s->ids || s->n_before + s->n_drawn < s->room) {
        return LARIAT_OK;
    }
    int32_t *more = realloc(s->ids, (size_t)s->room * 2 * sizeof *more);
    TRY_MEMORY(more, "sampler: no memory for the tokens of a reply" FREE_MEMORY);
    s->ids = more;
    s->room *= 2;
    return LARIAT_OK;
}

sample_setting sampler_next(lariat_sampler *s)
{
    const lariat_sampling *settings = &s->settings;

    s->n_drawn += s->ids != NULL;
    return (sample_setting){.temperature = settings->temperature,
                            .top_k = settings->top_k,
                            .top_p = settings->top_p,
                            .min_p = settings->min_p,
                            .uniform = next_uniform(&s->state)};
}

void sampler_take_back(lariat_sampler *s)
{
    s->state -= STEP;
    if (s->n_drawn > 0 && --s->n_drawn < s->n_chosen) {
        s->counts[s->ids[s->n_before + --s->n_chosen]]--;
    }
}

/* The logit of each token of the window, once. */
static void penalise_repeats(const lariat_sampler *s)
{
    int64_t end = s->n_before + s->n_chosen, begin = end > LARIAT_REPEAT_WINDOW ? end - LARIAT_REPEAT_WINDOW : 0;

    for (int64_t i = begin; i < end; i++) {
        int64_t first = begin;
        while (s->ids[first] != s->ids[i]) {
            first++;
        }
        float *logit = &s->row[s->ids[i]];
        if (first == i) {
            *logit = *logit > 0 ? *logit / s->settings.repeat : *logit * s->settings.repeat;
        }
    }
}

int32_t sampler_choose(lariat_sampler *s, const float *logits, const sample_setting *setting)
{
    const lariat_sampling *w = &s->settings;

    if (!s->row) {
        return cpu_sample_row(logits, s->vocab, setting);
    }
    memcpy(s->row, logits, (size_t)s->vocab * sizeof *s->row);
    for (int32_t i = 0; i < w->n_bias; i++) {
        s->row[w->bias[i].token] += w->bias[i].bias;
    }
    if (w->repeat != 0 && w->repeat != 1) {
        penalise_repeats(s);
    }
    for (int32_t i = 0; i < s->vocab && (w->frequency != 0 || w->presence != 0); i++) {
        s->row[i] -= s->counts[i] ? (float)s->counts[i] * w->frequency + w->presence : 0;
    }
    int32_t chosen = cpu_sample_row(s->row, s->vocab, setting);
    if (chosen >= 0) {
        s->ids[s->n_before + s->n_chosen++] = chosen;
        s->counts[chosen]++;
    }
    return chosen;
}

const char *sample_failure(void)
{
    return "logits: not finite, the model or its weights are broken, fetch them again";
}

lariat_status lariat_sample(lariat_sampler *s, const float *logits, int32_t *token)
{
    TRY(sampler_reserve(s));
    sample_setting setting = sampler_next(s);
    int32_t chosen = sampler_choose(s, logits, &setting);

    if (chosen < 0) {
        sampler_take_back(s);
        return fail(LARIAT_FAILED, "%s", sample_failure());
    }
    *token = chosen;
    return LARIAT_OK;
}
