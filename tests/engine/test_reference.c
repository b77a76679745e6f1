/* The engine against the oracle: Hugging Face's implementation in fp64 over the same checkpoints (see docs/numerics.md).
   Rests on the public API and format/tensors.h to read what was expected. Rings of 1 to 8, chunks that cut anywhere, both
   layouts, both sides travelling. */
#include "format/tensors.h"
#include "lariat/lariat.h"
#include "support/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* fp32: of the logits' standard deviation; DESIGN's numerical contract. */
#define BOUND_F32 2e-5

enum { MAX_CASES = 8, GREEDY = 24 };

typedef struct reference_case {
    const int32_t *tokens, *greedy;
    const float *logits, *gap;
    double nll;
    int64_t length, rows;
    double deviation; /* of the logits */
} reference_case;

typedef struct reference {
    char *folder;
    tensors expected;
    reference_case cases[MAX_CASES];
    int n;
    int64_t vocab;
} reference;

static const char *const model_names[] = {"mha-bf16", "gqa-llama3-fp16-sharded", "mqa-bias-headdim-fp32", "gqa-yarn-bf16"};

static const tensor *find(const reference *r, int i, const char *what)
{
    char name[64];

    snprintf(name, sizeof name, "case%d.%s", i, what);
    return tensors_find(&r->expected, name);
}

static double deviation_of(const float *x, int64_t n)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    return sqrt(squares / (double)n - sum * sum / (double)n / (double)n);
}

static void open_reference(reference *r, const char *name)
{
    char part[128], file[1024];

    *r = (reference){0};
    snprintf(part, sizeof part, "reference/models/%s", name);
    r->folder = reference_path(part);
    assert_non_null(r->folder);
    snprintf(file, sizeof file, "%s/expected.safetensors", r->folder);
    assert_int_equal(safetensors_open(file, &r->expected), LARIAT_OK);
    for (const tensor *t; r->n < MAX_CASES && (t = find(r, r->n, "tokens")); r->n++) {
        reference_case *c = &r->cases[r->n];
        const tensor *logits = find(r, r->n, "logits");
        *c = (reference_case){.tokens = t->data, .length = t->dims[0], .logits = logits->data, .rows = logits->dims[0],
                              .greedy = find(r, r->n, "greedy")->data, .gap = find(r, r->n, "greedy_gap")->data};
        memcpy(&c->nll, find(r, r->n, "nll")->data, sizeof c->nll);
        r->vocab = logits->dims[1];
        c->deviation = deviation_of(c->logits, c->rows * r->vocab);
    }
    assert_true(r->n >= 6);
}

static void close_reference(reference *r)
{
    tensors_close(&r->expected);
    free(r->folder);
}

static lariat_engine *open_engine(const reference *r, lariat_options o)
{
    lariat_engine *e = NULL;

    o.context = 1100;
    lariat_status status = lariat_engine_open(r->folder, &o, &e);
    if (status != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    assert_int_equal(lariat_engine_model(e)->vocab, r->vocab);
    return e;
}

static double nll_of(const float *logits, int64_t vocab, const int32_t *tokens, int64_t n)
{
    double total = 0;

    for (int64_t t = 0; t + 1 < n; t++) {
        const float *row = logits + t * vocab;
        double most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < vocab; i++) {
            most = fmax(most, (double)row[i]);
        }
        for (int64_t i = 0; i < vocab; i++) {
            sum += exp((double)row[i] - most);
        }
        total += most + log(sum) - (double)row[tokens[t + 1]];
    }
    return n > 1 ? total / (double)(n - 1) : 0;
}

