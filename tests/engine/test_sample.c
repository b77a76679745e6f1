/* The sampler against the distribution that its settings describe.
   Rests on sample.h; what is expected is computed here from the definition of softmax, or is exact. */
#include "lariat/sample.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCAB = 8, DRAWS = 200000, LARGE = 50000 };

static const float logits[VOCAB] = {0.0f, 2.0f, 1.0f, -1.0f, 2.0f, -3.0f, 0.5f, 1.5f};

static lariat_sampler *open_sampler(lariat_sampling settings, int32_t vocab)
{
    lariat_sampler *s;

    assert_int_equal(lariat_sampler_open(&settings, vocab, &s), LARIAT_OK);
    return s;
}

/* Each draw begins a reply behind these ids. */
static void count_draws_behind(lariat_sampling settings, const int32_t *ids, int64_t n, double counts[VOCAB])
{
    lariat_sampler *s = open_sampler(settings, VOCAB);

    memset(counts, 0, VOCAB * sizeof *counts);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id;
        lariat_sampler_begin(s, ids, n);
        assert_int_equal(lariat_sample(s, logits, &id), LARIAT_OK);
        assert_in_range(id, 0, VOCAB - 1);
        counts[id]++;
    }
    lariat_sampler_close(s);
}

/* Pearson's statistic of the draws against softmax of `of` over the kept ids; a draw outside them fails. With 7 degrees of
   freedom it exceeds 24.3 once in a thousand seeds; the seeds here are fixed. */
static void expect_counts(const double counts[VOCAB], lariat_sampling settings, const double of[VOCAB], const int keep[VOCAB])
{
    double sum = 0, statistic = 0;

    for (int i = 0; i < VOCAB; i++) {
        sum += keep[i] ? exp(of[i] / (double)settings.temperature) : 0;
    }
    for (int i = 0; i < VOCAB; i++) {
        if (!keep[i]) {
            assert_int_equal((int)counts[i], 0);
            continue;
        }
        double expected = (double)DRAWS * exp(of[i] / (double)settings.temperature) / sum;
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    assert_true(statistic < 24.3);
}

static void expect_softmax_over(lariat_sampling settings, const int keep[VOCAB])
{
    double counts[VOCAB], of[VOCAB];

    for (int i = 0; i < VOCAB; i++) {
        of[i] = (double)logits[i];
    }
    count_draws_behind(settings, NULL, 0, counts);
    expect_counts(counts, settings, of, keep);
}

static void draws_follow_softmax_at_the_temperature(void **state)
{
    (void)state;
    const int all[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1};
    const float temperatures[] = {0.5f, 1.0f, 3.0f};

    for (size_t i = 0; i < 3; i++) {
        expect_softmax_over((lariat_sampling){.temperature = temperatures[i], .top_p = 1, .seed = 11 + i}, all);
    }
}

static void top_k_keeps_the_k_likeliest_and_the_lower_id_of_equals(void **state)
{
    (void)state;
    const int one[VOCAB] = {0, 1, 0, 0, 0, 0, 0, 0}, three[VOCAB] = {0, 1, 0, 0, 1, 0, 0, 1};
    const int all[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1};

    expect_softmax_over((lariat_sampling){.temperature = 1, .top_k = 1, .top_p = 1, .seed = 1}, one);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_k = 3, .top_p = 1, .seed = 2}, three);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_k = VOCAB, .top_p = 1, .seed = 3}, all);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_k = 1000, .top_p = 1, .seed = 4}, all);
}

/* In order: ids 1 and 4 with e^2, 7 with e^1.5, 2 with e^1, ... of a sum of 25.05: shares 0.295, 0.295, 0.179, ... */
static void top_p_keeps_the_smallest_set_that_reaches_p(void **state)
{
    (void)state;
    const int one[VOCAB] = {0, 1, 0, 0, 0, 0, 0, 0}, two[VOCAB] = {0, 1, 0, 0, 1, 0, 0, 0};
    const int three[VOCAB] = {0, 1, 0, 0, 1, 0, 0, 1}, all[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1};

    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 0, .seed = 5}, one);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 0.2f, .seed = 5}, one);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 0.58f, .seed = 6}, two);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 0.60f, .seed = 7}, three);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 1, .seed = 8}, all);
}

