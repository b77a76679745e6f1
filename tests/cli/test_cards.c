/* lariat bench and the last line of other runs on GPUs that are made up, with a clock that does as it is told: shares of what
   measuring the cards gave, for one card, for several and for ranks that share one; cards that cannot be measured; and
   what --ceilings keeps.
   Rests on support/played_gpu.h and on the program's own files, linked with now_s wrapped. Its output is read back as JSON. */
#include "cli/bench/rows.h"
#include "cli/bench/ceilings.h"
#include "cli/commands.h"
#include "lariat/measure.h"
#include "support/played_gpu.h"
#include "support/reference.h"
#include "support/scratch.h"

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

/* A second between any two looks. */
double __wrap_now_s(void);
double __wrap_now_s(void)
{
    static double now;
    return now++;
}

static char *model;
static double layer_elements, head_elements; /* of its matrices */

static int set_up(void **state)
{
    (void)state;
    play_gpus();
    return 0;
}

/* Runs `lariat bench -q ARGUMENTS`, its output in a file; the exit status must be `status`. */
static void bench_to(const char *path, int status, const char *const arguments[])
{
    char *argv[32] = {"lariat", "bench", "-q"};
    int argc = 3, before = dup(STDOUT_FILENO);
    options o;
    for (; arguments[argc - 3]; argc++) {
        argv[argc] = (char *)(uintptr_t)arguments[argc - 3];
    }
    assert_int_equal(options_parse(argc, argv, &o), 0);
    fflush(stdout);
    assert_non_null(freopen(path, "w", stdout));
    int rc = command_bench(&o);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    assert_int_equal(rc, status);
}

static json_t *bench(const char *const arguments[])
{
    char *path = scratch_path("rows.json");
    bench_to(path, 0, arguments);
    json_t *rows = json_load_file(path, 0, NULL);
    assert_true(json_is_array(rows));
    free(path);
    return rows;
}

static const json_t *value(const json_t *rows, size_t i, const char *key)
{
    return json_object_get(json_array_get(rows, i), key);
}

static double number(const json_t *rows, size_t i, const char *key)
{
    assert_true(json_is_number(value(rows, i, key)));
    return json_number_value(value(rows, i, key));
}

static void assert_near(double got, double wanted)
{
    if (fabs(got - wanted) > 1e-5 * fabs(wanted)) { /* rows have six digits */
        fail_msg("got %.12g, wanted %.12g", got, wanted);
    }
}

#define ON_CARDS "-m", model, "--device", "cuda", "--dtype", "f32", "-p", "9", "-n", "3", "-r", "1"

/* --- bench --- */

static void a_share_is_of_what_measuring_the_card_gave(void **state)
{
    (void)state;
    json_t *rows = bench((const char *[]){ON_CARDS, "-o", "json", NULL});
    assert_true(number(rows, 0, "cards") == 1);
    assert_true(number(rows, 0, "fma_flops") == 1e12);
    assert_true(number(rows, 0, "read_rate") == 1e10);
    double prefill_s = number(rows, 0, "prefill_s"), decode_s = number(rows, 0, "decode_s");
    double prefill = number(rows, 0, "prefill_share") * prefill_s, decode = number(rows, 0, "decode_share") * decode_s;
    assert_near(decode * 1e10, 3 * 4 * (layer_elements + head_elements)); /* three tokens, weights in f32 */
    double products = 2 * (9 * layer_elements + head_elements); /* of the prompt; attention comes to less than a tenth of it */
    assert_true(prefill * 1e12 >= products && prefill * 1e12 < 1.1 * products);
    assert_near(number(rows, 0, "ceiling_share") * (prefill_s + decode_s), prefill + decode);
    json_decref(rows);
}

static void a_ring_has_the_sum_of_its_cards_each_measured_once(void **state)
{
    (void)state;
    cards[1].flops = 3e12;
    cards[1].read_rate = 5e10;
    json_t *rows = bench((const char *[]){ON_CARDS, "-o", "json", "--ranks", "1,2,3", NULL});
    assert_true(number(rows, 0, "fma_flops") == 1e12);
    assert_true(number(rows, 1, "fma_flops") == 4e12);
    assert_true(number(rows, 2, "fma_flops") == 5e12);
    assert_true(number(rows, 1, "read_rate") == 6e10);
    assert_near(number(rows, 0, "decode_share"), 6 * number(rows, 1, "decode_share"));
    for (int i = 0; i < CARDS; i++) {
        assert_int_equal(cards[i].measured, i < 3);
    }
    json_decref(rows);
}

