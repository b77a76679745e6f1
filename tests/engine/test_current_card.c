/* The caller's current card stays what it was: planning, opening, stepping, resetting, closing and measuring are done
   elsewhere. Rests on support/played_gpu.h, whose cards note for which thread they are the current one.
   tests/cuda/test_current.c has the same on cards that are there. */
#include "lariat/lariat.h"
#include "lariat/measure.h"
#include "support/oracle.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, CHUNK = 10, OWN = 4, RANKS = 2 }; /* OWN: a card that no rank is on */

static int all_are_good(void **state)
{
    (void)state;
    play_gpus();
    current_card = OWN;
    transport_resets = 0;
    return 0;
}

static lariat_options on_two_cards(void)
{
    return (lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = RANKS, .context = TOKENS,
                            .chunk = CHUNK};
}

static void planning_leaves_it(void **state)
{
    lariat_options o = on_two_cards();
    lariat_plan plan;

    (void)state;
    assert_int_equal(lariat_plan_make("random:smollm2-135m", &o, &plan), LARIAT_OK);
    assert_int_equal(cards[0].looked_at + cards[1].looked_at, 2);
    assert_int_equal(current_card, OWN);
    for (int i = 0; i < CARDS; i++) {
        cards[i].held = true;
    }
    assert_int_equal(lariat_plan_make("random:smollm2-135m", &o, &plan), LARIAT_FAILED);
    assert_string_equal(lariat_error(), "card 0 is held"); /* and the reason comes over */
    assert_int_equal(current_card, OWN);
}

static void cancel(void *user, int64_t done, int64_t total)
{
    (void)done;
    (void)total;
    lariat_session_cancel(user);
}

static void a_run_leaves_it_from_opening_to_closing(void **state)
{
    static const int32_t tokens[TOKENS];
    char *path = reference_path("reference/models/mha-bf16");
    lariat_session *s;

    (void)state;
    assert_non_null(path);
    lariat_engine *e = open_or_fail(path, on_two_cards());
    assert_int_equal(current_card, OWN);
    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    lariat_engine_on_progress(e, cancel, s);
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_CANCELLED);
    assert_int_equal(transport_resets, 1);
    assert_int_equal(current_card, OWN);
    lariat_engine_on_progress(e, NULL, NULL);
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    assert_int_equal(current_card, OWN);
    lariat_session_close(s);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
    assert_int_equal(current_card, OWN);
    free(path);
}

static void measuring_leaves_it(void **state)
{
    lariat_options o = on_two_cards();
    lariat_card_ceilings c;
    lariat_hop hop;
    char name[64];

    (void)state;
    assert_int_equal(lariat_card_name(3, name, sizeof name), LARIAT_OK);
    assert_int_equal(lariat_measure_card(3, "f16", &c), LARIAT_OK);
    assert_int_equal(cards[3].measured, 1);
    assert_int_equal(current_card, OWN);
    assert_int_equal(lariat_measure_hop(&o, LARIAT_HOP_KEYS, 1 << 12, 1, &hop), LARIAT_OK);
    assert_int_equal(current_card, OWN);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(planning_leaves_it, all_are_good),
        cmocka_unit_test_setup(a_run_leaves_it_from_opening_to_closing, all_are_good),
        cmocka_unit_test_setup(measuring_leaves_it, all_are_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
