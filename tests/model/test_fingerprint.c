/* Fingerprints: the same for the same model wherever it lies, another where the values of any one tensor are other ones, as
   those of a model that was trained on are.
   Rests on model/weights.h; the models are the reference's tiny ones and copies of them. */
#include "model/weights.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t fingerprint_of(const char *path)
{
    model *m;

    assert_accepted(model_describe(path, &m));
    uint64_t result = m->fingerprint;
    model_close(m);
    return result;
}

static uint64_t *seen;
static int64_t n_seen;

static void assert_new(uint64_t fingerprint, const char *what)
{
    for (int64_t i = 0; i < n_seen; i++) {
        if (seen[i] == fingerprint) {
            fail_msg("%s: the fingerprint of number %lld again", what, (long long)i);
        }
    }
    seen[n_seen++] = fingerprint;
}

/* Every tensor of a file in turn with the least bit of each element turned over. `copy` is the copy's name, `path` that of the
   model that the copy belongs to. */
static void turn_over_each(const char *file, const char *copy, const char *path, const tensors *table)
{
    size_t size;
    unsigned char *image = scratch_read(file, &size);

    seen = calloc((size_t)table->n + 1, sizeof *seen);
    assert_non_null(seen);
    n_seen = 0;
    scratch_write(copy, image, size);
    assert_new(fingerprint_of(path), "as it was");
    for (int64_t i = 0; i < table->n; i++) {
        const tensor *x = &table->list[i];
        size_t from = (size_t)((const unsigned char *)x->data - table->files[0].data), element = dtype_block_bytes(x->type);
        for (size_t at = 0; at < x->bytes; at += element) {
            image[from + at] ^= 1;
        }
        scratch_write(copy, image, size);
        assert_new(fingerprint_of(path), x->name);
        for (size_t at = 0; at < x->bytes; at += element) {
            image[from + at] ^= 1;
        }
    }
    scratch_write(copy, image, size);
    assert_int_equal(fingerprint_of(path), seen[0]); /* where a model lies does not matter, nor when it was written */
    assert_true(n_seen > 10);
    free(seen);
    free(image);
}

static void a_checkpoint_of_other_values_has_another_fingerprint(void **state)
{
    static const char *const parts[] = {"config.json", "generation_config.json"};
    char *folder = reference_path("reference/models/mha-bf16"), path[512];
    model *m;

    (void)state;
    assert_accepted(model_describe(folder, &m));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[64];
        snprintf(path, sizeof path, "%s/%s", folder, parts[i]);
        snprintf(name, sizeof name, "copy/%s", parts[i]);
        scratch_copy(path, name);
    }
    char *copy = scratch_path("copy");
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    turn_over_each(path, "copy/model.safetensors", copy, m->table);
    assert_int_equal(fingerprint_of(folder), fingerprint_of(copy));
    free(copy);
    model_close(m);
    free(folder);
}

static void a_gguf_file_of_other_values_has_another_fingerprint(void **state)
{
    char *file = reference_path("reference/gguf/Q4_K_S.gguf"), *copy = scratch_path("copy.gguf");
    model *m;

    (void)state;
    assert_accepted(model_describe(file, &m));
    turn_over_each(file, "copy.gguf", copy, m->table);
    assert_int_equal(fingerprint_of(file), fingerprint_of(copy));
    model_close(m);
    free(copy);
    free(file);
}

static void random_models_are_told_apart_by_their_names(void **state)
{
    (void)state;
    assert_int_equal(fingerprint_of("random:smollm2-135m"), fingerprint_of("random:smollm2-135m"));
    assert_int_not_equal(fingerprint_of("random:smollm2-135m:F32"), fingerprint_of("random:smollm2-135m:F16"));
    assert_int_not_equal(fingerprint_of("random:3.2-1b"), fingerprint_of("random:smollm2-135m"));
}

/* --- hashes of all values --- */

/* Of two tensors that lie one behind the other. */
static void hash_two(const unsigned char *values, size_t first, size_t second, uint64_t out[2])
{
    tensor list[2] = {{.data = values, .bytes = first}, {.data = values + first, .bytes = second}};
    tensors table = {.list = list, .n = 2};
    model m = {.table = &table};
    uint64_t again[2];

    assert_accepted(model_hash(&m, 1, out));
    assert_accepted(model_hash(&m, 3, again));
    assert_memory_equal(out, again, sizeof again); /* whichever thread takes a piece */
}

/* Sizes about those of a word, a stripe, a prefetch and a piece. */
static void every_byte_of_a_tensor_decides_about_its_hash_and_no_other(void **state)
{
    static const size_t sizes[] = {1, 7, 8, 9, 31, 32, 33, 2047, 2081, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 19) + 3};
    enum { MOST = 2 * ((5 << 19) + 3) + 1 };
    unsigned char *values = calloc(1, MOST);

    (void)state;
    assert_non_null(values);
    for (size_t i = 0; i < MOST; i++) {
        values[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k], step = n > 64 ? n / 61 : 1;
        uint64_t before[2], after[2];
        hash_two(values, n, n, before);
        for (size_t at = n - 1; at < n; at -= step) {
            values[at] ^= 0x80;
            hash_two(values, n, n, after);
            values[at] ^= 0x80;
            assert_int_not_equal(after[0], before[0]);
            assert_int_equal(after[1], before[1]);
        }
        memmove(values + 1, values, 2 * n); /* where it lies does not matter */
        hash_two(values + 1, n, n, after);
        memmove(values, values + 1, 2 * n);
        assert_memory_equal(after, before, sizeof after);
    }
    free(values);
}

/* Differences that sums or products alone would not see: the highest bits of two words, and two pieces exchanged. */
static void differences_of_a_tensor_do_not_cancel(void **state)
{
    enum { PIECE = 1 << 20, SIZE = 2 * PIECE };
    unsigned char *values = calloc(1, SIZE);
    uint64_t before[2], after[2];

    (void)state;
    assert_non_null(values);
    values[5] = 1;
    hash_two(values, SIZE, 0, before);
    assert_int_equal(before[1], 0);
    for (size_t apart = 8; apart < SIZE; apart *= 2) {
        values[7] ^= 0x80;
        values[7 + apart] ^= 0x80;
        hash_two(values, SIZE, 0, after);
        values[7] ^= 0x80;
        values[7 + apart] ^= 0x80;
        assert_int_not_equal(after[0], before[0]);
    }
    values[5] = 0;
    values[PIECE + 5] = 1;
    hash_two(values, SIZE, 0, after);
    assert_int_not_equal(after[0], before[0]);
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_of_other_values_has_another_fingerprint),
        cmocka_unit_test(a_gguf_file_of_other_values_has_another_fingerprint),
        cmocka_unit_test(random_models_are_told_apart_by_their_names),
        cmocka_unit_test(every_byte_of_a_tensor_decides_about_its_hash_and_no_other),
        cmocka_unit_test(differences_of_a_tensor_do_not_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
