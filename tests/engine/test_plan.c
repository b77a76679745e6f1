/* Plans of models that are only described.
   Rests on engine/engine.h. */
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Of so many heads as a description may have. No tensor is looked at. */
static model with_heads(int32_t heads)
{
    static char path[] = "heads";

    return (model){.path = path,
                   .config = {.n_layers = 1, .d_model = 64, .n_heads = heads, .n_kv_heads = 1, .head_dim = 2, .d_ff = 64,
                              .vocab = 100, .trained_context = 64, .family = family_by_type("llama", NULL),
                              .rotary_dims = 2, .embedding_scale = 1, .residual_eps = 1e-5f,
                              .rms_eps = 1e-5f, .rope_factor = 1},
                   .weight_bytes = 1 << 20,
                   .weight_type = DTYPE_F32};
}

static lariat_status plan_chunk(int32_t heads, int32_t ranks, int32_t chunk, lariat_layout layout, engine_plan *out)
{
    const lariat_options o = {.device = LARIAT_DEVICE_CPU, .ranks = ranks, .threads = ranks, .chunk = chunk, .context = 64,
                              .layout = layout};
    const model m = with_heads(heads);

    return engine_plan_make(&m, &o, out);
}

/* The largest chunk that the refusal of LARIAT_CHUNK_MAX names for 4,096 heads. */
static int largest_named(int32_t ranks, lariat_layout layout)
{
    engine_plan p;
    int heads, most;

    assert_int_equal(plan_chunk(4096, ranks, LARIAT_CHUNK_MAX, layout, &p), LARIAT_BAD_ARGUMENT);
    int n = sscanf(lariat_error(), "chunk: 4194304 is out of range for the %d heads of heads, use 1 to %d", &heads, &most);
    assert_int_equal(n, 2);
    assert_int_equal(heads, 4096);
    return most;
}

/* What the kernels count in 32 bits: queries of one item, for all heads that read one KV head. */
static int64_t stacked(const engine_plan *p, int32_t heads)
{
    return heads * (p->setup.max_rows > p->setup.max_slices ? p->setup.max_rows : p->setup.max_slices);
}

static void more_queries_than_attention_counts_are_refused(void **state)
{
    static const lariat_layout layouts[] = {LARIAT_LAYOUT_AUTO, LARIAT_LAYOUT_TOKENS, LARIAT_LAYOUT_SLICES};
    int planned = 0, refused = 0;
    engine_plan p;

    (void)state;
    for (int32_t heads = 1; heads <= CONFIG_MAX_HEADS; heads *= 8) {
        for (int32_t ranks = 1; ranks <= 64; ranks *= 8) {
            for (int32_t chunk = 1; chunk <= LARIAT_CHUNK_MAX; chunk *= 2) {
                for (int i = 0; i < 3; i++) {
                    lariat_status status = plan_chunk(heads, ranks, chunk, layouts[i], &p);
                    assert_true(status == LARIAT_OK || status == LARIAT_BAD_ARGUMENT);
                    assert_true(status == LARIAT_BAD_ARGUMENT || stacked(&p, heads) <= INT32_MAX);
                    planned += status == LARIAT_OK;
                    refused += status == LARIAT_BAD_ARGUMENT;
                }
            }
        }
    }
    assert_true(planned > 0 && refused > 0);
}

static void the_largest_chunk_that_is_named_is_accepted(void **state)
{
    static const lariat_layout layouts[] = {LARIAT_LAYOUT_AUTO, LARIAT_LAYOUT_TOKENS, LARIAT_LAYOUT_SLICES};
    engine_plan p;

    (void)state;
    for (int32_t ranks = 1; ranks <= 8; ranks++) {
        for (int i = 0; i < 3; i++) {
            int most = largest_named(ranks, layouts[i]);
            assert_int_equal(plan_chunk(4096, ranks, most, layouts[i], &p), LARIAT_OK);
            assert_int_equal(plan_chunk(4096, ranks, most + 1, layouts[i], &p), LARIAT_BAD_ARGUMENT);
        }
    }
}

/* Of 4 MB of keys and values a position in f32. */
static lariat_status plan_cache(lariat_kv kv, int64_t context, model *m, lariat_options *o, engine_plan *out)
{
    *m = with_heads(64);
    m->config.n_layers = 64;
    m->config.n_kv_heads = 64;
    m->config.head_dim = m->config.rotary_dims = 128;
    *o = (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = 1, .threads = 1, .chunk = 1, .context = context, .kv = kv};
    return engine_plan_make(m, o, out);
}

static void a_cache_of_codes_takes_a_byte_an_element_and_a_float_a_row(void **state)
{
    model m;
    lariat_options o;
    engine_plan q8, f16;

    (void)state;
    assert_int_equal(plan_cache(LARIAT_KV_Q8, 4096, &m, &o, &q8), LARIAT_OK);
    assert_int_equal(plan_cache(LARIAT_KV_F16, 4096, &m, &o, &f16), LARIAT_OK);
    assert_string_equal(q8.shown.kv, "q8");
    assert_int_equal(q8.shown.kv_bytes_per_rank, 64LL * 64 * 2 * 4096 * (128 + 4));
    assert_int_equal(q8.shown.kv_bytes_per_rank * 256, f16.shown.kv_bytes_per_rank * 132);
}

/* Where memory is short of cache the largest smaller type with which all would fit is named, and none where there is none. */
static void a_smaller_cache_that_would_fit_is_named(void **state)
{
    static const struct {
        lariat_kv kv;
        const char *named;
    } cases[] = {{LARIAT_KV_F32, ", or --kv f16, with which all of it would"},
                 {LARIAT_KV_F16, ", or --kv q8, with which all of it would"},
                 {LARIAT_KV_Q8, NULL}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        model m;
        lariat_options o;
        engine_plan p;
        assert_int_equal(plan_cache(cases[i].kv, 1, &m, &o, &p), LARIAT_OK);
        if (p.shown.fits_context < 100) {
            print_message("skipped: this machine has no memory free for 100 positions\n");
            skip();
        }
        assert_int_equal(plan_cache(cases[i].kv, p.shown.fits_context / 2 * 3, &m, &o, &p), LARIAT_OK);
        assert_int_equal(fit_check(&m, &p, &o), LARIAT_NO_MEMORY);
        assert_non_null(strstr(lariat_error(), "too little"));
        const char *named = strstr(lariat_error(), ", or --kv");
        assert_true(cases[i].named ? named && strstr(named, cases[i].named) : !named);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_queries_than_attention_counts_are_refused),
        cmocka_unit_test(the_largest_chunk_that_is_named_is_accepted),
        cmocka_unit_test(a_cache_of_codes_takes_a_byte_an_element_and_a_float_a_row),
        cmocka_unit_test(a_smaller_cache_that_would_fit_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
