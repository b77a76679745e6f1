/* GGUF: what is read equals what gguf-py reads; hostile files are refused by name; split sets.
   Rests on format/gguf.h, tests/data/tensor_table.txt and support/gguf_image.h. */
#include "format/gguf.h"
#include "support/gguf_image.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t row_of_32[] = {32};

static void refuses_bytes(bytes b, lariat_status code, const char *part)
{
    gguf *g;
    unsigned char *copy = malloc(b.size + 1); /* a block of its own size, for the address sanitizer to see its end */

    memcpy(copy, b.data, b.size);
    assert_refused(gguf_parse("x.gguf", copy, b.size, &g), code, part);
    assert_null(g);
    free(copy);
    bytes_free(&b);
}

static void refuses(gguf_image *image, size_t data_bytes, lariat_status code, const char *part)
{
    refuses_bytes(gguf_image_done(image, 3, 32, data_bytes), code, part);
}

static void other_files_and_versions_are_refused(void **state)
{
    gguf_image i = {0};
    bytes b;

    (void)state;
    b = gguf_image_done(&i, 3, 32, 0);
    b.size = 0;
    refuses_bytes(b, LARIAT_BAD_MODEL, "truncated");
    b = gguf_image_done(&i, 3, 32, 0);
    b.data[0] = 'P';
    refuses_bytes(b, LARIAT_BAD_MODEL, "does not begin with GGUF");
    refuses_bytes(gguf_image_done(&i, 1, 32, 0), LARIAT_UNSUPPORTED, "of version 1, wanted 2 or 3");
    refuses_bytes(gguf_image_done(&i, 4, 32, 0), LARIAT_UNSUPPORTED, "of version 4");
    refuses_bytes(gguf_image_done(&i, 3u << 24, 32, 0), LARIAT_UNSUPPORTED, "big-endian");
}

static void absurd_counts_end_where_the_file_ends(void **state)
{
    gguf_image i = {0};

    (void)state;
    i.n_keys = UINT64_MAX;
    refuses_bytes(gguf_image_done(&i, 3, 8, 0), LARIAT_BAD_MODEL, "in the middle of a key");
    i.n_tensors = UINT64_MAX;
    refuses_bytes(gguf_image_done(&i, 3, 8, 0), LARIAT_BAD_MODEL, "in the middle of a tensor's name");
    i.n_keys = UINT64_MAX; /* padding is no key either */
    refuses(&i, 64, LARIAT_BAD_MODEL, "a key has 0 bytes");
    gguf_image_raw(&i, "k", 8, (unsigned char[]){255, 255, 255, 255, 255, 255, 255, 255}, 8); /* a string past the end */
    refuses(&i, 0, LARIAT_BAD_MODEL, "in the middle of k");
    const unsigned char floats[] = {6,   0,   0,   0,   255, 255,
                                    255, 255, 255, 255, 255, 63}; /* 2^62 of them: times 4 it wraps to few */
    gguf_image_raw(&i, "k", 9, floats, sizeof floats);
    refuses(&i, 0, LARIAT_BAD_MODEL, "key k announces");
    const unsigned char strings[] = {8, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0};
    gguf_image_raw(&i, "k", 9, strings, sizeof strings);
    refuses(&i, 12, LARIAT_BAD_MODEL, "in the middle of k");
}

