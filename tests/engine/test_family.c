/* Every member of the family against the oracle (Hugging Face's implementation in fp64), as a Hugging Face directory and as the
   GGUF file that llama.cpp's converter makes of it. Rests on the public API, support/oracle.h and tests/data/family.tar.xz. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* 1, 2, 3 and 8, in slow builds 1 and 3: between them a ring does nothing that is new to a member. */
static int next_family_ring(int ranks)
{
    return TEST_QUICK ? (ranks == 1 ? 3 : 9) : ranks < 3 ? ranks + 1 : ranks < 8 ? 8 : 9;
}

static const lariat_options on = {.device = LARIAT_DEVICE_CPU, .kv = LARIAT_KV_F32};

static void every_member_agrees_with_the_oracle_on_every_ring(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 8; ranks = next_family_ring(ranks)) {
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

static void a_context_beyond_the_window_is_refused(void **state)
{
    static const char *const files[] = {"", "/model.gguf"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char *path = oracle_member_path("phi4-longrope-bf16", files[i]);
        lariat_options options = {.ranks = 1, .context = 2049, .device = LARIAT_DEVICE_CPU};
        lariat_engine *e = NULL;
        assert_refused(lariat_engine_open(path, &options, &e), LARIAT_UNSUPPORTED, "attends to the last 2048 positions only");
        options.context = 2048;
        assert_accepted(lariat_engine_open(path, &options, &e));
        lariat_engine_close(e);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_agrees_with_the_oracle_on_every_ring),
        cmocka_unit_test(single_tokens_and_queries_that_travel_agree_with_the_oracle),
        cmocka_unit_test(a_converted_gguf_file_is_the_same_model),
        cmocka_unit_test(a_context_beyond_the_window_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
