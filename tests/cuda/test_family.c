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

static void check(const char *member, const char *file, lariat_options options, int64_t longest)
{
    options.device = LARIAT_DEVICE_CUDA;
    options.dtype = LARIAT_DTYPE_F32;
    oracle_check_member(member, file, options, longest);
}

static void every_member_agrees_with_the_oracle_on_every_ring(void **state)
{
    (void)state;
    for (int m = 0; m < ORACLE_MEMBERS; m++) {
        for (int ranks = 1; ranks <= 8; ranks++) {
            check(oracle_members[m], "", (lariat_options){.ranks = ranks}, INT64_MAX);
            check(oracle_members[m], "", (lariat_options){.ranks = ranks, .chunk = 61, .layout = LARIAT_LAYOUT_TOKENS}, 300);
            check(oracle_members[m], "", (lariat_options){.ranks = ranks, .chunk = 200, .layout = LARIAT_LAYOUT_SLICES}, 300);
        }
    }
}

static void single_tokens_and_queries_that_travel_agree_with_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < ORACLE_MEMBERS; m++) {
        check(oracle_members[m], "",
              (lariat_options){.ranks = 3, .chunk = 100, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q}, 300);
        check(oracle_members[m], "", (lariat_options){.ranks = 1, .chunk = 1}, 64);
        check(oracle_members[m], "", (lariat_options){.ranks = 2, .chunk = 1}, 64);
    }
}

static void a_converted_gguf_file_is_the_same_model(void **state)
{
    (void)state;
    for (int m = 0; m < ORACLE_MEMBERS; m++) {
        check(oracle_members[m], "/model.gguf", (lariat_options){.ranks = 1}, 300);
        check(oracle_members[m], "/model.gguf", (lariat_options){.ranks = 3, .chunk = 61}, 300);
    }
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
