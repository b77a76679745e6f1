/* Every member of the family on GPUs in f32 against the oracle, under the bound of CPUs: as a Hugging Face directory and as a
   GGUF file, on rings of several ranks a card. Rests on support/oracle.h. Skipped where there is no GPU. sixteen_bit.py holds
   bf16 and f16. */
#include "device/gpu.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const lariat_options on = {.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32};

static void every_member_agrees_with_the_oracle_on_every_ring(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 8; ranks++) {
        oracle_check_family_on_ring(on, ranks);
    }
}

static void single_tokens_and_queries_that_travel_agree_with_the_oracle(void **state)
{
    (void)state;
    oracle_check_family_by_tokens_and_queries(on);
}

static void a_converted_gguf_file_is_the_same_model(void **state)
{
    (void)state;
    oracle_check_family_as_gguf(on);
}

int main(void)
{
    if (!gpu_usable()) {
        printf("skipped: no GPU that can be used\n");
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_agrees_with_the_oracle_on_every_ring),
        cmocka_unit_test(single_tokens_and_queries_that_travel_agree_with_the_oracle),
        cmocka_unit_test(a_converted_gguf_file_is_the_same_model),
    };
    return cmocka_run_group_tests_name("cuda_family", tests, NULL, NULL);
}