/* exp(1.5 - 2) is 0.607, exp(1 - 2) is 0.368. */
static void min_p_keeps_those_as_likely_as_its_share_of_the_best(void **state)
{
    (void)state;
    const int two[VOCAB] = {0, 1, 0, 0, 1, 0, 0, 0}, three[VOCAB] = {0, 1, 0, 0, 1, 0, 0, 1},
              four[VOCAB] = {0, 1, 1, 0, 1, 0, 0, 1};

    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 1, .min_p = 1, .seed = 9}, two);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 1, .min_p = 0.6f, .seed = 10}, three);
    expect_softmax_over((lariat_sampling){.temperature = 1, .top_p = 1, .min_p = 0.36f, .seed = 11}, four);
}

static void temperature_zero_takes_the_largest_and_the_lowest_id_of_equals(void **state)
{
    (void)state;
    lariat_sampler *s = open_sampler((lariat_sampling){.temperature = 0, .top_k = 5, .top_p = 0.1f, .seed = 3}, VOCAB);

    for (int i = 0; i < 100; i++) {
        int32_t id;
        assert_int_equal(lariat_sample(s, logits, &id), LARIAT_OK);
        assert_int_equal(id, 1);
    }
    lariat_sampler_close(s);
}

static void one_seed_gives_one_text_and_another_seed_another(void **state)
{
    (void)state;
    int same = 0;
    lariat_sampler *a = open_sampler((lariat_sampling){.temperature = 2, .top_p = 1, .seed = 42}, VOCAB);
    lariat_sampler *b = open_sampler((lariat_sampling){.temperature = 2, .top_p = 1, .seed = 42}, VOCAB);
    lariat_sampler *c = open_sampler((lariat_sampling){.temperature = 2, .top_p = 1, .seed = 43}, VOCAB);

    for (int i = 0; i < 200; i++) {
        int32_t x, y, z;
        assert_int_equal(lariat_sample(a, logits, &x), LARIAT_OK);
        assert_int_equal(lariat_sample(b, logits, &y), LARIAT_OK);
        assert_int_equal(lariat_sample(c, logits, &z), LARIAT_OK);
        assert_int_equal(x, y);
        same += x == z;
    }
    assert_true(same < 150);
    lariat_sampler_close(a);
    lariat_sampler_close(b);
    lariat_sampler_close(c);
}

/* What is kept of a whole vocabulary is what a sort of all of it would keep. */
static void a_large_vocabulary_is_cut_where_a_full_sort_would_cut_it(void **state)
{
    (void)state;
    float *many = malloc(LARGE * sizeof *many);
    assert_non_null(many);
    for (int i = 0; i < LARGE; i++) {
        many[i] = (float)((i * 7919) % LARGE) * 1e-4f; /* a permutation of evenly spaced values: 7919 is prime to the size */
    }
    lariat_sampler *s = open_sampler((lariat_sampling){.temperature = 1, .top_k = 1000, .top_p = 1, .seed = 7}, LARGE);
    lariat_sampler *p = open_sampler((lariat_sampling){.temperature = 1, .top_p = 0.5f, .seed = 7}, LARGE);
    /* Of exp(rank / 10000), the last ones that make half of the sum: ranks from 10000 ln((1 + e^5) / 2) on. */
    double half = 1e4 * log((1 + exp(5)) / 2);
    for (int i = 0; i < 2000; i++) {
        int32_t id;
        assert_int_equal(lariat_sample(s, many, &id), LARIAT_OK);
        assert_true((id * 7919LL) % LARGE >= LARGE - 1000);
        assert_int_equal(lariat_sample(p, many, &id), LARIAT_OK);
        assert_true((double)((id * 7919LL) % LARGE) >= half - 2);
    }
    lariat_sampler_close(s);
    lariat_sampler_close(p);
    free(many);
}

static void a_vocabulary_of_one_is_always_drawn(void **state)
{
    (void)state;
    const lariat_sampling settings[] = {{.temperature = 0},
                                        {.temperature = 1, .top_p = 1},
                                        {.temperature = 1, .top_k = 1, .top_p = 0},
                                        {.temperature = 1, .top_p = 0.5f, .min_p = 1}};
    const float one[] = {-4.0f};

    for (size_t i = 0; i < 4; i++) {
        lariat_sampler *s = open_sampler(settings[i], 1);
        int32_t id = -1;
        assert_int_equal(lariat_sample(s, one, &id), LARIAT_OK);
        assert_int_equal(id, 0);
        lariat_sampler_close(s);
    }
}

