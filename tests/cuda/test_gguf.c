/* Quantised files on GPUs in f32, against the oracle over their dequantised values: the tiny ones of 13 types, and the demo's
   model with its greedy texts, which are those of the CPU wherever no call is close. Rests on support/oracle.h. Skipped where
   there is no GPU; the demo's model where it was not fetched. */
#include "device/gpu.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static lariat_options on_cards(int32_t ranks, int32_t chunk, int64_t context)
{
    return (lariat_options){
        .device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = ranks, .chunk = chunk, .context = context};
}

static void every_type_of_blocks_agrees_with_its_dequantised_values(void **state)
{
    (void)state;
    char *expected = reference_path("reference/gguf/expected.safetensors");

    assert_non_null(expected);
    for (int t = 0; t < ORACLE_GGUF_TYPES; t++) {
        char name[64], prefix[16];
        oracle o;
        snprintf(name, sizeof name, "reference/gguf/%s.gguf", oracle_gguf_types[t]);
        snprintf(prefix, sizeof prefix, "%s.", oracle_gguf_types[t]);
        char *path = reference_path(name);
        if (!path) {
            print_message("skipped: %s is not on this machine\n", name);
            continue;
        }
        oracle_open(&o, expected, prefix);
        oracle_check_file(&o, path, on_cards(1, 0, 1200), 1e-3f, INT64_MAX);
        oracle_check_file(&o, path, on_cards(3, 64, 1200), 1e-3f, INT64_MAX);
        oracle_close(&o);
        free(path);
    }
    free(expected);
}

static void the_demo_model_reads_the_gpl_as_the_oracle_does(void **state)
{
    (void)state;
    static const int32_t rings[] = {1, 2, 3, 8};
    oracle o;
    char *path;

    oracle_open_demo(&o, &path);
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
        oracle_check_file(&o, path, on_cards(rings[i], 0, 7700), DEMO_GAP, INT64_MAX);
        oracle_check_file(&o, path, on_cards(rings[i], 1, 7700), DEMO_GAP, 100);
        oracle_check_file(&o, path, on_cards(rings[i], 64, 7700), DEMO_GAP, 1000);
    }
    oracle_close(&o);
    free(path);
}

int main(void)
{
    char *there = reference_path("reference/gguf");

    if (!there || !gpu_usable()) {
        printf("skipped: no %s\n", there ? "GPU that can be used" : "reference data; see tests/support/reference.h");
        free(there);
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_blocks_agrees_with_its_dequantised_values),
        cmocka_unit_test(the_demo_model_reads_the_gpl_as_the_oracle_does),
    };
    return cmocka_run_group_tests_name("cuda_gguf", tests, NULL, NULL);
}
