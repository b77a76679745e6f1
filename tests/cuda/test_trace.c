/* Traces of rings on GPUs, whose times are those of their streams: through the cards' memory and through the host's, several
   ranks a card. Rests on support/trace_checks.h. Skipped where there is no GPU. */
#include "device/gpu.h"
#include "support/reference.h"
#include "support/trace_checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* In 16 bits and in 32; both ways between cards. */
static void on_cards(void (*check)(lariat_options where))
{
    check((lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32});
    check((lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_BF16, .hops = LARIAT_HOPS_HOST});
}

static void every_layer_of_every_pass_has_its_spans_and_they_nest(void **state)
{
    (void)state;
    on_cards(check_spans_of_layers);
}

static void spans_and_counters_tell_the_same_times(void **state)
{
    (void)state;
    on_cards(check_times_and_counters);
}

static void a_traced_run_has_the_bits_of_one_that_is_not(void **state)
{
    (void)state;
    on_cards(check_bits_of_traced);
}

static void a_full_buffer_counts_what_it_loses(void **state)
{
    (void)state;
    on_cards(check_full_buffer);
}

static void a_pass_that_was_cancelled_leaves_no_spans(void **state)
{
    (void)state;
    on_cards(check_cancelled_pass);
}

static void a_long_run_is_recorded_from_its_first_pass_to_its_last(void **state)
{
    (void)state;
    on_cards(check_long_run);
}

static void tracing_starts_stops_and_starts_again(void **state)
{
    (void)state;
    on_cards(check_start_and_stop);
}

int main(void)
{
    if (!gpu_usable()) {
        printf("skipped: no GPU that can be used\n");
        return TEST_SKIPPED;
    }
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
