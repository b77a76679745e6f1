/* The engine against the oracle: Hugging Face's implementation in fp64 over the same checkpoints (see docs/numerics.md).
   Rests on the public API and support/oracle.h. Rings of 1 to 8, chunks that cut anywhere, both
   layouts, both sides travelling. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LONGEST = TEST_QUICK ? 257 : 1024 };

/* Of the deviation. Measured: 4.4e-2 to 5.2e-2, by model, for every ring and chunk. */
#define Q8_BOUND 7e-2

static void check_f32(const char *name, lariat_options o)
{
    reference r;

    reference_open(&r, name);
    o.kv = LARIAT_KV_F32;
    o.threads = o.ranks;
    double error = reference_run(&r, o, LONGEST, true);
    if (!(error <= BOUND_F32)) {
        fail_msg("%s, %d ranks, chunk %d, layout %d, pass %d: %.2e of the deviation, bound %.0e", name, o.ranks, o.chunk,
                 o.layout, o.side, error, BOUND_F32);
    }
    reference_close(&r);
}

static void every_ring_and_chunk_agrees_with_the_oracle(void **state)
{
    (void)state;
    static const int32_t chunks[] = {7, 64, 0, 1};

    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
                if (TEST_QUICK && (chunks[c] == 1 || (ranks > 3 && ranks < 8 && chunks[c] != 64))) {
                    continue;
                }
                check_f32(reference_names[m], (lariat_options){.ranks = ranks, .chunk = chunks[c]});
            }
        }
    }
}

static void the_layout_by_tokens_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            check_f32(reference_names[m], (lariat_options){.ranks = ranks, .chunk = 61, .layout = LARIAT_LAYOUT_TOKENS});
        }
    }
}

static void the_layout_by_slices_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            check_f32(reference_names[m], (lariat_options){.ranks = ranks, .chunk = 300, .layout = LARIAT_LAYOUT_SLICES});
        }
    }
}

static void queries_that_travel_agree_with_the_oracle(void **state)
{
    (void)state;
    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            check_f32(reference_names[m],
                      (lariat_options){.ranks = ranks, .chunk = 100, .side = LARIAT_SIDE_Q, .layout = LARIAT_LAYOUT_TOKENS});
        }
    }
}

static void more_ranks_than_tokens_heads_and_cores_agree_with_the_oracle(void **state)
{
    (void)state;
    check_f32("mqa-bias-headdim-fp32", (lariat_options){.ranks = TEST_QUICK ? 13 : 64});
    check_f32("mha-bf16", (lariat_options){.ranks = 13, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q});
}

/* 16-bit caches round keys and values once, when they are stored: the error is that of one rank, whatever the ring. */
static void sixteen_bit_caches_do_not_get_worse_with_the_ring(void **state)
{
    (void)state;
    static const struct {
        lariat_kv kv;
        const char *name;
        double bound; /* f16 has 11 bits, bf16 has 8 */
    } types[] = {{LARIAT_KV_F16, "f16", 4e-3}, {LARIAT_KV_BF16, "bf16", 3e-2}};

    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        for (size_t k = 0; k < 2; k++) {
            reference r;
            double alone = 0;
            reference_open(&r, reference_names[m]);
            for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
                double error =
                    reference_run(&r, (lariat_options){.ranks = ranks, .threads = ranks, .kv = types[k].kv}, LONGEST, false);
                alone = ranks == 1 ? error : alone;
                print_message("%s, %s cache, %d ranks: %.1e of the deviation\n", reference_names[m], types[k].name, ranks,
                              error);
                assert_true(error <= types[k].bound);
                assert_true(error <= 1.25 * alone);
            }
            reference_close(&r);
        }
    }
}

/* Keys and values of 8-bit codes: the error is that of one rank, whatever the ring, the chunk and the side that travels.
   Queries see the keys of their own chunk as codes too: a chunk changes only which of a few codes round the other way. A scale
   that is not the row's own is an error of the order of the deviation. */
static void codes_of_eight_bits_do_not_get_worse_with_the_ring_or_the_chunk(void **state)
{
    (void)state;
    static const int32_t chunks[] = {0, 7, 64};

    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        reference r;
        double alone = 0;
        reference_open(&r, reference_names[m]);
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            for (size_t c = 0; c < (TEST_QUICK ? 1 : 3); c++) {
                lariat_options o = {.ranks = ranks, .threads = ranks, .kv = LARIAT_KV_Q8, .chunk = chunks[c],
                                    .side = c == 2 ? LARIAT_SIDE_Q : LARIAT_SIDE_AUTO};
                double error = reference_run(&r, o, LONGEST, false);
                alone = alone > 0 ? alone : error;
                print_message("%s, q8 cache, %d ranks, chunk %d: %.1e of the deviation\n", reference_names[m], ranks, chunks[c],
                              error);
                assert_true(error <= Q8_BOUND);
                assert_true(error <= 1.25 * alone);
            }
        }
        reference_close(&r);
    }
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ring_and_chunk_agrees_with_the_oracle),
        cmocka_unit_test(the_layout_by_tokens_agrees_with_the_oracle),
        cmocka_unit_test(the_layout_by_slices_agrees_with_the_oracle),
        cmocka_unit_test(queries_that_travel_agree_with_the_oracle),
        cmocka_unit_test(more_ranks_than_tokens_heads_and_cores_agree_with_the_oracle),
        cmocka_unit_test(sixteen_bit_caches_do_not_get_worse_with_the_ring),
        cmocka_unit_test(codes_of_eight_bits_do_not_get_worse_with_the_ring_or_the_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
