/* Log-probabilities beside the logits that the same passes give, and beside the oracle's. On CPUs in each layout, and on cards,
   which have a pass when it is submitted.
   Rests on support/played_gpu.h and support/oracle.h. What is expected is computed here in long double. */
#include "lariat/lariat.h"
#include "model/head.h"
#include "support/oracle.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SESSIONS = HEAD_GATHERED + 2, ROUNDS = 3, CAPACITY = 16, RANKS_MOST = 8, VOCAB_MOST = 2048, PLACES = 6 };

static int32_t ranks; /* of all engines: all tests run on every ring */

/* --- what is expected --- */

static const float *sorted; /* the row whose ids are compared */

static int by_logit(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, k = *(const int32_t *)b;

    return sorted[i] > sorted[k] ? -1 : sorted[i] < sorted[k] ? 1 : i < k ? -1 : 1;
}

static void sort_ids(const float *logits, int32_t vocab, int32_t ids[])
{
    for (int32_t i = 0; i < vocab; i++) {
        ids[i] = i;
    }
    sorted = logits;
    qsort(ids, (size_t)vocab, sizeof *ids, by_logit);
}

/* ln of the sum of exp(logit): what a logit is above its log-probability. */
static double log_sum(const float *logits, int32_t vocab)
{
    long double sum = expl((long double)logits[0]);

    for (int32_t i = 1; i < vocab; i++) {
        sum += expl((long double)logits[i]);
    }
    return (double)logl(sum);
}

static void assert_near(double a, double b, double bound)
{
    if (!(fabs(a - b) <= bound)) {
        fail_msg("%.9g and %.9g are further apart than %.1e", a, b, bound);
    }
}

/* As near as the type of the result allows, and this bound. */
static void assert_rounded(float a, double b, double bound)
{
    assert_near((double)a, b, (double)FLT_EPSILON * fabs(b) + bound);
}

/* --- engines and passes --- */

typedef struct trial {
    lariat_engine *engine;
    int32_t vocab;
    lariat_session *sessions[SESSIONS];
    lariat_sampler *samplers[SESSIONS];
    lariat_result results[SESSIONS];
} trial;

/* `where`: 0 to 2 CPUs in each layout, 3 to 5 cards. */
static trial *open_trial(int where)
{
    trial *t = calloc(1, sizeof *t);
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    lariat_options o = {.device = where < 3 ? LARIAT_DEVICE_CPU : LARIAT_DEVICE_CUDA,
                        .dtype = LARIAT_DTYPE_F32,
                        .ranks = ranks,
                        .threads = ranks,
                        .chunk = 64,
                        .context = SESSIONS * (CAPACITY + 128),
                        .sessions = SESSIONS,
                        .layout = (lariat_layout)(where % 3)};

    assert_non_null(t);
    assert_non_null(path);
    t->engine = open_or_fail(path, o);
    free(path);
    t->vocab = lariat_engine_model(t->engine)->vocab;
    assert_in_range(t->vocab, 1, VOCAB_MOST);
    for (int i = 0; i < SESSIONS; i++) {
        lariat_sampling setting = {.temperature = i % 2 ? 1.5f : 0, .top_p = 1, .seed = (uint64_t)i};
        assert_int_equal(lariat_session_open(t->engine, CAPACITY, &t->sessions[i]), LARIAT_OK);
        assert_int_equal(lariat_sampler_open(&setting, t->vocab, &t->samplers[i]), LARIAT_OK);
    }
    return t;
}

static void close_trial(trial *t)
{
    for (int i = 0; i < SESSIONS; i++) {
        lariat_session_close(t->sessions[i]);
        lariat_sampler_close(t->samplers[i]);
    }
    assert_int_equal(lariat_engine_close(t->engine), LARIAT_OK);
    free(t);
}

static int32_t n_top_of(int i)
{
    static const int32_t counts[] = {LARIAT_TOP_MAX, 0, 1, 5};

    return counts[i % 4];
}

/* NULL: the token that the newest pass chooses. */
static lariat_work work_of(trial *t, int i, const int32_t *tokens, int64_t count)
{
    return (lariat_work){.session = t->sessions[i], .tokens = tokens, .count = count, .sampler = t->samplers[i],
                         .n_top = n_top_of(i)};
}

static const int32_t prompt[] = {7, 300, 12};

static void submit(trial *t, int n, bool prompts)
{
    lariat_work work[SESSIONS];

    for (int i = 0; i < n; i++) {
        work[i] = work_of(t, i, prompts ? prompt : NULL, prompts ? 1 + i % 3 : 1);
    }
    assert_int_equal(lariat_submit(t->engine, work, n), LARIAT_OK);
}

static void collect(trial *t, int n)
{
    int32_t collected;

    assert_int_equal(lariat_collect(t->engine, t->results, SESSIONS, &collected), LARIAT_OK);
    assert_int_equal(collected, n);
}

