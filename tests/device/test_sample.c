/* The choice of a token on the CPU against a sort and sums in double precision: what is kept, what is drawn; and that it is the
   same on one thread and on several.
   Rests on device/cpu/cpu.h, device/sampling.h and sample_cases.h. engine/test_sample.c holds the distribution of the draws. */
#include "device/cpu/cpu.h"
#include "device/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/sample_cases.h"

static const int64_t vocabs[] = {1, 2, 7, 100, 3000};
enum { VOCABS = sizeof vocabs / sizeof *vocabs, ROWS = 9 };

/* What rounding of the weights (8e-9 each, and the last places of a difference of up to 27) may move of a sum of 1. */
static const double MOVED = 4e-6;

/* --- weights --- */

static void weights_are_those_of_softmax(void **state)
{
    (void)state;
    const float temperatures[] = {0.3f, 1, 7};
    const double one = (double)SAMPLING_ONE;

    for (int t = 0; t < 3; t++) {
        float scale = sampling_scale(temperatures[t]);
        uint64_t last = SAMPLING_ONE;
        for (int i = 0; i < 300000; i++) {
            float below = (float)i * 1e-4f * temperatures[t];
            uint64_t weight = sampling_weight(0, -below, scale);
            double want = exp(-(double)below / (double)temperatures[t]);
            assert_true(fabs((double)weight / one - want) <= 2e-6 * want + 2 / one);
            assert_true(weight <= last);
            last = weight;
        }
    }
    assert_true(sampling_weight(5, 5, INFINITY) == SAMPLING_ONE);
    assert_true(sampling_weight(3e38f, -3e38f, 1e-30f) == 0);
}

static void images_are_ordered_as_logits_are(void **state)
{
    (void)state;
    random_state = 1;
    for (int i = 0; i < 300000; i++) {
        float a = sample_logit((logit_shape)(i % LOGIT_SHAPES)), b = sample_logit((logit_shape)(i % LOGIT_SHAPES));
        assert_true((a < b) == (sampling_image(a) < sampling_image(b)));
        assert_true((a == b) == (sampling_image(a) == sampling_image(b)));
        assert_true(sampling_logit(sampling_image(a)) == a);
    }
}

/* --- the choice --- */

static const float *sorted_by;

static int by_likelihood(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return sorted_by[x] != sorted_by[y] ? (sorted_by[x] < sorted_by[y]) - (sorted_by[x] > sorted_by[y]) : (x > y) - (x < y);
}

/* Weights of what is kept, 0 for the others; in double precision, the likeliest 1. False where rounding decides what is kept:
   a bound too close to a sum or to a weight. */
static bool keep(const float *logits, int64_t vocab, const sample_setting *s, double weights[])
{
    int32_t *order = malloc((size_t)vocab * sizeof *order);
    int64_t n = s->top_k && s->top_k < vocab ? s->top_k : vocab, kept = 0;
    double sum = 0, so_far = 0;
    bool clear = true;

    assert_non_null(order);
    for (int64_t i = 0; i < vocab; i++) {
        order[i] = (int32_t)i;
        weights[i] = 0;
    }
    sorted_by = logits;
    qsort(order, (size_t)vocab, sizeof *order, by_likelihood);
    for (int64_t i = 0; i < n; i++) {
        weights[order[i]] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / (double)s->temperature);
        sum += weights[order[i]];
    }
    while (kept < n && (kept == 0 || s->top_p >= 1 || so_far < (double)s->top_p * sum)) {
        so_far += weights[order[kept++]];
        clear = clear && (s->top_p >= 1 || s->top_p <= 0 || fabs(so_far - (double)s->top_p * sum) > MOVED * sum);
    }
    for (int64_t i = 0; i < n; i++) {
        double *w = &weights[order[i]], below = *w - (double)s->min_p;
        clear = clear && (i >= kept || s->min_p <= 0 || *w == 1 || fabs(below) > MOVED);
        *w = i < kept && below >= 0 ? *w : 0;
    }
    free(order);
    return clear;
}

