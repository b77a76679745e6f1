/* Quantised checkpoints against the oracle over their dequantised values: the same logits, since activations are not quantised.
   The tiny GGUF files of 13 types (10 of them in blocks) and the demo's model. Rests on support/oracle.h. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void every_block_type_agrees_with_its_dequantised_values(void **state)
{
    (void)state;
    char *expected = reference_path("reference/gguf/expected.safetensors");

    static const int32_t chunks[] = {0, 1, 7, 64};

    assert_non_null(expected);
    for (size_t t = 0; t < ORACLE_GGUF_TYPES; t++) {
        char name[64], prefix[16];
        oracle o;
        snprintf(name, sizeof name, "reference/gguf/%s.gguf", oracle_gguf_types[t]);
        snprintf(prefix, sizeof prefix, "%s.", oracle_gguf_types[t]);
        char *path = reference_path(name);
        if (!path) {
            print_message("skipped: %s is not on this machine\n", name); /* the repository carries the block types only */
            continue;
        }
        oracle_open(&o, expected, prefix);
        for (int32_t ranks = 1; ranks <= 8; ranks = next_ring(ranks)) {
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
                if ((chunks[c] == 7 && TEST_QUICK) || (chunks[c] == 1 && (TEST_QUICK || ((size_t)ranks + t) % 4 != 0))) {
                    continue; /* a pass for each token takes its time: each type on two rings, all rings among the types */
                }
                lariat_options options = {
                    .ranks = ranks, .threads = 2, .chunk = chunks[c], .kv = LARIAT_KV_F32, .context = 1200};
                oracle_check_file(&o, path, options, 1e-3f, INT64_MAX);
            }
        }
        oracle_close(&o);
        free(path);
    }
    free(expected);
}

static void the_demo_model_reads_the_gpl_as_the_oracle_does(void **state)
{
    (void)state;
    oracle o;
    char *path;

    oracle_open_demo(&o, &path);
    for (int32_t ranks = 1; ranks <= 8; ranks++) {
        /* The whole licence, 7,639 tokens, takes half a minute: on the rings whose divisions differ most. */
        int64_t longest = ranks <= 2 || ranks == 5 || ranks == 8 ? INT64_MAX : 1000;
        oracle_check_file(&o, path, (lariat_options){.ranks = ranks, .kv = LARIAT_KV_F32, .context = 7700}, DEMO_GAP, longest);
        oracle_check_file(&o, path, (lariat_options){.ranks = ranks, .chunk = 1, .kv = LARIAT_KV_F32, .context = 7700},
                          DEMO_GAP, 100);
        oracle_check_file(&o, path, (lariat_options){.ranks = ranks, .chunk = 7, .kv = LARIAT_KV_F32, .context = 7700},
                          DEMO_GAP, 100);
        oracle_check_file(&o, path, (lariat_options){.ranks = ranks, .chunk = 64, .kv = LARIAT_KV_F32, .context = 7700},
                          DEMO_GAP, 1000);
    }
    oracle_close(&o);
    free(path);
}

/* The largest error of any text of up to 1,000 tokens. */
static double worst_of_short_texts(const oracle *o, const char *path, lariat_options options)
{
    float *last = malloc((size_t)o->vocab * sizeof *last);
    double worst = 0, nll_error;

    lariat_engine *e = open_or_fail(path, options);
    for (int i = 0; i < o->n; i++) {
        const oracle_case *c = &o->cases[i];
        lariat_session *s;
        if (c->length > 1000) {
            continue;
        }
        assert_int_equal(lariat_session_open(e, c->length, &s), LARIAT_OK);
        double error = oracle_prefill(o, c, e, s, last, &nll_error);
        print_message("%s cache, %d ranks, case %d: %.1e of the deviation\n", options.kv == LARIAT_KV_F16 ? "f16" : "bf16",
                      options.ranks, i, error);
        worst = error <= worst ? worst : error;
        lariat_session_close(s);
    }
    free(last);
    lariat_engine_close(e);
    return worst;
}

/* Keys and values are rounded once, when they are stored. What a ring adds up in another order may make some of them round the
   other way, which moves the error of a text up or down, but the largest of several texts does not grow with the ring. */
static void sixteen_bit_caches_of_the_demo_model_do_not_get_worse_with_the_ring(void **state)
{
    (void)state;
    oracle o;
    char *path;
    static const int32_t rings[] = {1, 2, 5, 8};
    static const struct {
        lariat_kv kv;
        double bound;
    } caches[] = {{LARIAT_KV_F16, 6e-3}, {LARIAT_KV_BF16, 5e-2}};

    oracle_open_demo(&o, &path);
    for (size_t t = 0; t < sizeof caches / sizeof *caches; t++) {
        double alone = 0;
        for (size_t r = 0; r < sizeof rings / sizeof *rings; r++) {
            double error =
                worst_of_short_texts(&o, path, (lariat_options){.ranks = rings[r], .kv = caches[t].kv, .context = 1000});
            alone = r == 0 ? error : alone;
            assert_true(error <= caches[t].bound);
            assert_true(error <= 1.5 * alone);
        }
    }
    oracle_close(&o);
    free(path);
}

int main(void)
{
    char *there = reference_path("reference/gguf");

    if (!there) {
        printf("skipped: no reference data; see tests/support/reference.h\n");
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_type_agrees_with_its_dequantised_values),
        cmocka_unit_test(the_demo_model_reads_the_gpl_as_the_oracle_does),
        cmocka_unit_test(sixteen_bit_caches_of_the_demo_model_do_not_get_worse_with_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