/* The logits of a pass of the same tokens. */
static void give_logits(trial *t, int n, int round, const int32_t chosen[SESSIONS], float logits[SESSIONS][VOCAB_MOST])
{
    lariat_work work[SESSIONS];

    for (int i = 0; i < n; i++) {
        work[i] = (lariat_work){.session = t->sessions[i], .tokens = round ? &chosen[i] : prompt,
                                .count = round ? 1 : 1 + i % 3, .n_logits = 1, .logits = logits[i]};
    }
    assert_int_equal(lariat_submit(t->engine, work, n), LARIAT_OK);
    collect(t, n);
    assert_int_equal(t->results[0].status, LARIAT_OK);
}

/* `exact`: the logits are the same to the bit. */
static void assert_result(const lariat_result *r, int32_t n_top, const float *logits, int32_t vocab, bool exact)
{
    double bound = exact ? 1e-9 : 1e-3, above = log_sum(logits, vocab), sum = 0;
    int32_t ids[VOCAB_MOST] = {0};

    assert_int_equal(r->status, LARIAT_OK);
    assert_in_range(r->token, 0, vocab - 1);
    if (n_top == 0) {
        assert_null(r->top);
        assert_true(r->logprob == 0);
        return;
    }
    sort_ids(logits, vocab, ids);
    assert_rounded(r->logprob, (double)logits[r->token] - above, bound);
    for (int32_t i = 0; i < n_top; i++) {
        assert_true(!exact || r->top[i].token == ids[i]);
        assert_rounded(r->top[i].logprob, (double)logits[ids[i]] - above, bound); /* also where close ones swap */
        assert_rounded(r->top[i].logprob, (double)logits[r->top[i].token] - above, bound);
        sum += exp((double)r->top[i].logprob);
    }
    assert_true(sum > 0 && sum < 1 + 1e-6);
}

/* --- the tests --- */

/* The next pass goes on from this one before this one's results are seen, and leaves them as they are. More sessions than a
   block of the head has have their tokens chosen in two, which rounds otherwise than the one block of their logits. */
static void check_beside_logits(int where, int n)
{
    static float logits[SESSIONS][VOCAB_MOST];
    trial *asked = open_trial(where), *given = open_trial(where);
    int32_t chosen[SESSIONS];

    submit(asked, n, true);
    for (int round = 0; round < ROUNDS; round++) {
        submit(asked, n, false);
        collect(asked, n);
        give_logits(given, n, round, chosen, logits);
        for (int i = 0; i < n; i++) {
            assert_result(&asked->results[i], n_top_of(i), logits[i], asked->vocab, n <= HEAD_GATHERED);
            chosen[i] = asked->results[i].token;
        }
    }
    collect(asked, n);
    close_trial(asked);
    close_trial(given);
}

static void top_is_the_head_of_the_sorted_logits_and_all_are_of_their_softmax(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        check_beside_logits(where, HEAD_GATHERED);
        check_beside_logits(where, SESSIONS);
    }
}

typedef struct told {
    const trial *of;
    lariat_result results[ROUNDS][SESSIONS];
    lariat_top tops[ROUNDS][SESSIONS][LARIAT_TOP_MAX];
    int counts[SESSIONS];
} told;

static bool compare(void *user, int32_t item, int32_t token)
{
    told *expected = user;
    int round = expected->counts[item]++;
    const lariat_result *r = &expected->results[round][item];
    float logprob;
    const lariat_top *top = lariat_session_top(expected->of->sessions[item], &logprob);

    assert_int_equal(token, r->token);
    assert_true(logprob == r->logprob);
    assert_int_equal(top != NULL, n_top_of(item) > 0);
    for (int k = 0; k < n_top_of(item); k++) {
        assert_int_equal(top[k].token, expected->tops[round][item][k].token);
        assert_true(top[k].logprob == expected->tops[round][item][k].logprob);
    }
    return true;
}

/* The same passes, by calls that have no results. */
static void generate_gives_the_probabilities_of_its_tokens(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        trial *asked = open_trial(where), *generating = open_trial(where);
        told *expected = calloc(1, sizeof *expected);
        lariat_reply replies[SESSIONS];
        assert_non_null(expected);
        expected->of = generating;
        for (int round = 0; round < ROUNDS; round++) {
            submit(asked, SESSIONS, round == 0);
            collect(asked, SESSIONS);
            memcpy(expected->results[round], asked->results, sizeof asked->results);
            for (int i = 0; i < SESSIONS; i++) {
                for (int k = 0; k < n_top_of(i); k++) {
                    expected->tops[round][i][k] = asked->results[i].top[k];
                }
            }
        }
        for (int i = 0; i < SESSIONS; i++) {
            replies[i] = (lariat_reply){.session = generating->sessions[i], .tokens = prompt, .count = 1 + i % 3,
                                        .sampler = generating->samplers[i], .most = ROUNDS, .n_top = n_top_of(i)};
        }
        assert_int_equal(lariat_generate(generating->engine, replies, SESSIONS, compare, expected), LARIAT_OK);
        assert_int_equal(expected->counts[SESSIONS - 1], ROUNDS);
        free(expected);
        close_trial(asked);
        close_trial(generating);
    }
}