/* Is it what a walk over the kept ids would draw, but for what rounding may move? */
static bool may_be_drawn(const double weights[], int64_t vocab, double uniform, int32_t token)
{
    double sum = 0, before = 0;

    for (int64_t i = 0; i < vocab; i++) {
        sum += weights[i];
        before += i < token ? weights[i] : 0;
    }
    return weights[token] > 0 && uniform * sum >= before - MOVED * sum &&
           uniform * sum <= before + weights[token] + MOVED * sum;
}

static void every_setting_chooses_what_a_sort_would_keep_and_a_walk_would_draw(void **state)
{
    (void)state;
    static float logits[3000];
    static double weights[3000];
    int judged = 0, left_out = 0;

    random_state = 1;
    for (int v = 0; v < VOCABS; v++) {
        for (int i = 0; i < SAMPLE_SETTINGS * (int)LOGIT_SHAPES; i++) {
            sample_setting s = sample_case(i / (int)LOGIT_SHAPES);
            sample_row(logits, vocabs[v], (logit_shape)(i % LOGIT_SHAPES));
            int32_t token = cpu_sample_row(logits, vocabs[v], &s);
            assert_in_range(token, 0, vocabs[v] - 1);
            if (s.temperature == 0) {
                for (int64_t k = 0; k < vocabs[v]; k++) {
                    assert_true(k < token ? logits[k] < logits[token] : logits[k] <= logits[token]);
                }
            } else if (keep(logits, vocabs[v], &s, weights)) {
                assert_true(may_be_drawn(weights, vocabs[v], s.uniform, token));
                judged++;
            } else {
                left_out++;
            }
        }
    }
    assert_true(judged > 10 * left_out);
}

static void what_is_not_finite_gives_no_token(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float logits[7];

    random_state = 1;
    for (int i = 0; i < 4 * SAMPLE_SETTINGS; i++) {
        sample_setting s = sample_case(i / 4);
        sample_row(logits, 7, LOGITS_EVEN);
        logits[random_bits() % 7] = bad[i % 4];
        assert_int_equal(cpu_sample_row(logits, 7, &s), -1);
    }
}

/* --- the op --- */

static void rows_are_chosen_from_alike_on_any_number_of_threads(void **state)
{
    (void)state;
    enum { VOCAB = 501, LD = 515 };
    static float logits[ROWS * LD];
    sample_setting settings[ROWS];
    int32_t tokens[ROWS + 1];
    device *dev;

    random_state = 1;
    for (int threads = 1; threads <= 3; threads++) {
        assert_int_equal(cpu_device_open(threads, CPU_BEST, &dev), LARIAT_OK);
        for (int i = 0; i < 50; i++) {
            for (int t = 0; t < ROWS; t++) {
                sample_row(logits + t * LD, VOCAB, (logit_shape)(t % LOGIT_SHAPES));
                for (int k = VOCAB; k < LD; k++) {
                    logits[t * LD + k] = NAN; /* between the rows */
                }
                settings[t] = sample_case((int)(random_bits() % SAMPLE_SETTINGS));
            }
            memset(tokens, 0x55, sizeof tokens);
            dev->ops->sample(dev, tokens, logits, LD, ROWS, VOCAB, settings);
            for (int t = 0; t < ROWS; t++) {
                assert_int_equal(tokens[t], cpu_sample_row(logits + t * LD, VOCAB, &settings[t]));
            }
            assert_int_equal(tokens[ROWS], 0x55555555);
        }
        dev->ops->close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_softmax),
        cmocka_unit_test(images_are_ordered_as_logits_are),
        cmocka_unit_test(every_setting_chooses_what_a_sort_would_keep_and_a_walk_would_draw),
        cmocka_unit_test(what_is_not_finite_gives_no_token),
        cmocka_unit_test(rows_are_chosen_from_alike_on_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