static void extreme_but_finite_logits_are_drawn_from(void **state)
{
    (void)state;
    const float far[] = {-3e38f, 3e38f, 0};
    lariat_sampler *s = open_sampler((lariat_sampling){.temperature = 1e-3f, .top_p = 1, .seed = 1}, 3);

    for (int i = 0; i < 1000; i++) {
        int32_t id;
        assert_int_equal(lariat_sample(s, far, &id), LARIAT_OK);
        assert_int_equal(id, 1);
    }
    lariat_sampler_close(s);
}

static void logits_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const float temperatures[] = {0, 1};

    for (size_t t = 0; t < 2; t++) {
        lariat_sampler *s = open_sampler((lariat_sampling){.temperature = temperatures[t], .top_p = 1}, VOCAB);
        for (size_t i = 0; i < 3; i++) {
            float broken[VOCAB];
            int32_t id;
            memcpy(broken, logits, sizeof broken);
            broken[VOCAB - 1] = bad[i];
            assert_int_equal(lariat_sample(s, broken, &id), LARIAT_FAILED);
            assert_non_null(strstr(lariat_error(), "not finite"));
        }
        lariat_sampler_close(s);
    }
}

/* Pearson's statistic of `n` draws over 64 equal cells: beyond 103.4 once in a thousand seeds; the seeds here are fixed. */
static void expect_even(const int cells[64], int n)
{
    double statistic = 0, expected = n / 64.0;

    for (int i = 0; i < 64; i++) {
        statistic += (cells[i] - expected) * (cells[i] - expected) / expected;
    }
    assert_true(statistic < 103.4);
}

/* Over 10,000 streams of one seed: the first draws; pairs of first and second ones; and pairs of neighbours' first ones, for
   streams by number and by number of numbers, as samples of lines have them. */
static void streams_of_a_seed_are_independent(void **state)
{
    (void)state;
    enum { STREAMS = 10000, EQUAL = 8 };
    static const float even[EQUAL * EQUAL];
    const uint64_t seeds[] = {0, 1, 42, UINT64_MAX};

    for (size_t k = 0; k < 8; k++) {
        int first[64] = {0}, both[64] = {0}, neighbours[64] = {0};
        int32_t before = 0;
        for (uint64_t i = 0; i < STREAMS; i++) {
            int32_t a, b;
            uint64_t seed = lariat_seed_of(seeds[k % 4], k < 4 ? i : i / 4);
            seed = k < 4 || i % 4 == 0 ? seed : lariat_seed_of(seed, i % 4);
            lariat_sampler *s = open_sampler((lariat_sampling){.temperature = 1, .top_p = 1, .seed = seed}, 64);
            assert_int_equal(lariat_sample(s, even, &a), LARIAT_OK);
            assert_int_equal(lariat_sample(s, even, &b), LARIAT_OK);
            first[a]++;
            both[a / EQUAL * EQUAL + b / EQUAL]++;
            neighbours[a / EQUAL * EQUAL + before / EQUAL]++;
            before = a;
            lariat_sampler_close(s);
        }
        expect_even(first, STREAMS);
        expect_even(both, STREAMS);
        expect_even(neighbours, STREAMS);
    }
}

/* --- changes of the logits --- */

static void a_bias_is_added_to_the_logit_of_its_token(void **state)
{
    (void)state;
    const int all[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1}, without[VOCAB] = {1, 0, 1, 1, 1, 1, 1, 1};
    lariat_bias bias[] = {{5, 4.5f}, {7, -1.25f}, {5, 0.5f}, {1, 0}};
    double counts[VOCAB], of[VOCAB];
    lariat_sampling settings = {.temperature = 1.5f, .top_p = 1, .seed = 20, .bias = bias, .n_bias = 4};

    for (int i = 0; i < VOCAB; i++) {
        of[i] = (double)logits[i] + (i == 5 ? 5 : i == 7 ? -1.25 : 0);
    }
    count_draws_behind(settings, NULL, 0, counts);
    expect_counts(counts, settings, of, all);
    bias[3].bias = -100; /* never */
    count_draws_behind(settings, NULL, 0, counts);
    expect_counts(counts, settings, of, without);
}

static void repeats_in_the_last_64_tokens_are_divided_or_multiplied_once(void **state)
{
    (void)state;
    const int all[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1};
    int32_t ids[LARIAT_REPEAT_WINDOW + 1] = {1};
    double counts[VOCAB], of[VOCAB];
    lariat_sampling settings = {.temperature = 1, .top_p = 1, .seed = 21, .repeat = 1.6f};

    for (int i = 1; i <= LARIAT_REPEAT_WINDOW; i++) {
        ids[i] = i % 2 ? 3 : 4;
    }
    for (int i = 0; i < VOCAB; i++) {
        of[i] = (double)logits[i] * (i == 3 ? (double)1.6f : 1) / (i == 4 ? (double)1.6f : 1);
    }
    count_draws_behind(settings, ids, LARIAT_REPEAT_WINDOW + 1, counts); /* token 1 is too long ago */
    expect_counts(counts, settings, of, all);
    of[1] /= (double)1.6f;
    count_draws_behind(settings, ids, LARIAT_REPEAT_WINDOW, counts);
    expect_counts(counts, settings, of, all);
}

