/* lariat bench with a clock and an engine that do as they are told: medians of known times, the order of samples, a planted
   difference, Ctrl-C in the middle, and where speed-ups cross one.
   Rests on the program's own files, linked with now_s, lariat_generate and lariat_step wrapped. Its output is read back as
   JSON. */
#include "cli/bench/rows.h"
#include "cli/commands.h"
#include "lariat/lariat.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { CALLS_MOST = 64 };

/* --- what is told --- */

static struct {
    double now, takes[CALLS_MOST]; /* seconds of each call of lariat_generate */
    int64_t counts[CALLS_MOST];    /* tokens that the first item of each had to read */
    int calls, cancel_at;          /* call that is cancelled; -1: none */
    int64_t wrong_token;           /* of a reply on a ring of two; -1: none */
    float wrong_logit;             /* added to the first one there */
} told;

double __wrap_now_s(void);
double __wrap_now_s(void)
{
    return told.now;
}

typedef struct listener {
    lariat_token_fn fn;
    void *user;
    int64_t n;
    bool lies;
} listener;

static int64_t replied; /* tokens of the reply so far, over its calls */

static bool listen(void *user, int32_t item, int32_t token)
{
    listener *l = user;
    bool wrong = l->lies && replied++ == told.wrong_token;
    return l->fn(l->user, item, wrong ? !token : token);
}

lariat_status __real_lariat_generate(lariat_engine *e, const lariat_reply items[], int32_t n, lariat_token_fn fn, void *user);
lariat_status __wrap_lariat_generate(lariat_engine *e, const lariat_reply items[], int32_t n, lariat_token_fn fn, void *user);
lariat_status __wrap_lariat_generate(lariat_engine *e, const lariat_reply items[], int32_t n, lariat_token_fn fn, void *user)
{
    listener l = {fn, user, 0, told.wrong_token >= 0 && lariat_engine_plan(e)->ranks == 2};
    if (told.calls == told.cancel_at) {
        return LARIAT_CANCELLED;
    }
    assert_true(told.calls < CALLS_MOST);
    replied = lariat_session_length(items[0].session) == 0 ? 0 : replied;
    lariat_status status = __real_lariat_generate(e, items, n, listen, &l);
    told.counts[told.calls] = items[0].count;
    told.now += told.takes[told.calls++];
    return status;
}

lariat_status __real_lariat_step(lariat_engine *e, const lariat_work items[], int32_t n);
lariat_status __wrap_lariat_step(lariat_engine *e, const lariat_work items[], int32_t n);
lariat_status __wrap_lariat_step(lariat_engine *e, const lariat_work items[], int32_t n)
{
    lariat_status status = __real_lariat_step(e, items, n);
    if (lariat_engine_plan(e)->ranks == 2 && items[0].logits) {
        items[0].logits[0] += told.wrong_logit;
    }
    return status;
}

/* --- running it --- */

static const char model[] = "random:smollm2-135m:q4_1";

static int set_up(void **state)
{
    (void)state;
    memset(&told, 0, sizeof told);
    told.cancel_at = -1;
    told.wrong_token = -1;
    return setenv("LARIAT_DEVICE", "cpu", 1);
}

/* The rows that `lariat bench -m MODEL -q -o json ARGUMENTS` writes; its exit status must be `status`. */
static json_t *bench(int status, const char *const arguments[])
{
    char path[] = "/tmp/lariat-bench-XXXXXX";
    char *argv[32] = {"lariat", "bench", "-q", "-o", "json", "-t", "2", "-m", (char *)(uintptr_t)model};
    int argc = 9, out = mkstemp(path), before = dup(STDOUT_FILENO);
    options o;
    for (; arguments[argc - 9]; argc++) {
        argv[argc] = (char *)(uintptr_t)arguments[argc - 9];
    }
    assert_true(out >= 0 && before >= 0);
    assert_int_equal(options_parse(argc, argv, &o), 0);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    int rc = command_bench(&o);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(out);
    json_t *rows = json_load_file(path, 0, NULL);
    unlink(path);
    assert_int_equal(rc, status);
    assert_true(json_is_array(rows));
    return rows;
}

