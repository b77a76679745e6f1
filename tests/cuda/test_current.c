/* The caller's current card stays what it was, for the driver and so for every user of CUDA in the process: none, or one that
   the caller has chosen. Rests on libcuda, which is opened here, as tests are not linked with CUDA. Skipped where there is no
   GPU. tests/engine/test_current_card.c has the same on cards that are made up. */
#include "device/gpu.h"
#include "lariat/lariat.h"
#include "lariat/measure.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, CHUNK = 10, RANKS = 2 };

/* As cuda.h has them; 0 is success. */
typedef void *cu_context;
typedef struct driver {
    int (*init)(unsigned int flags);
    int (*get_current)(cu_context *out);
    int (*set_current)(cu_context context);
    int (*retain)(cu_context *out, int device);
    int (*release)(int device);
} driver;

static driver cu;
static int n_cards;

static bool find(void *library, const char *name, void *out)
{
    void *symbol = dlsym(library, name);

    memcpy(out, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

    return library && find(library, "cuInit", &cu.init) && find(library, "cuCtxGetCurrent", &cu.get_current) &&
           find(library, "cuCtxSetCurrent", &cu.set_current) && find(library, "cuDevicePrimaryCtxRetain", &cu.retain) &&
           find(library, "cuDevicePrimaryCtxRelease_v2", &cu.release) && cu.init(0) == 0;
}

static cu_context current(void)
{
    cu_context now;

    assert_int_equal(cu.get_current(&now), 0);
    return now;
}

static void cancel(void *user, int64_t done, int64_t total)
{
    (void)done;
    (void)total;
    lariat_session_cancel(user);
}

/* All that a program does, with `own` current. */
static void run_all(cu_context own)
{
    static const int32_t tokens[TOKENS];
    lariat_options o = {.device = LARIAT_DEVICE_CUDA, .ranks = RANKS, .context = TOKENS, .chunk = CHUNK};
    char *path = reference_path("reference/models/mha-bf16");
    lariat_card_ceilings c;
    lariat_session *s;
    lariat_plan plan;

    assert_non_null(path);
    assert_int_equal(lariat_plan_make(path, &o, &plan), LARIAT_OK);
    assert_ptr_equal(current(), own);
    lariat_engine *e = open_or_fail(path, o);
    assert_ptr_equal(current(), own);
    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    lariat_engine_on_progress(e, cancel, s);
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_CANCELLED);
    assert_ptr_equal(current(), own);
    lariat_engine_on_progress(e, NULL, NULL);
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    assert_ptr_equal(current(), own);
    lariat_session_close(s);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
    assert_ptr_equal(current(), own);
    assert_int_equal(lariat_measure_card(0, "bf16", &c), LARIAT_OK);
    assert_ptr_equal(current(), own);
    free(path);
}

static void a_thread_without_a_card_has_none_afterwards(void **state)
{
    (void)state;
    assert_null(current());
    run_all(NULL);
}

static void a_thread_with_a_card_keeps_it(void **state)
{
    cu_context own;
    int card = n_cards - 1; /* with several cards one that the transport does not begin with */

    (void)state;
    assert_int_equal(cu.retain(&own, card), 0);
    assert_int_equal(cu.set_current(own), 0);
    run_all(own);
    assert_int_equal(cu.set_current(NULL), 0);
    assert_int_equal(cu.release(card), 0);
}

int main(void)
{
    const cuda_module *module;
    char *there = reference_path("reference/models");

    if (!there || gpu_module(&module) != LARIAT_OK || module->count(&n_cards) != LARIAT_OK || !open_driver()) {
        printf("skipped: %s\n", there ? lariat_error() : "no reference data; see tests/support/reference.h");
        free(there);
        return TEST_SKIPPED;
    }
    free(there);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_without_a_card_has_none_afterwards),
        cmocka_unit_test(a_thread_with_a_card_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
