/* From logits to the next token: keep the likeliest, weigh them in double precision, draw.
   The order is fixed (larger logit first, lower id of equals first), and so is the random stream (one number a token), so that
   the same seed gives the same text on every machine.
   Rests on base/status.h. See include/lariat/sample.h. */
#include "lariat/sample.h"
#include "base/status.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* Tokens put in order at first for top-p: it seldom keeps more, and ordering a whole vocabulary costs milliseconds. */
enum { FIRST_ORDERED = 512 };

typedef struct candidate {
    float logit;
    int32_t id;
    double weight; /* exp((logit - best) / temperature): at most 1 */
} candidate;

struct lariat_sampler {
    lariat_sampling settings;
    int32_t vocab;
    uint64_t state;
    candidate *candidates; /* [vocab] */
};

/* --- the random stream: a counter stepped by the golden ratio, each value mixed by two xor-shift-multiplies (splitmix64) ---
 */

static uint64_t next_bits(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
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

/* --- order --- */

static bool before(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    return before(a, b) ? -1 : 1; /* ids differ, so no two are equal */
}

static void swap(candidate *a, candidate *b)
{
    candidate t = *a;
    *a = *b;
    *b = t;
}

/* Moves the k first in order to the front, in any order (quickselect, the pivot the median of three: linear on average, and a
   vocabulary that defeats it costs time only). */
static void select_first(candidate *c, int32_t n, int32_t k)
{
    int32_t low = 0, high = n - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (before(&c[middle], &c[low])) {
            swap(&c[middle], &c[low]);
        }
        if (before(&c[high], &c[low])) {
            swap(&c[high], &c[low]);
        }
        if (before(&c[high], &c[middle])) {
            swap(&c[high], &c[middle]);
        }
        candidate pivot = c[middle];
        int32_t i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot)) {
                i++;
            }
            while (before(&pivot, &c[j])) {
                j--;
            }
            if (i <= j) {
                swap(&c[i++], &c[j--]);
            }
        }
        if (k <= j) {
            high = j;
        } else if (k > i) {
            low = i;
        } else {
            return;
        }
    }
}

/* --- the kept set --- */

/* The best, and whether all are finite. */
static bool find_best(const float *logits, int32_t vocab, int32_t *best)
{
    *best = 0;
    bool finite = true;
    for (int32_t i = 0; i < vocab; i++) {
        finite = finite && isfinite(logits[i]);
        *best = logits[i] > logits[*best] ? i : *best;
    }
    return finite;
}

/* The k first of all tokens in order, or all of them as they stand. Returns how many. */
static int32_t keep_top_k(candidate *c, const float *logits, int32_t vocab, int32_t k)
{
    for (int32_t i = 0; i < vocab; i++) {
        c[i] = (candidate){.logit = logits[i], .id = i};
    }
    if (k == 0 || k >= vocab) {
        return vocab;
    }
    select_first(c, vocab, k);
    qsort(c, (size_t)k, sizeof *c, compare);
    return k;
}

static double weigh(candidate *c, int32_t n, float best, float temperature)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        c[i].weight = exp(((double)c[i].logit - (double)best) / (double)temperature);
        sum += c[i].weight;
    }
    return sum;
}

/* The smallest leading part whose weight reaches `wanted`, at least one. Orders only as many as that takes: mostly few. */
static int32_t keep_top_p(candidate *c, int32_t n, double wanted)
{
    double sum = 0;
    int32_t ordered = 0;
    for (int32_t i = 0; i < n; i++) {
        if (i == ordered) {
            int32_t next = n - i < FIRST_ORDERED || i > 0 ? n : FIRST_ORDERED;
            select_first(c + i, n - i, next - i);
            qsort(c + i, (size_t)(next - i), sizeof *c, compare);
            ordered = next;
        }
        sum += c[i].weight;
        if (sum >= wanted) {
            return i + 1;
        }
    }
    return n;
}

/* Those at least min_p times as likely as the best, in the order in which they stand. */
static int32_t keep_min_p(candidate *c, int32_t n, double min_p)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].weight >= min_p) {
            c[kept++] = c[i];
        }
    }
    return kept;
}

static double sum_of(const candidate *c, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += c[i].weight;
    }
    return sum;
}

/* What rounding leaves over at the end goes to the last token that has any weight. */
static int32_t draw(const candidate *c, int32_t n, double uniform)
{
    double left = uniform * sum_of(c, n);
    int32_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        left -= c[i].weight;
        if (left < 0) {
            return c[i].id;
        }
        last = c[i].weight > 0 ? i : last;
    }
    return c[last].id;
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
    candidate *candidates = calloc((size_t)vocab, sizeof *candidates);
    if (!s || !candidates) {
        free(s);
        free(candidates);
        return fail(LARIAT_NO_MEMORY, "sampler: no memory for a vocabulary of %d" FREE_MEMORY, vocab);
    }
    *s = (lariat_sampler){.settings = *settings, .vocab = vocab, .state = settings->seed, .candidates = candidates};
    *out = s;
    return LARIAT_OK;
}

void lariat_sampler_close(lariat_sampler *s)
{
    if (s) {
        free(s->candidates);
        free(s);
    }
}

lariat_status lariat_sample(lariat_sampler *s, const float *logits, int32_t *token)
{
    int32_t best;
    if (!find_best(logits, s->vocab, &best)) {
        return fail(LARIAT_FAILED, "logits: not finite, the model or its weights are broken, fetch them again");
    }
    if (s->settings.temperature == 0) {
        *token = best;
        return LARIAT_OK;
    }
    double uniform = next_uniform(&s->state); /* one a token, whatever is kept */
    const lariat_sampling *settings = &s->settings;
    candidate *c = s->candidates;
    int32_t n = keep_top_k(c, logits, s->vocab, settings->top_k);
    double sum = weigh(c, n, logits[best], settings->temperature);
    if (settings->top_p < 1) {
        n = keep_top_p(c, n, (double)settings->top_p * sum);
    }
    if (settings->min_p > 0) {
        n = keep_min_p(c, n, (double)settings->min_p);
    }
    *token = draw(c, n, uniform);
    return LARIAT_OK;
}
