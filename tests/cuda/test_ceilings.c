/* What measuring a card gives: rates above nothing and not above what its clocks and widths allow, a buffer far larger than its
   cache, and all memory given back.
   Rests on card.h and on the driver's own figures of the card, asked of libcuda. Skipped where there is no GPU. */
#include "cuda/card.h"

#include <dlfcn.h>

/* The driver's numbers of attributes, and their units. */
enum { CLOCK_KHZ = 13, MULTIPROCESSORS = 16, MEMORY_CLOCK_KHZ = 36, BUS_BITS = 37, CACHE_BYTES = 38 };

static const double SLACK = 1.2; /* clocks may rise above what the driver names */

typedef int init_fn(unsigned flags);
typedef int attribute_fn(int *value, int attribute, int ordinal);

static const cuda_module *module;
static attribute_fn *ask;

static double attribute(int which)
{
    int value = 0;

    assert_int_equal(ask(&value, which, 0), 0);
    return value;
}

static void open_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *init, *attribute_of;
    init_fn *begin;

    assert_non_null(driver);
    init = dlsym(driver, "cuInit");
    attribute_of = dlsym(driver, "cuDeviceGetAttribute");
    assert_true(init && attribute_of);
    memcpy(&begin, &init, sizeof begin);
    memcpy(&ask, &attribute_of, sizeof ask);
    assert_int_equal(begin(0), 0);
}

/* Multiply-adds that a multiprocessor begins in a cycle, as NVIDIA's tables of compute capabilities have them: in 16 bits on
   tensor cores, in f32 at most. 0: a later card, of which they are not known here. */
static double width_of(int sm, dtype act)
{
    return act == DTYPE_F32 ? 128 : sm < 90 ? 1024 : sm == 90 ? 2048 : 0;
}

static void check_card(dtype act)
{
    cuda_ceilings c;
    cuda_card before, after;

    must(module->measure(0, act, &c)); /* CUDA itself keeps some from the first time on */
    must(module->describe(0, &before));
    must(module->measure(0, act, &c));
    must(module->describe(0, &after));
    printf("%s, %s: %.1f TFLOP/s, %.1f GB/s over %.0f MB\n", before.name, dtype_name(act), c.flops / 1e12, c.read_rate / 1e9,
           (double)c.bytes / 1e6);
    double rate_most = 2 * 1e3 * attribute(MEMORY_CLOCK_KHZ) * attribute(BUS_BITS) / 8; /* two bits a cycle and wire */
    double flops_most = 2 * 1e3 * attribute(CLOCK_KHZ) * attribute(MULTIPROCESSORS) * width_of(before.sm, act);
    assert_true(c.read_rate > 0 && c.flops > 0);
    assert_true((double)c.bytes > 3 * attribute(CACHE_BYTES));
    assert_true(rate_most == 0 || c.read_rate <= SLACK * rate_most);
    assert_true(flops_most == 0 || c.flops <= SLACK * flops_most);
    assert_true(after.free + ((size_t)8 << 20) > before.free);
}

static void measuring_is_within_what_the_card_can_do(void **state)
{
    (void)state;
    open_driver();
    for (int i = 0; i < ACTS; i++) {
        check_card(act_types[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(measuring_is_within_what_the_card_can_do)};
    int n;

    if (gpu_module(&module) != LARIAT_OK || module->count(&n) != LARIAT_OK) {
        printf("skipped: %s\n", lariat_error());
        return 77;
    }
    return cmocka_run_group_tests_name("cuda_ceilings", tests, NULL, NULL);
}
