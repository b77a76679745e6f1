/* The choice of a token on a card: exactly the CPU's, for every setting, over small and large vocabularies, ties, logits that
   are not finite, and rows that stand apart.
   Rests on card.h and device/sample_cases.h. An argument is a pattern of tests to leave out. */
#include "cuda/card.h"

#include "device/sample_cases.h"

static const int64_t vocabs[] = {1, 7, 31, 1024, 1025, 32000, 128256, 262144};
enum { VOCABS = sizeof vocabs / sizeof *vocabs, ROWS = 5, ROUNDS = 90 };

static void check_rows(device *dev, int64_t vocab, int64_t ld, const float *logits, const sample_setting *settings)
{
    int32_t got[ROWS + 1] = {[ROWS] = 77}, *tokens = sent(dev, got, sizeof got);
    void *on_card = sent(dev, logits, (size_t)(ROWS * ld) * sizeof *logits);
    void *with = sent(dev, settings, ROWS * sizeof *settings);

    dev->ops->sample(dev, tokens, on_card, ld, ROWS, vocab, with);
    dev->ops->download(dev, got, tokens, sizeof got);
    must(dev->ops->finish(dev));
    for (int t = 0; t < ROWS; t++) {
        const sample_setting *s = &settings[t];
        int32_t want = cpu_sample_row(logits + t * ld, vocab, s);
        if (got[t] != want) {
            fail_msg(
                "vocabulary of %lld, row %d, temperature %g, top-k %d, top-p %g, min-p %g, number %.17g: token %d, wanted %d",
                (long long)vocab, t, (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, s->uniform, got[t],
                want);
        }
    }
    assert_int_equal(got[ROWS], 77); /* as it was */
    dev->ops->release(dev, tokens, sizeof got);
    dev->ops->release(dev, with, ROWS * sizeof *settings);
    dev->ops->release(dev, on_card, (size_t)(ROWS * ld) * sizeof *logits);
}

/* Rows of all shapes of logits, ld apart with NaN between them. */
static float *make_rows(int64_t vocab, int64_t ld, int first)
{
    float *logits = malloc((size_t)(ROWS * ld) * sizeof *logits);

    assert_non_null(logits);
    for (int t = 0; t < ROWS; t++) {
        sample_row(logits + t * ld, vocab, (logit_shape)((t + first) % LOGIT_SHAPES));
        for (int64_t k = vocab; k < ld; k++) {
            logits[t * ld + k] = NAN;
        }
    }
    return logits;
}

static void every_setting_chooses_the_token_that_the_cpu_chooses(void **state)
{
    (void)state;
    random_state = 1;
    for (int v = 0; v < VOCABS; v++) {
        for (int round = 0; round < ROUNDS; round++) {
            int64_t ld = vocabs[v] + round % 4;
            float *logits = make_rows(vocabs[v], ld, round);
            sample_setting settings[ROWS];
            for (int t = 0; t < ROWS; t++) { /* all of them, over the rounds */
                settings[t] = sample_case((round * ROWS + t) % SAMPLE_SETTINGS);
            }
            check_rows(cards[v % ACTS], vocabs[v], ld, logits, settings);
            free(logits);
        }
    }
}

static void what_is_not_finite_gives_no_token(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};

    random_state = 2;
    for (int v = 0; v < VOCABS; v++) {
        for (int round = 0; round < 12; round++) {
            float *logits = make_rows(vocabs[v], vocabs[v], round);
            sample_setting settings[ROWS];
            for (int t = 0; t < ROWS; t++) {
                settings[t] = sample_case((int)(random_bits() % SAMPLE_SETTINGS));
                if (t % 2 == 0) { /* its neighbours stay as they are */
                    logits[t * vocabs[v] + (int64_t)random_bits() % vocabs[v]] = bad[(round + t) % 4];
                }
            }
            check_rows(cards[0], vocabs[v], vocabs[v], logits, settings);
            free(logits);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_chooses_the_token_that_the_cpu_chooses),
        cmocka_unit_test(what_is_not_finite_gives_no_token),
    };
    int status = open_cards();

    if (status) {
        return status;
    }
    if (argc > 1) {
        cmocka_set_skip_filter(argv[1]);
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_cards();
    return failed;
}
