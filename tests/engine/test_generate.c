/* lariat_generate on CPUs: the tokens of steps and samples, in both layouts, on rings of one to five, by messages of one to
   eight. Rests on support/generate_checks.h. */
#include "lariat/lariat.h"
#include "support/generate_checks.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef TEST_BY_MESSAGES
enum { MOST_RANKS = 8, NEXT = 1 };
#else
enum { MOST_RANKS = 5, NEXT = 2 };
#endif

static void for_every_ring(void (*check)(const char *path, lariat_options o))
{
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");

    assert_non_null(path);
    for (int32_t ranks = 1; ranks <= MOST_RANKS; ranks += NEXT) {
        for (int layout = 0; layout < 3; layout++) {
            check(path,
                  (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = ranks, .chunk = 50, .layout = (lariat_layout)layout});
        }
        check(path, (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = ranks, .chunk = 2});
    }
    free(path);
}

static void tokens_are_those_of_steps_and_samples(void **state)
{
    (void)state;
    for_every_ring(check_tokens_of_steps);
}

static void what_was_begun_beyond_a_stop_leaves_no_trace(void **state)
{
    (void)state;
    for_every_ring(check_turns);
}

static void it_ends_where_it_should(void **state)
{
    (void)state;
    for_every_ring(check_ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_steps_and_samples),
        cmocka_unit_test(what_was_begun_beyond_a_stop_leaves_no_trace),
        cmocka_unit_test(it_ends_where_it_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
