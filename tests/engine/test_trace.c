/* Traces of rings on CPUs.
   Rests on support/trace_checks.h. */
#include "support/reference.h"
#include "support/trace_checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void every_layer_of_every_pass_has_its_spans_and_they_nest(void **state)
{
    (void)state;
    check_spans_of_layers((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void spans_and_counters_tell_the_same_times(void **state)
{
    (void)state;
    check_times_and_counters((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void a_traced_run_has_the_bits_of_one_that_is_not(void **state)
{
    (void)state;
    check_bits_of_traced((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void a_full_buffer_counts_what_it_loses(void **state)
{
    (void)state;
    check_full_buffer((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void a_pass_that_was_cancelled_leaves_no_spans(void **state)
{
    (void)state;
    check_cancelled_pass((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void a_long_run_is_recorded_from_its_first_pass_to_its_last(void **state)
{
    (void)state;
    check_long_run((lariat_options){.device = LARIAT_DEVICE_CPU});
}

static void tracing_starts_stops_and_starts_again(void **state)
{
    (void)state;
    check_start_and_stop((lariat_options){.device = LARIAT_DEVICE_CPU});
}

int main(void)
{
    char *there = reference_path("reference/models");

    if (!there) {
        printf("skipped: no reference data; see tests/support/reference.h\n");
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_of_every_pass_has_its_spans_and_they_nest),
        cmocka_unit_test(spans_and_counters_tell_the_same_times),
        cmocka_unit_test(a_traced_run_has_the_bits_of_one_that_is_not),
        cmocka_unit_test(a_full_buffer_counts_what_it_loses),
        cmocka_unit_test(a_pass_that_was_cancelled_leaves_no_spans),
        cmocka_unit_test(a_long_run_is_recorded_from_its_first_pass_to_its_last),
        cmocka_unit_test(tracing_starts_stops_and_starts_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
