/* Conversions of 16-bit floats against the compiler's own, and names and sizes of types.
   Rests on base/dtype.h. */
#include "base/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Value of f16 bits by the formula of IEEE 754, in double. */
static double f16_value(uint16_t h)
{
    int exponent = (h >> 10) & 0x1f;
    int fraction = h & 0x3ff;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return h & 0x8000 ? -v : v;
}

static void every_f16_reads_as_its_value_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h <= 0xffff; h++) {
        float f = f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true(h & 0x3ff ? isnan(f) : isinf(f));
        } else {
            assert_true((double)f == f16_value((uint16_t)h));
            assert_int_equal(f32_to_f16(f), h);
        }
    }
}

static void f32_rounds_to_the_nearest_f16(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099) {
        float f = float_of((uint32_t)bits);
        uint16_t h = f32_to_f16(f);
        if (isnan(f)) {
            assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff));
            continue;
        }
        if (fabsf(f) >= 65520.0f) {
            assert_int_equal(h & 0x7fff, 0x7c00);
            continue;
        }
        /* No neighbour is nearer; of two equally near ones the even one is taken. */
        double error = fabs((double)f - f16_value(h));
        for (int step = -1; step <= 1; step += 2) {
            uint16_t near = (uint16_t)(h + step);
            if ((near & 0x7c00) != 0x7c00 && ((near ^ h) & 0x8000) == 0) {
                double other = fabs((double)f - f16_value(near));
                assert_true(error < other || (error == other && (h & 1) == 0));
            }
        }
    }
}

static void f32_rounds_to_the_nearest_bf16(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099) {
        float f = float_of((uint32_t)bits);
        uint16_t h = f32_to_bf16(f);
        float back = bf16_to_f32(h);
        if (isnan(f)) {
            assert_true(isnan(back));
        } else if (!isinf(back)) {
            double error = fabs((double)f - (double)back);
            double up = fabs((double)f - (double)bf16_to_f32((uint16_t)(h + 1)));
            assert_true(error < up || (error == up && (h & 1) == 0));
            if (h & 0x7fff) {
                double down = fabs((double)f - (double)bf16_to_f32((uint16_t)(h - 1)));
                assert_true(error < down || (error == down && (h & 1) == 0));
            }
        }
    }
}

static void a_type_is_found_by_its_name_in_any_case(void **state)
{
    (void)state;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        assert_int_equal(dtype_from_name(dtype_name((dtype)i)), i);
    }
    assert_int_equal(dtype_from_name("q4_k"), DTYPE_Q4_K);
    assert_int_equal(dtype_from_name("Q9_Z"), DTYPE_COUNT);
    assert_int_equal(dtype_row_bytes(DTYPE_Q6_K, 512), 420);
    assert_int_equal(dtype_row_bytes(DTYPE_F32, 3), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_reads_as_its_value_and_comes_back),
        cmocka_unit_test(f32_rounds_to_the_nearest_f16),
        cmocka_unit_test(f32_rounds_to_the_nearest_bf16),
        cmocka_unit_test(a_type_is_found_by_its_name_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