static void check_case(const oracle *o, const oracle_case *c, lariat_engine *e)
{
    const float *expected = c->logits + (c->rows - 1) * o->vocab;
    int32_t ids[VOCAB_MOST] = {0}, vocab = (int32_t)o->vocab, n;
    double bound = 2 * BOUND_F32 * c->deviation; /* of a logit and of the sum */
    double above = log_sum(expected, vocab);
    lariat_sampler *greedy;
    lariat_session *s;
    lariat_result r;

    assert_int_equal(lariat_session_open(e, c->length, &s), LARIAT_OK);
    assert_int_equal(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, vocab, &greedy), LARIAT_OK);
    lariat_work work = {.session = s, .tokens = c->tokens, .count = c->length, .sampler = greedy, .n_top = LARIAT_TOP_MAX};
    assert_int_equal(lariat_submit(e, &work, 1), LARIAT_OK);
    assert_int_equal(lariat_collect(e, &r, 1, &n), LARIAT_OK);
    sort_ids(expected, vocab, ids);
    assert_int_equal(r.token, r.top[0].token);
    assert_true(r.logprob == r.top[0].logprob);
    for (int32_t i = 0; i < LARIAT_TOP_MAX; i++) {
        assert_rounded(r.top[i].logprob, (double)expected[ids[i]] - above, bound);
        assert_rounded(r.top[i].logprob, (double)expected[r.top[i].token] - above, bound);
    }
    lariat_sampler_close(greedy);
    lariat_session_close(s);
}

static void every_ring_gives_the_oracle_s_probabilities(void **state)
{
    (void)state;
    for (size_t m = 0; m < REFERENCE_MODELS; m++) {
        reference r;
        reference_open(&r, reference_names[m]);
        lariat_options o = {.ranks = ranks, .threads = ranks, .chunk = 300, .context = 1100, .kv = LARIAT_KV_F32};
        lariat_engine *e = open_or_fail(r.folder, o);
        for (int i = 0; i < r.said.n; i++) {
            if (r.said.cases[i].length <= (TEST_QUICK ? 64 : 257)) {
                check_case(&r.said, &r.said.cases[i], e);
            }
        }
        assert_int_equal(lariat_engine_close(e), LARIAT_OK);
        reference_close(&r);
    }
}

static void a_pass_that_is_taken_back_has_none(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        static const int32_t token = 5;
        trial *t = open_trial(where);
        lariat_work work = work_of(t, 0, &token, 1);
        assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
        assert_int_equal(lariat_session_rewind(t->sessions[0], 0), LARIAT_OK);
        collect(t, 1);
        assert_int_equal(t->results[0].status, LARIAT_CANCELLED);
        assert_null(t->results[0].top);
        assert_true(t->results[0].logprob == 0);
        close_trial(t);
    }
}

static void assert_refused(trial *t, const lariat_work *work, const char *reason)
{
    assert_int_equal(lariat_submit(t->engine, work, 1), LARIAT_BAD_ARGUMENT);
    assert_string_equal(lariat_error(), reason);
    assert_int_equal(lariat_session_length(work->session), 0);
}

static void what_cannot_be_given_is_refused_by_name(void **state)
{
    static const int32_t token = 5;
    trial *t = open_trial(0);
    lariat_work work = work_of(t, 0, &token, 1);

    (void)state;
    work.n_top = LARIAT_TOP_MAX + 1;
    assert_refused(t, &work, "work: item 0 wants the 21 most probable tokens, ask for 0 to 20");
    work.n_top = -1;
    assert_refused(t, &work, "work: item 0 wants the -1 most probable tokens, ask for 0 to 20");
    work.n_top = 3;
    work.sampler = NULL;
    assert_refused(t, &work, "work: item 0 wants the 3 most probable tokens, listed beside a chosen one, and has no sampler: "
                             "name one");
    close_trial(t);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_is_the_head_of_the_sorted_logits_and_all_are_of_their_softmax),
        cmocka_unit_test(every_ring_gives_the_oracle_s_probabilities),
        cmocka_unit_test(generate_gives_the_probabilities_of_its_tokens),
        cmocka_unit_test(a_pass_that_is_taken_back_has_none),
        cmocka_unit_test(what_cannot_be_given_is_refused_by_name),
    };
    int failed = 0;

    play_gpus();
    for (ranks = 1; ranks <= RANKS_MOST; ranks = next_ring(ranks)) {
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
