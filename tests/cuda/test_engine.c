/* The engine on GPUs against the oracle, in f32, where the bound is that of CPUs: rings of several ranks a card, chunks that
   cut anywhere, both layouts, both sides travelling, hops from card to card and through the host. Rests on the public API and
   support/oracle.h. Skipped where there is no GPU. sixteen_bit.py holds bf16 and f16. */
#include "device/gpu.h"
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int32_t rings[] = {1, 2, 3, 5, 8};
enum { RINGS = sizeof rings / sizeof *rings };

static void check(const char *name, lariat_options o, int64_t longest)
{
    reference r;

    reference_open(&r, name);
    o.device = LARIAT_DEVICE_CUDA;
    o.dtype = LARIAT_DTYPE_F32;
    double error = reference_run(&r, o, longest, true);
    if (!(error <= BOUND_F32)) {
        fail_msg("%s, %d ranks, chunk %d, layout %d, pass %d, hops %d: %.2e of the deviation, bound %.0e", name, o.ranks,
                 o.chunk, o.layout, o.side, o.hops, error, BOUND_F32);
    }
    reference_close(&r);
}

static void every_ring_and_chunk_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < REFERENCE_MODELS; m++) {
        for (int i = 0; i < RINGS; i++) {
            check(reference_names[m], (lariat_options){.ranks = rings[i]}, 1024);
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 64}, 1024);
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 7}, 257);
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 1}, 64);
        }
    }
}

static void both_layouts_and_both_sides_agree_with_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < REFERENCE_MODELS; m++) {
        for (int i = 0; i < RINGS; i++) {
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 61, .layout = LARIAT_LAYOUT_TOKENS}, 1024);
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 300, .layout = LARIAT_LAYOUT_SLICES}, 1024);
            check(reference_names[m],
                  (lariat_options){.ranks = rings[i], .chunk = 100, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q},
                  1024);
        }
    }
}

static void hops_through_the_host_agree_with_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < REFERENCE_MODELS; m++) {
        for (int i = 1; i < RINGS; i++) {
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 100, .hops = LARIAT_HOPS_HOST}, 1024);
            check(reference_names[m], (lariat_options){.ranks = rings[i], .chunk = 100, .hops = LARIAT_HOPS_HOST,
                                                       .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q}, 257);
        }
    }
}

/* Keys and values of 8-bit codes in f32: the error is that of CPUs (engine/test_reference.c), whatever the ring, the chunk, the
   layout and the way of hops. */
static void codes_of_eight_bits_are_as_near_the_oracle_as_on_cpus(void **state)
{
    static const lariat_options ways[] = {{.chunk = 0},
                                          {.chunk = 64, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_KV},
                                          {.chunk = 100, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q},
                                          {.chunk = 300, .layout = LARIAT_LAYOUT_SLICES},
                                          {.chunk = 100, .hops = LARIAT_HOPS_HOST}};

    (void)state;
    for (int m = 0; m < REFERENCE_MODELS; m++) {
        reference r;
        reference_open(&r, reference_names[m]);
        for (int i = 0; i < RINGS; i++) {
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
                lariat_options o = ways[w];
                o.device = LARIAT_DEVICE_CUDA;
                o.dtype = LARIAT_DTYPE_F32;
                o.kv = LARIAT_KV_Q8;
                o.ranks = rings[i];
                double error = reference_run(&r, o, 1024, false);
                print_message("%s, %d ranks, way %zu: %.1e of the deviation\n", reference_names[m], o.ranks, w, error);
                assert_true(error <= 7e-2);
            }
        }
        reference_close(&r);
    }
}