static void ranks_that_share_a_card_count_it_once(void **state)
{
    (void)state;
    cards[4].flops = 7e12;
    json_t *rows = bench((const char *[]){ON_CARDS, "-o", "json", "--devices", "4,2", "--ranks", "1,5", NULL});
    assert_true(number(rows, 0, "fma_flops") == 7e12);
    assert_true(number(rows, 1, "cards") == 2);
    assert_true(number(rows, 1, "fma_flops") == 8e12);
    assert_true(number(rows, 1, "read_rate") == 2e10);
    assert_int_equal(cards[0].measured, 0);
    json_decref(rows);
}

static void what_cannot_be_measured_has_no_share_and_is_run(void **state)
{
    (void)state;
    cards[1].full = true;
    json_t *rows = bench((const char *[]){ON_CARDS, "-o", "json", "--ranks", "1,2,3", NULL});
    assert_true(number(rows, 0, "ceiling_share") > 0);
    for (size_t i = 1; i < 3; i++) {
        assert_true(number(rows, i, "decode_s") > 0);
        assert_true(json_is_null(value(rows, i, "ceiling_share")));
        assert_true(json_is_null(value(rows, i, "fma_flops")));
        assert_true(json_is_null(value(rows, i, "read_rate")));
    }
    assert_int_equal(cards[1].measured, 1); /* not once more for each row */
    json_decref(rows);
}

static void rows_on_cpus_have_ceilings_of_their_own_beside_those_on_cards(void **state)
{
    (void)state;
    json_t *rows = bench((const char *[]){"-m", model, "--device", "cpu,cuda", "--dtype", "f32", "-t", "1", "-p", "4", "-n",
                                          "1", "-r", "1", "-o", "json", NULL});
    assert_true(number(rows, 0, "fma_flops") > 0 && number(rows, 0, "fma_flops") != 1e12);
    assert_true(number(rows, 1, "fma_flops") == 1e12);
    json_decref(rows);
}

static void the_table_says_what_the_ceilings_are_of(void **state)
{
    (void)state;
    size_t size;
    char *path = scratch_path("table");
    cards[1].full = true;
    bench_to(path, 0, (const char *[]){ON_CARDS, "--ranks", "3", "-o", "md", NULL});
    unsigned char *table = scratch_read(path, &size);
    assert_non_null(strstr((char *)table, "; at best, by fp32 multiply-adds and reading of memory, GPU 0 1.0 TFLOP/s, 10 GB/s, "
                                          "GPU 2 1.0 TFLOP/s, 10 GB/s; "));
    free(table);
    free(path);
}

/* --- what is kept for other runs --- */

static lariat_plan plan_of(const char *type, int32_t first, int32_t n)
{
    lariat_plan plan = {.device = LARIAT_DEVICE_CUDA, .cards = n, .dtype = type};
    for (int32_t i = 0; i < n; i++) {
        plan.card[i] = first + i;
    }
    return plan;
}

static void a_kind_of_card_is_measured_once_and_kept_by_type(void **state)
{
    (void)state;
    char *path = scratch_path("report");
    lariat_plan bf16 = plan_of("bf16", 0, 1), f32 = plan_of("f32", 0, 1), three = plan_of("f32", 2, 3);
    assert_false(ceilings_of(&bf16).known);
    cards[0].full = true; /* another of its kind will do */
    bench_to(path, 0, (const char *[]){"--ceilings", "--device", "cuda", NULL});
    assert_int_equal(cards[1].measured, 1);
    assert_int_equal(cards[2].measured, 0);
    ceilings kept = ceilings_of(&bf16);
    assert_true(kept.known && kept.fma_flops == 1e12 && kept.read_rate == 1e10);
    assert_false(ceilings_of(&f32).known);
    cards[3].flops = 2e12;
    bench_to(path, 0, (const char *[]){"--ceilings", "--device", "cuda", "--dtype", "f32", "--devices", "3", NULL});
    kept = ceilings_of(&three); /* all are of one kind */
    assert_true(kept.known && kept.fma_flops == 6e12 && kept.read_rate == 3e10);
    assert_true(ceilings_of(&bf16).fma_flops == 1e12);
    free(path);
}

