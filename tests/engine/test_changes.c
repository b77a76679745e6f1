/* Samplers that change logits: in every ring, layout and order of calls they choose as lariat_sample does from the logits that
   the same passes give. On CPUs in each layout, and on cards, where ranks have a pass when it is submitted.
   Rests on support/played_gpu.h and on test_sample.c, which holds lariat_sample against the definitions. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SESSIONS = 4, ROUNDS = 6, CAPACITY = 32, RANKS_MOST = 4, PLACES = 6, PROMPT = 3 };

static int32_t ranks; /* of all engines: all tests run on every ring */

static const int32_t prompt[PROMPT] = {7, 300, 12};

/* Session 1 has a plain sampler, whose tokens ranks choose, between those whose tokens the host does. */
static lariat_sampling setting_of(int i)
{
    static const lariat_bias bias[] = {{7, 3}, {12, -100}};
    lariat_sampling s = {.temperature = i % 2 ? 1.5f : 0, .top_p = 1, .seed = (uint64_t)i};

    if (i != 1) {
        s.repeat = i == 0 ? 1.3f : 0;
        s.frequency = i == 2 ? -2 : 1;
        s.presence = 0.5f;
        s.bias = bias;
        s.n_bias = i == 3 ? 2 : 0;
    }
    return s;
}

typedef struct trial {
    lariat_engine *engine;
    int32_t vocab;
    lariat_session *sessions[SESSIONS];
    lariat_sampler *samplers[SESSIONS];
} trial;

/* `where`: 0 to 2 CPUs in each layout, 3 to 5 cards. */
static void open_trial(trial *t, int where)
{
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    lariat_options o = {.device = where < 3 ? LARIAT_DEVICE_CPU : LARIAT_DEVICE_CUDA,
                        .dtype = LARIAT_DTYPE_F32,
                        .ranks = ranks,
                        .threads = ranks,
                        .chunk = 64,
                        .context = SESSIONS * (CAPACITY + 128),
                        .sessions = SESSIONS,
                        .layout = (lariat_layout)(where % 3)};

    assert_non_null(path);
    t->engine = open_or_fail(path, o);
    free(path);
    t->vocab = lariat_engine_model(t->engine)->vocab;
    for (int i = 0; i < SESSIONS; i++) {
        lariat_sampling setting = setting_of(i);
        assert_int_equal(lariat_session_open(t->engine, CAPACITY, &t->sessions[i]), LARIAT_OK);
        assert_int_equal(lariat_sampler_open(&setting, t->vocab, &t->samplers[i]), LARIAT_OK);
        lariat_sampler_begin(t->samplers[i], prompt, PROMPT);
    }
}

static void close_trial(trial *t)
{
    for (int i = 0; i < SESSIONS; i++) {
        lariat_session_close(t->sessions[i]);
        lariat_sampler_close(t->samplers[i]);
    }
    assert_int_equal(lariat_engine_close(t->engine), LARIAT_OK);
}

typedef int32_t table[SESSIONS][ROUNDS];

/* What is expected: logits of every pass, and lariat_sample. */
static void sample_each(int where, table out)
{
    trial t;

    open_trial(&t, where);
    float *logits = malloc(SESSIONS * (size_t)t.vocab * sizeof *logits);
    assert_non_null(logits);
    for (int round = 0; round < ROUNDS; round++) {
        lariat_work work[SESSIONS];
        lariat_result results[SESSIONS];
        int32_t n;
        for (int i = 0; i < SESSIONS; i++) {
            work[i] = (lariat_work){.session = t.sessions[i], .tokens = round ? &out[i][round - 1] : prompt,
                                    .count = round ? 1 : PROMPT, .n_logits = 1, .logits = logits + i * t.vocab};
        }
        assert_int_equal(lariat_submit(t.engine, work, SESSIONS), LARIAT_OK);
        assert_int_equal(lariat_collect(t.engine, results, SESSIONS, &n), LARIAT_OK);
        for (int i = 0; i < SESSIONS; i++) {
            assert_int_equal(lariat_sample(t.samplers[i], logits + i * t.vocab, &out[i][round]), LARIAT_OK);
        }
    }
    free(logits);
    close_trial(&t);
}

static void submit(const trial *t, bool first)
{
    lariat_work work[SESSIONS];

    for (int i = 0; i < SESSIONS; i++) {
        work[i] = (lariat_work){.session = t->sessions[i], .tokens = first ? prompt : NULL, .count = first ? PROMPT : 1,
                                .sampler = t->samplers[i]};
    }
    assert_int_equal(lariat_submit(t->engine, work, SESSIONS), LARIAT_OK);
}