/* Logits of the last token of the longest case, twice in one engine and once more in another. */
static void the_same_command_gives_the_same_bits(void **state)
{
    (void)state;
    static const lariat_dtype types[] = {LARIAT_DTYPE_BF16, LARIAT_DTYPE_F16, LARIAT_DTYPE_F32};

    for (int m = 0; m < REFERENCE_MODELS; m++) {
        reference r;
        reference_open(&r, reference_names[m]);
        const oracle_case *c = &r.said.cases[r.said.n - 1];
        float *logits[3];
        for (int k = 0; k < 3; k++) {
            logits[k] = calloc((size_t)r.said.vocab, sizeof **logits);
            assert_non_null(logits[k]);
        }
        for (size_t t = 0; t < 2 * sizeof types / sizeof *types; t++) {
            for (int run = 0; run < 2; run++) {
                lariat_engine *e = open_or_fail(r.folder, (lariat_options){.device = LARIAT_DEVICE_CUDA,
                                                                           .dtype = types[t / 2],
                                                                           .kv = t % 2 ? LARIAT_KV_Q8 : LARIAT_KV_AUTO,
                                                                           .ranks = 3,
                                                                           .chunk = 300,
                                                                           .context = 2400,
                                                                           .sessions = 2});
                for (int again = 0; again <= run; again++) {
                    lariat_session *s;
                    assert_int_equal(lariat_session_open(e, c->length, &s), LARIAT_OK);
                    lariat_work item = {.session = s, .tokens = c->tokens, .count = c->length, .n_logits = 1,
                                        .logits = logits[run + again]};
                    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
                    lariat_session_close(s);
                }
                lariat_engine_close(e);
            }
            assert_memory_equal(logits[0], logits[1], (size_t)r.said.vocab * sizeof **logits);
            assert_memory_equal(logits[0], logits[2], (size_t)r.said.vocab * sizeof **logits);
        }
        for (int k = 0; k < 3; k++) {
            free(logits[k]);
        }
        reference_close(&r);
    }
}

/* The second half of the longest case token by token, from shards that the first half filled, until no position is left. */
static void decode_to_the_end(const reference *r, int32_t ranks)
{
    const oracle_case *c = &r->said.cases[r->said.n - 1];
    int64_t half = c->length / 2, vocab = r->said.vocab, first = c->length - c->rows;
    lariat_engine *e = open_or_fail(
        r->folder,
        (lariat_options){
            .device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = ranks, .context = c->length, .sessions = 1});
    float *logits = calloc((size_t)vocab, sizeof *logits);
    double worst = 0;
    lariat_session *s;

    assert_non_null(logits);
    assert_int_equal(lariat_session_open(e, c->length, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = c->tokens, .count = half};
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    for (int64_t t = half; t < c->length; t++) {
        item = (lariat_work){.session = s, .tokens = c->tokens + t, .count = 1, .n_logits = 1, .logits = logits};
        assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
        for (int64_t i = 0; t >= first && i < vocab; i++) {
            double error = fabs((double)logits[i] - (double)c->logits[(t - first) * vocab + i]) / c->deviation;
            worst = error > worst ? error : worst;
            assert_true(isfinite(logits[i]));
        }
    }
    if (worst > BOUND_F32) {
        fail_msg("%s, %d ranks: decoding to position %lld is off by %.2e of the deviation", r->folder, ranks,
                 (long long)c->length, worst);
    }
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_CONTEXT_FULL);
    lariat_session_close(s);
    lariat_engine_close(e);
    free(logits);
}

static void a_sharded_cache_is_decoded_from_to_the_end_of_the_context(void **state)
{
    (void)state;
    for (int m = 0; m < REFERENCE_MODELS; m++) {
        reference r;
        reference_open(&r, reference_names[m]);
        for (int32_t ranks = 1; ranks <= 3; ranks++) {
            decode_to_the_end(&r, ranks);
        }
        reference_close(&r);
    }
}

static void what_does_not_fit_is_refused_with_what_would(void **state)
{
    (void)state;
    lariat_options o = {.device = LARIAT_DEVICE_CUDA, .ranks = 1, .context = 16 << 20};
    lariat_engine *e = NULL;

    assert_int_equal(lariat_engine_open("random:7b", &o, &e), LARIAT_NO_MEMORY);
    assert_non_null(strstr(lariat_error(), "would fit"));
}

int main(void)
{
    char *there = reference_path("reference/models");

    if (!there || !gpu_usable()) {
        printf("skipped: no %s\n", there ? "GPU that can be used" : "reference data; see tests/support/reference.h");
        free(there);
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ring_and_chunk_agrees_with_the_oracle),
        cmocka_unit_test(both_layouts_and_both_sides_agree_with_the_oracle),
        cmocka_unit_test(hops_through_the_host_agree_with_the_oracle),
        cmocka_unit_test(codes_of_eight_bits_are_as_near_the_oracle_as_on_cpus),
        cmocka_unit_test(the_same_command_gives_the_same_bits),
        cmocka_unit_test(a_sharded_cache_is_decoded_from_to_the_end_of_the_context),
        cmocka_unit_test(what_does_not_fit_is_refused_with_what_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