/* Prefills a case; returns the largest difference of its logits over their deviation, and the difference of the mean loss. */
static double prefill_error(lariat_session *s, lariat_engine *e, const reference *r, const reference_case *c, float *logits,
                            double *nll_error)
{
    lariat_item item = {.session = s, .tokens = c->tokens, .count = c->length, .n_logits = c->length, .logits = logits};
    const float *last = logits + (c->length - c->rows) * r->vocab;
    double worst = 0;

    if (lariat_step(e, &item, 1) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    for (int64_t i = 0; i < c->rows * r->vocab; i++) {
        double difference = fabs((double)last[i] - (double)c->logits[i]);
        worst = difference <= worst ? worst : difference; /* a NaN is kept */
    }
    *nll_error = fabs(nll_of(logits, r->vocab, c->tokens, c->length) - c->nll);
    return worst / c->deviation;
}

/* Continues greedily and compares ids as long as the best was clearly ahead: after a close call the texts may part. */
static void check_greedy(lariat_session *s, lariat_engine *e, const reference *r, const reference_case *c, float *logits)
{
    for (int i = 0; i < GREEDY && c->gap[i] > 1e-3f; i++) {
        int32_t best = 0;
        for (int32_t k = 1; k < r->vocab; k++) {
            best = logits[k] > logits[best] ? k : best;
        }
        assert_int_equal(best, c->greedy[i]);
        lariat_item item = {.session = s, .tokens = &best, .count = 1, .n_logits = 1, .logits = logits};
        assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    }
}

/* All cases of a model with these options; returns the largest error of any. */
static double run_cases(const reference *r, lariat_options o, bool greedy)
{
    lariat_engine *e = open_engine(r, o);
    float *logits = malloc((size_t)(1024 * r->vocab) * sizeof *logits);
    double worst = 0, nll_error;

    for (int i = 0; i < r->n; i++) {
        const reference_case *c = &r->cases[i];
        lariat_session *s;
        if (TEST_QUICK && c->length > 257) {
            continue;
        }
        assert_int_equal(lariat_session_open(e, c->length + GREEDY, &s), LARIAT_OK);
        double error = prefill_error(s, e, r, c, logits, &nll_error);
        if (!(error <= worst)) {
            worst = error;
        }
        if (greedy) {
            assert_true(nll_error < 1e-5);
            memmove(logits, logits + (c->length - 1) * r->vocab, (size_t)r->vocab * sizeof *logits);
            check_greedy(s, e, r, c, logits);
        }
        lariat_session_close(s);
    }
    free(logits);
    lariat_engine_close(e);
    return worst;
}

static void check_f32(const char *name, lariat_options o)
{
    reference r;

    open_reference(&r, name);
    o.kv = LARIAT_KV_F32;
    o.threads = o.ranks;
    double error = run_cases(&r, o, true);
    if (!(error <= BOUND_F32)) {
        fail_msg("%s, %d ranks, chunk %d, layout %d, pass %d: %.2e of the deviation, bound %.0e", name, o.ranks, o.chunk, o.layout,
                 o.pass, error, BOUND_F32);
    }
    close_reference(&r);
}

static void every_ring_and_chunk_agrees_with_the_oracle(void **state)
{
    (void)state;
    static const int32_t chunks[] = {7, 64, 0, 1};

    for (size_t m = 0; m < sizeof model_names / sizeof *model_names; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks++) {
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
                if (TEST_QUICK && (ranks % 3 == 2 || ranks > 3 || chunks[c] == 1) && ranks != 8) {
                    continue;
                }
                check_f32(model_names[m], (lariat_options){.ranks = ranks, .chunk = chunks[c]});
            }
        }
    }
}

static void the_layout_by_tokens_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof model_names / sizeof *model_names; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks += TEST_QUICK ? 7 : 1) {
            check_f32(model_names[m], (lariat_options){.ranks = ranks, .chunk = 61, .layout = LARIAT_LAYOUT_TOKENS});
        }
    }
}

static void the_layout_by_slices_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof model_names / sizeof *model_names; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks += TEST_QUICK ? 7 : 1) {
            check_f32(model_names[m], (lariat_options){.ranks = ranks, .chunk = 300, .layout = LARIAT_LAYOUT_SLICES});
        }
    }
}

static void queries_that_travel_agree_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof model_names / sizeof *model_names; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks += TEST_QUICK ? 7 : 1) {
            check_f32(model_names[m],
                      (lariat_options){.ranks = ranks, .chunk = 100, .pass = LARIAT_PASS_Q, .layout = LARIAT_LAYOUT_TOKENS});
        }
    }
}

static void more_ranks_than_tokens_heads_and_cores_agree_with_the_oracle(void **state)
{
    (void)state;
    check_f32("mqa-bias-headdim-fp32", (lariat_options){.ranks = TEST_QUICK ? 13 : 64});
    check_f32("mha-bf16", (lariat_options){.ranks = 13, .layout = LARIAT_LAYOUT_TOKENS, .pass = LARIAT_PASS_Q});
}

/* 16-bit caches round keys and values once, when they are stored: the error is that of one rank, whatever the ring. */
static void sixteen_bit_caches_do_not_get_worse_with_the_ring(void **state)
{
    (void)state;
    static const struct {
        lariat_kv kv;
        const char *name;
        double bound; /* f16 has 11 bits, bf16 has 8 */
    } types[] = {{LARIAT_KV_F16, "f16", 3e-3}, {LARIAT_KV_BF16, "bf16", 2.4e-2}};

    for (size_t m = 0; m < sizeof model_names / sizeof *model_names; m++) {
        for (size_t k = 0; k < 2; k++) {
            reference r;
            double alone = 0;
            open_reference(&r, model_names[m]);
            for (int32_t ranks = 1; ranks <= 8; ranks += TEST_QUICK ? 7 : 1) {
                double error = run_cases(&r, (lariat_options){.ranks = ranks, .threads = ranks, .kv = types[k].kv}, false);
                alone = ranks == 1 ? error : alone;
                print_message("%s, %s cache, %d ranks: %.1e of the deviation\n", model_names[m], types[k].name, ranks, error);
                assert_true(error <= types[k].bound);
                assert_true(error <= 1.25 * alone);
            }
            close_reference(&r);
        }
    }
}

int main(void)
{
    char *there = reference_path("reference/models");

    if (!there) {
        printf("skipped: no reference data; see tests/support/reference.h\n");
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ring_and_chunk_agrees_with_the_oracle),
        cmocka_unit_test(the_layout_by_tokens_agrees_with_the_oracle),
        cmocka_unit_test(the_layout_by_slices_agrees_with_the_oracle),
        cmocka_unit_test(queries_that_travel_agree_with_the_oracle),
        cmocka_unit_test(more_ranks_than_tokens_heads_and_cores_agree_with_the_oracle),
        cmocka_unit_test(sixteen_bit_caches_do_not_get_worse_with_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