static double number(const json_t *rows, size_t i, const char *key)
{
    json_t *value = json_object_get(json_array_get(rows, i), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* --- tests --- */

static void medians_are_those_of_a_known_clock(void **state)
{
    (void)state;
    /* prefill and decode of four samples */
    const double takes[] = {3, 40, 1, 10, 2, 80, 5, 20};
    memcpy(told.takes, takes, sizeof takes);
    json_t *rows = bench(0, (const char *[]){"-p", "4", "-n", "2", "-r", "4", "--warm-up", "0", NULL});
    assert_int_equal(json_array_size(rows), 1);
    assert_true(number(rows, 0, "prefill_s") == 2.5);
    assert_true(number(rows, 0, "prefill_min_s") == 1);
    assert_true(number(rows, 0, "prefill_max_s") == 5);
    assert_true(number(rows, 0, "prefill_tps") == 1.6);
    assert_true(number(rows, 0, "decode_s") == 30);
    assert_true(number(rows, 0, "decode_min_s") == 10);
    assert_true(number(rows, 0, "decode_max_s") == 80);
    assert_true(number(rows, 0, "token_ms") == 15000);
    json_decref(rows);
}

static void without_a_cache_the_first_token_is_the_prefill(void **state)
{
    (void)state;
    const double takes[] = {7, 1, 2, 4};
    memcpy(told.takes, takes, sizeof takes);
    json_t *rows = bench(0, (const char *[]){"-p", "5", "-n", "3", "-r", "1", "--warm-up", "0", "--no-cache", NULL});
    assert_true(number(rows, 0, "prefill_s") == 7);
    assert_true(number(rows, 0, "decode_s") == 7);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(told.counts[i], 5 + i); /* all that came before is read again */
    }
    json_decref(rows);
}

static void rounds_go_forwards_and_backwards_over_the_rows(void **state)
{
    (void)state;
    const int64_t order[] = {4, 5, 6, 6, 5, 4, 4, 5, 6};
    json_t *rows = bench(0, (const char *[]){"-p", "4,5,6", "-n", "0", "-r", "3", "--warm-up", "0", NULL});
    assert_int_equal(told.calls, 9);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(told.counts[i], order[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(number(rows, i, "n_prompt") == (double)(4 + i));
    }
    json_decref(rows);
}

static const char *const compare[] = {"--compare", "-p", "4", "-n", "3", "-r", "1", "--kv", "f32", NULL};

static void rings_that_agree_are_said_to(void **state)
{
    (void)state;
    json_t *rows = bench(0, compare);
    const json_t *ring = json_array_get(rows, 1);
    assert_true(json_is_true(json_object_get(ring, "same_tokens")));
    assert_true(json_is_null(json_object_get(ring, "first_difference")));
    assert_true(number(rows, 1, "logit_difference") < 2e-5);
    json_decref(rows);
}

static void a_planted_token_is_found(void **state)
{
    (void)state;
    told.wrong_token = 2;
    json_t *rows = bench(0, compare);
    assert_true(json_is_false(json_object_get(json_array_get(rows, 1), "same_tokens")));
    assert_true(number(rows, 1, "first_difference") == 2);
    json_decref(rows);
}

static void a_planted_logit_is_found(void **state)
{
    (void)state;
    told.wrong_logit = 100;
    json_t *rows = bench(0, compare);
    assert_true(number(rows, 1, "logit_difference") > 1);
    json_decref(rows);
    told.wrong_logit = NAN;
    rows = bench(0, compare);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "logit_difference")));
    assert_true(json_is_true(json_object_get(json_array_get(rows, 1), "same_tokens")));
    json_decref(rows);
}

static void ctrl_c_keeps_what_was_measured(void **state)
{
    (void)state;
    char path[] = "/tmp/lariat-kept-XXXXXX";
    const char *arguments[] = {"-p", "4,5", "-n", "0", "-r", "3", "--warm-up", "0", "--resume", path, NULL};
    for (int i = 0; i < CALLS_MOST; i++) {
        told.takes[i] = i + 1;
    }
    close(mkstemp(path));
    told.cancel_at = 3; /* rows 4 5 | 5 and then 4 is stopped */
    json_t *rows = bench(130, arguments);
    assert_int_equal(json_array_size(rows), 2);
    assert_true(number(rows, 0, "reps") == 1);
    assert_true(number(rows, 1, "reps") == 2);
    assert_true(number(rows, 1, "prefill_s") == 2.5);
    json_decref(rows);
    told.cancel_at = -1;
    rows = bench(0, arguments); /* 4 takes 4 s, then 5 s, 5 takes 6 s */
    assert_int_equal(told.calls, 6);
    assert_true(number(rows, 0, "prefill_s") == 4);
    assert_true(number(rows, 1, "prefill_s") == 3);
    json_decref(rows);
    unlink(path);
}

/* Rings of one and of two over three lengths, which take these times. */
static void crossing_of(const double regular[3], const double ring[3], double *out)
{
    const int64_t lengths[] = {512, 2048, 8192};
    sample samples[6] = {0};
    row rows[6] = {0};
    row_list all = {.rows = rows, .n = 6};
    for (int i = 0; i < 6; i++) {
        samples[i].prefill_s = i < 3 ? regular[i] : ring[i - 3];
        rows[i] = (row){.cell = {.ranks = i < 3 ? 1 : 2, .batch = 1, .n_prompt = lengths[i % 3], .cached = true},
                        .samples = &samples[i], .n_samples = 1};
        row_sum_up(&rows[i]);
    }
    rows_compare(&all);
    assert_int_equal(rows[4].beside.regular, 1);
    assert_true(rows[4].beside.prefill_speedup == regular[1] / ring[1]);
    assert_true(isnan(rows[4].beside.decode_crossing));
    *out = rows[4].beside.prefill_crossing;
}

static void the_crossing_lies_where_speed_up_becomes_one(void **state)
{
    (void)state;
    double crossing;
    crossing_of((double[]){1, 4, 16}, (double[]){2, 2, 8}, &crossing); /* 0.5, 2, 2 */
    assert_true(fabs(crossing - 512 * pow(4, 1.0 / 3)) < 1e-6);
    crossing_of((double[]){1, 4, 16}, (double[]){0.5, 2, 8}, &crossing);
    assert_true(crossing == 0);
    crossing_of((double[]){1, 4, 16}, (double[]){2, 8, 32}, &crossing);
    assert_true(isinf(crossing));
    crossing_of((double[]){4, 4, 16}, (double[]){2, 8, 8}, &crossing); /* faster, slower, faster: from the last change on */
    assert_true(crossing > 2048 && crossing < 8192);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(medians_are_those_of_a_known_clock, set_up),
        cmocka_unit_test_setup(without_a_cache_the_first_token_is_the_prefill, set_up),
        cmocka_unit_test_setup(rounds_go_forwards_and_backwards_over_the_rows, set_up),
        cmocka_unit_test_setup(rings_that_agree_are_said_to, set_up),
        cmocka_unit_test_setup(a_planted_token_is_found, set_up),
        cmocka_unit_test_setup(a_planted_logit_is_found, set_up),
        cmocka_unit_test_setup(ctrl_c_keeps_what_was_measured, set_up),
        cmocka_unit_test(the_crossing_lies_where_speed_up_becomes_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