static void collect(const trial *t, lariat_status status, table expected, int round)
{
    lariat_result results[SESSIONS];
    int32_t n;

    assert_int_equal(lariat_collect(t->engine, results, SESSIONS, &n), LARIAT_OK);
    assert_int_equal(n, SESSIONS);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(results[i].status, status);
        if (status == LARIAT_OK) {
            assert_int_equal(results[i].token, expected[i][round]);
        }
    }
}

static void passes_under_way_choose_as_lariat_sample_does(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        trial t;
        table expected = {0};
        sample_each(where, expected);
        open_trial(&t, where);
        submit(&t, true);
        for (int round = 0; round < ROUNDS; round++) {
            submit(&t, false);
            collect(&t, LARIAT_OK, expected, round);
        }
        close_trial(&t);
    }
}

/* Both passes under way are taken back, in each order of the calls, and are made again. */
static void what_is_taken_back_counts_no_more(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        trial t;
        table expected = {0};
        sample_each(where, expected);
        open_trial(&t, where);
        submit(&t, true);
        for (int round = 0; round + 2 < ROUNDS; round++) {
            submit(&t, false);
            collect(&t, LARIAT_OK, expected, round);
            submit(&t, false);
            for (int i = 0; i < SESSIONS; i++) {
                assert_int_equal(lariat_session_rewind(t.sessions[i], PROMPT + round), LARIAT_OK);
            }
            collect(&t, LARIAT_CANCELLED, expected, 0);
            collect(&t, LARIAT_CANCELLED, expected, 0);
            submit(&t, false);
        }
        close_trial(&t);
    }
}

/* One session's part of a pass is taken back, the others' goes on; then it is made again alone. */
static void a_part_that_is_taken_back_counts_no_more(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        trial t;
        table expected = {0};
        sample_each(where, expected);
        open_trial(&t, where);
        submit(&t, true);
        collect(&t, LARIAT_OK, expected, 0);
        for (int round = 1; round < ROUNDS; round++) {
            const int back = round % 2 ? 0 : 2;
            const lariat_work again = {.session = t.sessions[back], .count = 1, .sampler = t.samplers[back]};
            lariat_result results[SESSIONS];
            int32_t n;
            submit(&t, false);
            assert_int_equal(lariat_session_rewind(again.session, PROMPT + round - 1), LARIAT_OK);
            assert_int_equal(lariat_collect(t.engine, results, SESSIONS, &n), LARIAT_OK);
            for (int i = 0; i < SESSIONS; i++) {
                bool is_back = i == back;
                assert_int_equal(results[i].status, is_back ? LARIAT_CANCELLED : LARIAT_OK);
                assert_int_equal(results[i].token, is_back ? -1 : expected[i][round]);
            }
            assert_int_equal(lariat_submit(t.engine, &again, 1), LARIAT_OK);
            assert_int_equal(lariat_collect(t.engine, results, SESSIONS, &n), LARIAT_OK);
            assert_int_equal(results[0].token, expected[back][round]);
        }
        close_trial(&t);
    }
}

typedef struct given {
    int32_t (*expected)[ROUNDS];
    int counts[SESSIONS];
} given;

static bool take(void *user, int32_t item, int32_t token)
{
    given *g = user;

    assert_int_equal(token, g->expected[item][g->counts[item]]);
    return ++g->counts[item] % 2 != 0; /* each call ends with the second token */
}

static void generate_goes_on_from_call_to_call(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        trial t;
        table expected = {0};
        given g = {.expected = expected};
        sample_each(where, expected);
        open_trial(&t, where);
        for (int at = 0; at < ROUNDS; at += 2) {
            lariat_reply replies[SESSIONS];
            for (int i = 0; i < SESSIONS; i++) {
                replies[i] = (lariat_reply){.session = t.sessions[i], .tokens = at ? &expected[i][at - 1] : prompt,
                                            .count = at ? 1 : PROMPT, .sampler = t.samplers[i], .most = ROUNDS};
            }
            assert_int_equal(lariat_generate(t.engine, replies, SESSIONS, take, &g), LARIAT_OK);
            assert_int_equal(g.counts[0], at + 2);
        }
        close_trial(&t);
    }
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_under_way_choose_as_lariat_sample_does),
        cmocka_unit_test(what_is_taken_back_counts_no_more),
        cmocka_unit_test(a_part_that_is_taken_back_counts_no_more),
        cmocka_unit_test(generate_goes_on_from_call_to_call),
    };
    int failed = 0;

    play_gpus();
    for (ranks = 1; ranks <= RANKS_MOST; ranks = next_ring(ranks)) {
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
