/* Random models: the published shapes, the same bits everywhere, values of a sane size in every type.
   Rests on model/weights.h; the known bits come from a second writing of the generator, in Python. */
#include "model/weights.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void shapes_have_the_published_numbers_of_parameters(void **state)
{
    static const struct {
        const char *name;
        int64_t parameters;
    } published[] = {{"7b", 6738415616},     {"13b", 13015864320},   {"70b", 68976648192},   {"3-8b", 8030261248},
                     {"3-70b", 70553706496}, {"3.2-1b", 1235814400}, {"3.2-3b", 3212749824}, {"smollm2-135m", 134515008},
                     {"qwen3-8b", 8190735360}, {"qwen3-0.6b", 596049920},     {"phi4-mini", 3836021760},
                     {"granite-8b", 8170848256}};

    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char path[64];
        model *m;
        snprintf(path, sizeof path, "random:%s", published[i].name);
        assert_accepted(model_describe(path, &m));
        assert_int_equal(m->parameters, published[i].parameters);
        assert_int_equal(m->weight_type, DTYPE_BF16);
        assert_string_equal(m->config.rope_type, strncmp(published[i].name, "3.2", 3) == 0 ? "llama3" : "default");
        assert_int_equal(m->config.n_end_ids, 0);
        model_close(m);
    }
}

static void unknown_names_and_types_are_refused_with_the_known_ones(void **state)
{
    model *m;

    (void)state;
    assert_refused(model_describe("random:8b", &m), LARIAT_BAD_ARGUMENT, "there is no shape \"8b\", choose from 7b,");
    assert_refused(model_describe("random:", &m), LARIAT_BAD_ARGUMENT, "there is no shape \"\"");
    assert_refused(model_describe("random:7b:F64", &m), LARIAT_BAD_ARGUMENT, "F64 is no type of weights");
    assert_refused(model_describe("random:7b:", &m), LARIAT_BAD_ARGUMENT, "no type behind the last colon");
    assert_refused(model_describe("random:7b:Q4_0:x", &m), LARIAT_BAD_ARGUMENT, "is no type of weights");
}

static void rows_that_are_no_whole_super_blocks_fall_back(void **state)
{
    static const struct {
        const char *path;
        dtype type;
    } fallbacks[] = {{"random:smollm2-135m:q2_k", DTYPE_IQ4_NL}, {"random:smollm2-135m:q3_k", DTYPE_IQ4_NL},
                     {"random:smollm2-135m:Q4_K", DTYPE_Q5_0},   {"random:smollm2-135m:Q5_K", DTYPE_Q5_1},
                     {"random:smollm2-135m:Q6_K", DTYPE_Q8_0},   {"random:smollm2-135m:q4_0", DTYPE_Q4_0}};
    (void)state;
    for (int i = 0; i < 6; i++) {
        model *m;
        assert_accepted(model_describe(fallbacks[i].path, &m));
        assert_int_equal(m->weights.layers[0].q.type, fallbacks[i].type);                          /* rows of 576 */
        assert_int_equal(m->weights.layers[0].down.type, dtype_from_name(fallbacks[i].path + 20)); /* rows of 1536 */
        model_close(m);
    }
}

static double plain_value(dtype type, const unsigned char *p)
{
    uint16_t half;
    float f;

    if (type == DTYPE_F32) {
        memcpy(&f, p, 4);
        return (double)f;
    }
    memcpy(&half, p, 2);
    return (double)(type == DTYPE_F16 ? f16_to_f32(half) : bf16_to_f32(half));
}

/* Describes a model and loads its values; NULL where either is refused. */
static lariat_status load(const char *path, model **out)
{
    TRY(model_describe(path, out));
    lariat_status status = model_load(*out, false, 1);
    if (status != LARIAT_OK) {
        model_close(*out);
        *out = NULL;
    }
    return status;
}

static void plain_values_are_small_and_symmetric(void **state)
{
    static const char *const paths[] = {"random:smollm2-135m:f32", "random:smollm2-135m:f16", "random:smollm2-135m"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        model *m;
        assert_accepted(load(paths[i], &m));
        const matrix *w = &m->weights.layers[29].up;
        double sum = 0, squares = 0;
        int64_t n = w->rows * w->cols;
        for (int64_t e = 0; e < n; e++) {
            double v = plain_value(w->type, (const unsigned char *)w->data + (size_t)e * dtype_block_bytes(w->type));
            assert_true(fabs(v) >= 0x1p-9 && fabs(v) < 0x1p-5);
            sum += v;
            squares += v * v;
        }
        assert_true(fabs(sum / (double)n) < 1e-4);
        assert_true(fabs(sqrt(squares / (double)n) - 0.01375) < 1e-4);
        for (int64_t d = 0; d < m->config.d_model; d++) {
            assert_true(m->weights.final_norm[d] == 1 && m->weights.layers[7].attn_norm[d] == 1);
        }
        model_close(m);
    }
}

/* The bits are part of what a benchmark or a bug report names: these must not change, whatever the threads and the machine. */
static void the_bits_are_the_same_everywhere(void **state)
{
    static const struct {
        const char *path;
        uint64_t first, last;
    } known[] = {
        {"random:smollm2-135m", UINT64_C(0xb765e113982df67b), UINT64_C(0x8e66bed306477750)},
        {"random:smollm2-135m:F32", UINT64_C(0x1f5571e8a3566bbd), UINT64_C(0xabdccacdb1037a04)},
        {"random:smollm2-135m:q4_1", UINT64_C(0x367d169a7ee692c6), UINT64_C(0x6bb7e657161510f5)},
        {"random:smollm2-135m:Q6_K", UINT64_C(0xc228423603696530), UINT64_C(0xb7c484a7faa6fd14)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        model *m;
        assert_accepted(load(known[i].path, &m));
        const matrix *q = &m->weights.layers[0].q;
        const matrix *d = &m->weights.layers[29].down;
        uint64_t first = fnv1a(q->data, (size_t)q->rows * q->row_bytes);
        uint64_t last = fnv1a(d->data, (size_t)d->rows * d->row_bytes);
        if (first != known[i].first || last != known[i].last) {
            fail_msg("{\"%s\", UINT64_C(0x%016llx), UINT64_C(0x%016llx)}", known[i].path, (unsigned long long)first,
                     (unsigned long long)last);
        }
        model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_have_the_published_numbers_of_parameters),
        cmocka_unit_test(unknown_names_and_types_are_refused_with_the_known_ones),
        cmocka_unit_test(rows_that_are_no_whole_super_blocks_fall_back),
        cmocka_unit_test(plain_values_are_small_and_symmetric),
        cmocka_unit_test(the_bits_are_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
