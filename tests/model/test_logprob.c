/* Log-probabilities of one row: what must hold of any softmax, on rows that are hard for one. */
#include "model/logprob.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { VOCAB = LARIAT_TOP_MAX };

static double sum_of(const pass_logprob *p)
{
    double sum = 0;

    for (int32_t i = 0; i < p->n_top; i++) {
        sum += exp((double)p->top[i].logprob);
    }
    return sum;
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-6)) {
        fail_msg("%.9g is not %.9g", a, b);
    }
}

static void all_probabilities_sum_to_one_however_large_the_logits_are(void **state)
{
    static const float offsets[] = {0, 1e4f, -1e4f, 3e38f, -3e38f};

    (void)state;
    for (size_t k = 0; k < sizeof offsets / sizeof *offsets; k++) {
        float logits[VOCAB];
        pass_logprob p = {.n_top = VOCAB};
        for (int i = 0; i < VOCAB; i++) {
            logits[i] = offsets[k] + (float)(i * 7 % VOCAB) / 4;
        }
        logprob_row(logits, VOCAB, 3, &p);
        assert_near(sum_of(&p), 1);
        for (int i = 0; i < VOCAB; i++) {
            assert_true(i == 0 || logits[p.top[i].token] <= logits[p.top[i - 1].token]);
            assert_true(p.top[i].token != 3 || p.top[i].logprob == p.logprob);
        }
    }
}

static void equal_logits_come_by_their_ids(void **state)
{
    const float logits[6] = {1, -0.0f, 0, 1, 0, -2};
    static const int32_t expected[6] = {0, 3, 1, 2, 4, 5};
    pass_logprob p = {.n_top = 6};

    (void)state;
    logprob_row(logits, 6, 5, &p);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(p.top[i].token, expected[i]);
    }
    assert_near((double)p.logprob, -2 - log(2 * exp(1) + 3 + exp(-2)));
}

static void a_token_without_a_chance_has_a_finite_number(void **state)
{
    const float logits[3] = {3e38f, -3e38f, 0};
    pass_logprob p = {.n_top = 1};

    (void)state;
    logprob_row(logits, 3, 2, &p);
    assert_int_equal(p.top[0].token, 0);
    assert_true(p.top[0].logprob == 0 && isfinite(p.logprob));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_probabilities_sum_to_one_however_large_the_logits_are),
        cmocka_unit_test(equal_logits_come_by_their_ids),
        cmocka_unit_test(a_token_without_a_chance_has_a_finite_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