static void bad_keys_and_values_are_refused(void **state)
{
    gguf_image i = {0};

    (void)state;
    gguf_image_u32(&i, "", 1);
    refuses(&i, 0, LARIAT_BAD_MODEL, "a key has 0 bytes");
    gguf_image_u32(&i, "k", 1);
    gguf_image_u32(&i, "k", 2);
    refuses(&i, 0, LARIAT_BAD_MODEL, "key k is there twice");
    gguf_image_raw(&i, "k", 13, "", 1);
    refuses(&i, 0, LARIAT_BAD_MODEL, "key k has the type 13");
    gguf_image_raw(&i, "k", 9, (unsigned char[]){9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 12);
    refuses(&i, 0, LARIAT_BAD_MODEL, "an array of arrays");
    gguf_image_raw(&i, "k", 9, (unsigned char[]){77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 12);
    refuses(&i, 0, LARIAT_BAD_MODEL, "an array of an unknown type");
    static const uint32_t wrong[] = {0, 3, 48, 0x80000000u};
    for (int w = 0; w < 4; w++) {
        gguf_image_u32(&i, "general.alignment", wrong[w]);
        refuses(&i, 0, LARIAT_BAD_MODEL, "general.alignment is no power of two");
    }
    gguf_image_string(&i, "general.alignment", "32");
    refuses(&i, 0, LARIAT_BAD_MODEL, "general.alignment is no power of two");
}

static void bad_tensors_are_refused_by_name(void **state)
{
    gguf_image i = {0};

    (void)state;
    gguf_image_tensor(&i, "t", 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0);
    refuses(&i, 64, LARIAT_BAD_MODEL, "tensor t has 5 dimensions");
    gguf_image_tensor(&i, "t", 2, (uint64_t[]){UINT64_C(1) << 40, UINT64_C(1) << 40}, 0, 0);
    refuses(&i, 64, LARIAT_BAD_MODEL, "tensor t has an absurd shape");
    gguf_image_tensor(&i, "t", 1, (uint64_t[]){INT64_MAX}, 0, 0);
    refuses(&i, 64, LARIAT_BAD_MODEL, "tensor t has an absurd shape");
    gguf_image_tensor(&i, "t", 1, (uint64_t[]){UINT64_MAX}, 0, 0);
    refuses(&i, 64, LARIAT_BAD_MODEL, "tensor t has an absurd shape");
    gguf_image_tensor(&i, "t", 1, (uint64_t[]){33}, 2, 0);
    refuses(&i, 64, LARIAT_BAD_MODEL, "tensor t has rows of 33 elements");
    gguf_image_tensor(&i, "t", 1, row_of_32, 4, 0);
    refuses(&i, 64, LARIAT_UNSUPPORTED, "tensor t has the type number 4");
    gguf_image_tensor(&i, "t", 1, row_of_32, 4000000000u, 0);
    refuses(&i, 64, LARIAT_UNSUPPORTED, "tensor t has the type number 4000000000");
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, 16);
    refuses(&i, 256, LARIAT_BAD_MODEL, "tensor t is at 16, no multiple of the alignment of 32");
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, UINT64_MAX - 31);
    refuses(&i, 256, LARIAT_BAD_MODEL, "past the end of a file");
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, 32);
    refuses(&i, 128, LARIAT_BAD_MODEL, "truncated");
    gguf_image_tensor(&i, "", 1, row_of_32, 0, 0);
    refuses(&i, 128, LARIAT_BAD_MODEL, "has no name");
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, 0);
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, 128);
    refuses(&i, 256, LARIAT_BAD_MODEL, "tensor t is there twice");
    gguf_image_tensor(&i, "t", 1, row_of_32, 0, 0);
    gguf_image_tensor(&i, "u", 1, row_of_32, 0, 96);
    refuses(&i, 256, LARIAT_BAD_MODEL, "tensors t and u overlap");
}

static void every_prefix_of_a_file_is_refused(void **state)
{
    char *path = reference_path("reference/gguf/Q2_K.gguf");
    size_t size;
    unsigned char *data = scratch_read(path, &size);

    (void)state;
    for (size_t cut = 0; cut < size; cut += cut < 4096 ? 1 : 997) {
        gguf *g;
        unsigned char *copy = malloc(cut + 1);
        memcpy(copy, data, cut);
        assert_refused(gguf_parse("x.gguf", copy, cut, &g), LARIAT_BAD_MODEL, "truncated");
        free(copy);
    }
    free(data);
    free(path);
}

