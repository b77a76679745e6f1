/* lariat_generate on GPUs, where the host is a pass ahead: the tokens of steps and samples, in every type of a run, in both
   layouts, on rings of several ranks a card.
   Rests on support/generate_checks.h. Skipped where there is no GPU. */
#include "device/gpu.h"
#include "lariat/lariat.h"
#include "support/generate_checks.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* In 16 bits only texts that go alone: how many rows a pass has may change their rounding, and with it a token. */
static void for_every_ring(void (*check)(const char *path, lariat_options o), bool alone)
{
    static const lariat_dtype types[] = {LARIAT_DTYPE_F32, LARIAT_DTYPE_BF16, LARIAT_DTYPE_F16};
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");

    assert_non_null(path);
    for (int32_t ranks = 1; ranks <= 3; ranks++) {
        for (int type = 0; type < (alone ? 3 : 1); type++) {
            check(path, (lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = types[type], .ranks = ranks});
        }
        check(path, (lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = ranks, .chunk = 50,
                                     .layout = LARIAT_LAYOUT_TOKENS});
        check(path, (lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = ranks, .chunk = 2});
    }
    free(path);
}

static void tokens_are_those_of_steps_and_samples(void **state)
{
    (void)state;
    for_every_ring(check_tokens_of_steps, false);
}

static void what_was_begun_beyond_a_stop_leaves_no_trace(void **state)
{
    (void)state;
    for_every_ring(check_turns, true);
}

static void it_ends_where_it_should(void **state)
{
    (void)state;
    for_every_ring(check_ends, false);
}

/* All of them in one pass, by slices, and so fewer and fewer. */
static void each_of_many_sequences_has_the_tokens_that_it_has_alone(void **state)
{
    static const int32_t counts[] = {17, 33, 128};
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");

    (void)state;
    assert_non_null(path);
    for (int32_t i = 0; i < 3; i++) {
        for (int32_t ranks = 1; ranks <= 2; ranks++) {
            check_many(path, (lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = ranks,
                                              .layout = LARIAT_LAYOUT_SLICES, .chunk = 256}, counts[i]);
        }
    }
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_steps_and_samples),
        cmocka_unit_test(what_was_begun_beyond_a_stop_leaves_no_trace),
        cmocka_unit_test(it_ends_where_it_should),
        cmocka_unit_test(each_of_many_sequences_has_the_tokens_that_it_has_alone),
    };
    if (!gpu_usable()) {
        printf("skipped: no GPU that can be used\n");
        return TEST_SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