/* The likeliest token of logits[i] - frequency c[i] - presence [c[i] > 0], over and over. */
static void frequency_and_presence_count_the_tokens_of_the_reply(void **state)
{
    (void)state;
    const float pairs[][2] = {{0.25f, 0}, {0, 0.75f}, {0.125f, 0.5f}, {-0.5f, 0}, {2, 2}};
    const int32_t prompt[] = {1, 1, 1, 4, 4};

    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        lariat_sampling settings = {.top_p = 1, .frequency = pairs[k][0], .presence = pairs[k][1]};
        lariat_sampler *s = open_sampler(settings, VOCAB);
        for (int reply = 0; reply < 2; reply++) {
            int counts[VOCAB] = {0};
            lariat_sampler_begin(s, prompt, 5);
            for (int i = 0; i < 200; i++) {
                int32_t id, best = 0;
                float of[VOCAB];
                for (int j = 0; j < VOCAB; j++) {
                    of[j] = logits[j] - (float)counts[j] * pairs[k][0] - (counts[j] ? pairs[k][1] : 0);
                    best = of[j] > of[best] ? j : best;
                }
                assert_int_equal(lariat_sample(s, logits, &id), LARIAT_OK);
                assert_int_equal(id, best);
                counts[id]++;
            }
        }
        lariat_sampler_close(s);
    }
}

static void settings_out_of_range_are_refused(void **state)
{
    (void)state;
    static const lariat_bias beyond = {VOCAB, 1}, negative = {-1, 1}, large = {1, 100.5f}, none = {1, NAN};
    const lariat_sampling bad[] = {{.top_p = 1, .bias = &beyond, .n_bias = 1},
                                   {.top_p = 1, .bias = &negative, .n_bias = 1},
                                   {.top_p = 1, .bias = &large, .n_bias = 1},
                                   {.top_p = 1, .bias = &none, .n_bias = 1},
                                   {.top_p = 1, .repeat = -1},
                                   {.top_p = 1, .repeat = NAN},
                                   {.top_p = 1, .frequency = 2.5f},
                                   {.top_p = 1, .presence = NAN},
                                   {.temperature = -1, .top_p = 1},
                                   {.temperature = NAN, .top_p = 1},
                                   {.temperature = INFINITY, .top_p = 1},
                                   {.temperature = 1, .top_k = -1, .top_p = 1},
                                   {.temperature = 1, .top_p = 1.5f},
                                   {.temperature = 1, .top_p = NAN},
                                   {.temperature = 1, .top_p = 1, .min_p = -0.1f}};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lariat_sampler *s;
        assert_int_equal(lariat_sampler_open(&bad[i], VOCAB, &s), LARIAT_BAD_ARGUMENT);
        assert_null(s);
    }
    lariat_sampler *s;
    assert_int_equal(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, 0, &s), LARIAT_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_softmax_at_the_temperature),
        cmocka_unit_test(top_k_keeps_the_k_likeliest_and_the_lower_id_of_equals),
        cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_p),
        cmocka_unit_test(min_p_keeps_those_as_likely_as_its_share_of_the_best),
        cmocka_unit_test(temperature_zero_takes_the_largest_and_the_lowest_id_of_equals),
        cmocka_unit_test(one_seed_gives_one_text_and_another_seed_another),
        cmocka_unit_test(a_large_vocabulary_is_cut_where_a_full_sort_would_cut_it),
        cmocka_unit_test(a_vocabulary_of_one_is_always_drawn),
        cmocka_unit_test(extreme_but_finite_logits_are_drawn_from),
        cmocka_unit_test(logits_that_are_not_finite_are_refused),
        cmocka_unit_test(streams_of_a_seed_are_independent),
        cmocka_unit_test(a_bias_is_added_to_the_logit_of_its_token),
        cmocka_unit_test(repeats_in_the_last_64_tokens_are_divided_or_multiplied_once),
        cmocka_unit_test(frequency_and_presence_count_the_tokens_of_the_reply),
        cmocka_unit_test(settings_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
