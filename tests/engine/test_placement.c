/* Which GPUs are chosen, that the host has what their ranks pin, and what measuring them gives, on a machine that is made up;
   what decode reads there. Rests on support/played_gpu.h, and on lariat_plan_make(), which opens nothing. */
#include "lariat/measure.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int all_are_good(void **state)
{
    (void)state;
    play_gpus();
    return 0;
}

static lariat_status plan_for(int32_t ranks, const int32_t *named, int32_t n_named, lariat_plan *plan)
{
    lariat_options o;

    lariat_options_default(&o);
    o.device = LARIAT_DEVICE_CUDA;
    o.ranks = ranks;
    o.context = 512;
    o.n_cards = n_named;
    for (int32_t i = 0; i < n_named; i++) {
        o.cards[i] = named[i];
    }
    return lariat_plan_make("random:smollm2-135m", &o, plan);
}

static void must_plan(int32_t ranks, const int32_t *named, int32_t n_named, lariat_plan *plan)
{
    if (plan_for(ranks, named, n_named, plan) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
}

static void assert_looked_at(const char *expected)
{
    for (int i = 0; i < CARDS; i++) {
        if (cards[i].looked_at != (expected[i] == 'x')) {
            fail_msg("card %d was looked at %d times, expected %s", i, cards[i].looked_at, expected);
        }
    }
}

static void each_card_gets_a_rank(void **state)
{
    lariat_plan plan;

    (void)state;
    must_plan(0, NULL, 0, &plan);
    assert_int_equal(plan.cards, CARDS);
    assert_int_equal(plan.ranks, CARDS);
    assert_int_equal(plan.available_bytes, (int64_t)(100 - (CARDS - 1)) << 30);
    assert_false(plan.through_host);
    assert_looked_at("xxxxxx");
}

static void cards_that_no_rank_needs_are_not_opened(void **state)
{
    static const int32_t named[] = {4, 1, 2};
    lariat_plan plan;

    must_plan(2, NULL, 0, &plan);
    assert_int_equal(plan.cards, 2);
    assert_looked_at("xx----");
    (void)all_are_good(state);
    must_plan(2, named, 3, &plan);
    assert_int_equal(plan.cards, 2);
    assert_int_equal(plan.card[0], 4);
    assert_int_equal(plan.card[1], 1);
    assert_looked_at("-x--x-");
}

static void cards_that_cannot_be_used_are_left_out(void **state)
{
    lariat_plan plan;

    (void)state;
    cards[0].sm = CUDA_SM_LEAST - 5;
    cards[1].held = true;
    cards[0].alone = cards[1].alone = true; /* which is nothing to those that are left */
    must_plan(3, NULL, 0, &plan);
    assert_int_equal(plan.cards, 3);
    assert_int_equal(plan.card[0], 2);
    assert_int_equal(plan.card[2], 4);
    assert_int_equal(plan.available_bytes, (int64_t)(100 - 4) << 30);
    assert_false(plan.through_host);
    assert_looked_at("-xxxx-");
}

static void where_none_is_left_the_first_says_why(void **state)
{
    lariat_plan plan;

    (void)state;
    cards[0].sm = CUDA_SM_LEAST - 5;
    for (int i = 1; i < CARDS; i++) {
        cards[i].held = true;
    }
    assert_int_equal(plan_for(0, NULL, 0, &plan), LARIAT_FAILED);
    assert_string_equal(lariat_error(), "card 1 is held");
}

static void a_named_card_must_be_usable(void **state)
{
    static const int32_t named[] = {2, 3}, absent[] = {0, CARDS}, twice[] = {1, 1};
    lariat_plan plan;

    (void)state;
    cards[3].held = true;
    assert_int_equal(plan_for(0, named, 2, &plan), LARIAT_FAILED);
    assert_string_equal(lariat_error(), "card 3 is held");
    assert_int_equal(plan_for(0, absent, 2, &plan), LARIAT_BAD_ARGUMENT);
    assert_int_equal(plan_for(0, twice, 2, &plan), LARIAT_BAD_ARGUMENT);
}

static void hops_go_through_the_host_where_one_card_cannot_be_read(void **state)
{
    lariat_plan plan;

    (void)state;
    cards[2].alone = true;
    must_plan(2, NULL, 0, &plan);
    assert_false(plan.through_host);
    must_plan(3, NULL, 0, &plan);
    assert_true(plan.through_host);
}

static void what_ranks_pin_must_fit_the_host(void **state)
{
    static const size_t more_than_any_host_has = (size_t)1 << 50;
    lariat_plan plan, with;

    (void)state;
    must_plan(2, NULL, 0, &plan);
    pinned_bytes = 1 << 20;
    must_plan(2, NULL, 0, &with);
    assert_int_equal(with.shared_bytes - plan.shared_bytes, 2 << 20);
    assert_int_equal(with.total_bytes, plan.total_bytes); /* the card's */
    pinned_bytes = more_than_any_host_has;
    assert_int_equal(plan_for(2, NULL, 0, &plan), LARIAT_NO_MEMORY);
    assert_non_null(strstr(lariat_error(), "2 ranks on GPUs pin"));
    assert_non_null(strstr(lariat_error(), "use fewer ranks"));
}

static void a_card_is_measured_by_number_and_type(void **state)
{
    lariat_card_ceilings c;

    (void)state;
    cards[3].flops = 3e14;
    cards[3].read_rate = 2e12;
    assert_int_equal(lariat_measure_card(3, "f16", &c), LARIAT_OK);
    assert_string_equal(c.card, "made up");
    assert_string_equal(c.dtype, "f16");
    assert_true(c.fma_flops == 3e14 && c.read_memory == 2e12 && c.bytes > 0);
    assert_int_equal(lariat_measure_card(CARDS, "bf16", &c), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_measure_card(0, "q4_1", &c), LARIAT_BAD_ARGUMENT);
    cards[3].full = true;
    assert_int_equal(lariat_measure_card(3, "f16", &c), LARIAT_NO_MEMORY);
    assert_string_equal(lariat_error(), "card 3 is full");
    cards[1].held = true;
    assert_int_equal(lariat_measure_card(1, "f16", &c), LARIAT_FAILED);
    assert_int_equal(cards[1].measured, 0);
}

/* What one token reads on two ranks. */
static int64_t bytes_of_a_token(const char *path, lariat_device where, const lariat_model_info **info)
{
    static lariat_model_info seen;
    static const int32_t token = 1;
    static float logits[49152];
    const lariat_options o = {.device = where, .ranks = 2, .threads = 2, .context = 64, .chunk = 8, .dtype = LARIAT_DTYPE_F32,
                              .layout = LARIAT_LAYOUT_SLICES};
    lariat_engine *e;
    lariat_session *s;
    lariat_stats stats;

    assert_int_equal(lariat_engine_open(path, &o, &e), LARIAT_OK);
    assert_int_equal(lariat_session_open(e, 8, &s), LARIAT_OK);
    seen = *lariat_engine_model(e);
    *info = &seen;
    assert_in_range(seen.vocab, 1, sizeof logits / sizeof *logits);
    const lariat_work work = {.session = s, .tokens = &token, .count = 1, .n_logits = 1, .logits = logits};
    assert_int_equal(lariat_step(e, &work, 1), LARIAT_OK);
    lariat_engine_stats(e, &stats);
    assert_int_equal(stats.passes_slices, 1);
    lariat_session_close(s);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
    return (int64_t)stats.weight_bytes_read;
}

/* Of a tied model a token reads all weights, as the table of embeddings is the head. A made-up card cannot make random ones. */
static void decode_on_cards_reads_blocks_in_their_stored_bytes(void **state)
{
    const lariat_model_info *info;
    char *path = reference_path("reference/gguf/Q4_0.gguf");

    (void)state;
    int64_t tied = bytes_of_a_token("random:smollm2-135m:q4_0", LARIAT_DEVICE_CPU, &info);
    assert_int_equal(tied, info->weight_bytes);
    if (path) {
        int64_t stored = bytes_of_a_token(path, LARIAT_DEVICE_CPU, &info);
        /* On cards matrices alone are counted, without norms. In F32 they would be seven times as large. */
        assert_in_range(bytes_of_a_token(path, LARIAT_DEVICE_CUDA, &info), stored - stored / 16, stored);
    }
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_card_gets_a_rank, all_are_good),
        cmocka_unit_test_setup(cards_that_no_rank_needs_are_not_opened, all_are_good),
        cmocka_unit_test_setup(cards_that_cannot_be_used_are_left_out, all_are_good),
        cmocka_unit_test_setup(where_none_is_left_the_first_says_why, all_are_good),
        cmocka_unit_test_setup(a_named_card_must_be_usable, all_are_good),
        cmocka_unit_test_setup(hops_go_through_the_host_where_one_card_cannot_be_read, all_are_good),
        cmocka_unit_test_setup(what_ranks_pin_must_fit_the_host, all_are_good),
        cmocka_unit_test_setup(a_card_is_measured_by_number_and_type, all_are_good),
        cmocka_unit_test_setup(decode_on_cards_reads_blocks_in_their_stored_bytes, all_are_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