static void values_convert_only_without_loss(void **state)
{
    gguf_image i = {0};
    gguf *g;
    int64_t whole = 0;
    double real = 0;
    bool flag = false;
    const char *text;
    size_t size;

    (void)state;
    gguf_image_raw(&i, "u8", 0, "\xff", 1);
    gguf_image_raw(&i, "i8", 1, "\xff", 1);
    gguf_image_raw(&i, "i16", 3, "\x00\x80", 2);
    gguf_image_raw(&i, "u64", 10, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    gguf_image_raw(&i, "i64", 11, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    gguf_image_raw(&i, "f64", 12, &(double){0.1}, 8);
    gguf_image_raw(&i, "bool", 7, "\x01", 1);
    gguf_image_f32(&i, "f32", 0.5f);
    gguf_image_string(&i, "s", "tw\x01o");
    gguf_image_raw(&i, "a", 9, "\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07\xf9", 14);
    bytes b = gguf_image_done(&i, 2, 32, 0);
    assert_accepted(gguf_parse("x", b.data, b.size, &g));

    assert_true(gguf_int(g, "u8", &whole) && whole == 255);
    assert_true(gguf_int(g, "i8", &whole) && whole == -1);
    assert_true(gguf_int(g, "i16", &whole) && whole == -32768);
    assert_true(gguf_int(g, "i64", &whole) && whole == -1);
    assert_false(gguf_int(g, "u64", &whole));
    assert_false(gguf_float(g, "u64", &real));
    assert_false(gguf_int(g, "f32", &whole));
    assert_false(gguf_int(g, "bool", &whole));
    assert_false(gguf_int(g, "none", &whole));
    assert_true(gguf_float(g, "f32", &real) && real == 0.5);
    assert_true(gguf_float(g, "f64", &real) && real == 0.1);
    assert_true(gguf_float(g, "u8", &real) && real == 255);
    assert_true(gguf_bool(g, "bool", &flag) && flag);
    assert_false(gguf_bool(g, "u8", &flag));
    assert_true(gguf_string(g, "s", &text, &size) && size == 4);
    assert_int_equal(gguf_array_length(g, "a"), 2);
    assert_int_equal(gguf_array_length(g, "s"), -1);
    assert_true(gguf_array_int(gguf_find_array(g, "a"), 1, &whole) && whole == -7);
    assert_false(gguf_array_int(gguf_find_array(g, "a"), 2, &whole));
    assert_false(gguf_array_string(gguf_find_array(g, "a"), 0, &text, &size));
    gguf_close(g);
    bytes_free(&b);
}

/* --- split sets --- */

static void write_part(const char *name, int number, int count, int announced, const char *tensor_name)
{
    gguf_image i = {0};

    gguf_image_raw(&i, "split.no", 2, &(uint16_t){(uint16_t)number}, 2);
    gguf_image_raw(&i, "split.count", 2, &(uint16_t){(uint16_t)count}, 2);
    gguf_image_raw(&i, "split.tensors.count", 5, &(int32_t){announced}, 4);
    gguf_image_tensor(&i, tensor_name, 1, row_of_32, 0, 0);
    bytes b = gguf_image_done(&i, 3, 32, 128);
    scratch_write(name, b.data, b.size);
    bytes_free(&b);
}

static void refuses_file(const char *name, const char *part)
{
    gguf *g;
    char *path = scratch_path(name);
    assert_refused(gguf_open(path, &g), LARIAT_BAD_MODEL, part);
    free(path);
}

static void a_split_set_is_one_model(void **state)
{
    gguf *g;
    char *path = scratch_path("split/m-00001-of-00003.gguf");

    (void)state;
    write_part("split/m-00001-of-00003.gguf", 0, 3, 3, "c");
    write_part("split/m-00002-of-00003.gguf", 1, 3, 3, "b");
    write_part("split/m-00003-of-00003.gguf", 2, 3, 3, "a");
    assert_accepted(gguf_open(path, &g));
    const tensors *t = gguf_tensors(g);
    assert_int_equal(t->n, 3);
    assert_int_equal(t->n_files, 3);
    assert_int_equal(tensors_find(t, "a")->file, 2);
    assert_int_equal(tensors_find(t, "c")->file, 0);
    gguf_close(g);
    free(path);
    refuses_file("split/m-00002-of-00003.gguf", "is part 2 of 3: name the first, ");
}

static void a_split_set_that_is_not_whole_is_refused_by_name(void **state)
{
    (void)state;
    write_part("gap/m-00001-of-00003.gguf", 0, 3, 3, "a");
    write_part("gap/m-00003-of-00003.gguf", 2, 3, 3, "b");
    refuses_file("gap/m-00001-of-00003.gguf", "m-00002-of-00003.gguf: is missing");
    write_part("gap/m-00002-of-00003.gguf", 2, 3, 3, "c");
    refuses_file("gap/m-00001-of-00003.gguf", "says that it is part 3 of 3: the files of the set are mixed up");
    write_part("gap/m-00002-of-00003.gguf", 1, 3, 3, "a");
    refuses_file("gap/m-00001-of-00003.gguf", "tensor a is in ");
    write_part("few/m-00001-of-00002.gguf", 0, 2, 7, "a");
    write_part("few/m-00002-of-00002.gguf", 1, 2, 7, "b");
    refuses_file("few/m-00001-of-00002.gguf", "the set has 2 tensors, and its first file announces 7");
    write_part("renamed.gguf", 0, 2, 2, "a");
    refuses_file("renamed.gguf", "its name does not end in -00001-of-00002.gguf");
    write_part("wrong.gguf", 2, 2, 2, "a");
    refuses_file("wrong.gguf", "split.no and split.count do not name a part of a set");
    write_part("none.gguf", 0, 0, 2, "a");
    refuses_file("none.gguf", "split.no and split.count do not name a part of a set");
}

/* --- against gguf-py --- */

static gguf *open_reference(const char *file)
{
    char name[160];
    gguf *g = NULL;

    snprintf(name, sizeof name, "reference/%s", file);
    char *path = reference_path(name);
    if (path) {
        assert_accepted(gguf_open(path, &g));
    }
    free(path);
    return g;
}

static void compare_line(const gguf *g, const char *name, const char *type, const char *shape, uint64_t hash)
{
    const tensor *x = tensors_find(gguf_tensors(g), name);
    char dims[64] = "";

    assert_non_null(x);
    for (int32_t i = 0, at = 0; i < x->n_dims; i++) {
        at += snprintf(dims + at, sizeof dims - (size_t)at, "%s%lld", i ? "x" : "", (long long)x->dims[i]);
    }
    assert_string_equal(dims, shape);
    assert_string_equal(x->type_name, type);
    assert_string_equal(dtype_name(x->type), type);
    assert_true(fnv1a(x->data, x->bytes) == hash);
}

static void every_tensor_equals_what_gguf_py_reads(void **state)
{
    FILE *table = fopen(TEST_DATA "/tensor_table.txt", "r");
    char file[128], name[128], type[16], shape[64], current[128] = "";
    unsigned long long hash;
    gguf *g = NULL;
    int64_t compared = 0, held = 0;

    (void)state;
    assert_non_null(table);
    while (fscanf(table, "%127s %127s %15s %63s %llx", file, name, type, shape, &hash) == 5) {
        if (strncmp(file, "gguf/", 5) != 0) {
            continue;
        }
        if (strcmp(file, current) != 0) {
            strcpy(current, file);
            gguf_close(g);
            g = open_reference(file);
            held += g ? gguf_tensors(g)->n : 0;
        }
        if (g) {
            compare_line(g, name, type, shape, hash);
            compared++;
        }
    }
    assert_int_equal(compared, held);
    assert_true(compared >= 10 * 20);
    gguf_close(g);
    fclose(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_files_and_versions_are_refused),
        cmocka_unit_test(absurd_counts_end_where_the_file_ends),
        cmocka_unit_test(bad_keys_and_values_are_refused),
        cmocka_unit_test(bad_tensors_are_refused_by_name),
        cmocka_unit_test(every_prefix_of_a_file_is_refused),
        cmocka_unit_test(values_convert_only_without_loss),
        cmocka_unit_test(a_split_set_is_one_model),
        cmocka_unit_test(a_split_set_that_is_not_whole_is_refused_by_name),
        cmocka_unit_test(every_tensor_equals_what_gguf_py_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