static void without_a_card_to_measure_it_is_a_failure_only_where_one_is_asked_for(void **state)
{
    (void)state;
    char *path = scratch_path("report");
    for (int i = 0; i < CARDS; i++) {
        cards[i].full = true;
    }
    bench_to(path, 1, (const char *[]){"--ceilings", "--device", "cuda", NULL});
    bench_to(path, 1, (const char *[]){"--ceilings", "--device", "cuda", "--devices", "2", NULL});
    bench_to(path, 0, (const char *[]){"--ceilings", "-t", "1", NULL});
    lariat_plan cpu = {.threads = 1, .weight_bytes = 1 << 20};
    assert_true(ceilings_of(&cpu).known);
    bench_to(path, 0, (const char *[]){"--ceilings", "--device", "cpu", "-t", "1", NULL});
    for (int i = 0; i < CARDS; i++) {
        assert_int_equal(cards[i].measured, i == 2 ? 3 : 2); /* not by the last */
    }
    free(path);
}

static void the_last_line_of_a_run_has_shares_where_something_is_kept(void **state)
{
    (void)state;
    json_error_t error;
    char *path = scratch_path("report"), *ids = scratch_path("ids"), *stats = scratch_path("stats.json");
    scratch_write_text("ids", "1 2 3 4 5\n");
    bench_to(path, 0, (const char *[]){"--ceilings", "--device", "cuda", "--dtype", "f32", NULL});
    char *argv[] = {"lariat", "generate", "-q", "-m", model, "--tokens", ids, "-n", "4", "--device", "cuda", "--dtype", "f32",
                    "--ranks", "2", "--stats", stats};
    options o;
    assert_int_equal(options_parse((int)(sizeof argv / sizeof *argv), argv, &o), 0);
    assert_int_equal(command_generate(&o), 0);
    json_t *figures = json_load_file(stats, 0, &error);
    double share = json_number_value(json_object_get(figures, "decode_share"));
    double taken = json_number_value(json_object_get(figures, "decode_s"));
    assert_near(share * taken * 2e10, 3 * 4 * (layer_elements + head_elements));
    assert_true(json_number_value(json_object_get(figures, "prefill_share")) > 0);
    json_decref(figures);
    free(stats);
    free(ids);
    free(path);
}

/* --- */

static int describe_model(void)
{
    lariat_inspection *i;
    if (lariat_inspect(model, &i) != LARIAT_OK) {
        printf("%s\n", lariat_error());
        return 1;
    }
    const lariat_model_info *m = lariat_inspection_model(i);
    double attention = 2.0 * m->d_model * m->head_dim * (m->n_heads + m->n_kv_heads);
    layer_elements = m->n_layers * (attention + 3.0 * m->d_model * m->d_ff);
    head_elements = (double)m->d_model * m->vocab;
    lariat_inspection_close(i);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_share_is_of_what_measuring_the_card_gave, set_up),
        cmocka_unit_test_setup(a_ring_has_the_sum_of_its_cards_each_measured_once, set_up),
        cmocka_unit_test_setup(ranks_that_share_a_card_count_it_once, set_up),
        cmocka_unit_test_setup(what_cannot_be_measured_has_no_share_and_is_run, set_up),
        cmocka_unit_test_setup(rows_on_cpus_have_ceilings_of_their_own_beside_those_on_cards, set_up),
        cmocka_unit_test_setup(the_table_says_what_the_ceilings_are_of, set_up),
        cmocka_unit_test_setup(a_kind_of_card_is_measured_once_and_kept_by_type, set_up),
        cmocka_unit_test_setup(without_a_card_to_measure_it_is_a_failure_only_where_one_is_asked_for, set_up),
        cmocka_unit_test_setup(the_last_line_of_a_run_has_shares_where_something_is_kept, set_up),
    };
    model = reference_path("reference/models/mha-bf16");
    if (!model) {
        printf("skipped: reference/models/mha-bf16 is not on this machine\n");
        return TEST_SKIPPED;
    }
    setenv("XDG_CACHE_HOME", scratch_folder(), 1);
    unsetenv("LARIAT_DEVICE");
    int rc = describe_model();
    rc = rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
    free(model);
    return rc;
}
