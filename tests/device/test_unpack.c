/* The values of stored blocks, in every kernel family, against what GGUF's own package computes: bit for bit.
   Rests on tests/data/unpack_values.safetensors, made by unpack_values.py beside it, and on format/tensors.h to read it. */
#include "device/cpu/cpu.h"
#include "device/cpu/linear_kernels.h"
#include "format/tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "device/random_matrix.h"

static tensors data;

static const tensor *find(dtype type, const char *what)
{
    char name[32];

    snprintf(name, sizeof name, "%s.%s", dtype_name(type), what);
    return tensors_find(&data, name);
}

static void same_bits(dtype type, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            fail_msg("%s: element %lld is %.9g, wanted %.9g", dtype_name(type), (long long)i, (double)a[i], (double)b[i]);
        }
    }
}

static void blocks_have_the_values_that_gguf_gives_them(void **state)
{
    (void)state;
    for (int isa = CPU_SCALAR; isa <= (int)cpu_isa_best(); isa++) {
        const linear_kernels *kernels = linear_kernels_of((cpu_isa)isa);
        int types = 0;
        for (int i = 0; i < WEIGHT_TYPES; i++) {
            const tensor *blocks = find((dtype)i, "blocks"), *values = find((dtype)i, "values");
            if (!blocks) { /* F32 */
                continue;
            }
            assert_non_null(values);
            assert_int_equal(blocks->bytes, dtype_row_bytes((dtype)i, 512));
            for (int64_t at = 0; at < 512; at += SPAN) {
                float out[SPAN] = {0}, want[SPAN];
                kernels->unpack[i]((const char *)blocks->data + dtype_row_bytes((dtype)i, at), SPAN, out);
                memcpy(want, (const char *)values->data + at * 4, sizeof want);
                same_bits((dtype)i, out, want, SPAN);
            }
            types++;
        }
        assert_int_equal(types, 13);
    }
}

/* Parts of a span, at the end of readable memory. */
static void parts_of_spans_are_expanded_without_touching_more(void **state)
{
    (void)state;
    for (int isa = CPU_SCALAR; isa <= (int)cpu_isa_best(); isa++) {
        const linear_kernels *kernels = linear_kernels_of((cpu_isa)isa);
        for (int i = 0; i < WEIGHT_TYPES; i++) {
            int64_t step = dtype_block_elements((dtype)i);
            for (int64_t count = step; count <= SPAN; count += step) {
                matrix w = random_matrix((dtype)i, 1, count);
                float *out = guarded_alloc((size_t)count * sizeof *out), want[SPAN];
                assert_non_null(w.data);
                assert_non_null(out);
                unpack_scalar[i](w.data, count, want);
                kernels->unpack[i](w.data, count, out);
                for (int64_t c = 0; c < count; c++) {
                    assert_true(out[c] == want[c]);
                }
                guarded_free(out, (size_t)count * sizeof *out);
                guarded_free((void *)(uintptr_t)w.data, w.row_bytes);
            }
        }
    }
}

static int open_data(void **state)
{
    (void)state;
    return safetensors_open(TEST_DATA "/unpack_values.safetensors", &data) != LARIAT_OK;
}

static int close_data(void **state)
{
    (void)state;
    tensors_close(&data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_the_values_that_gguf_gives_them),
        cmocka_unit_test(parts_of_spans_are_expanded_without_touching_more),
    };
    return cmocka_run_group_tests(tests, open_data, close_data);
}
