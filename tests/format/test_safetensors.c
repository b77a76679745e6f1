/* Safetensors: what is read equals what the format's own package reads; what its own library refuses is refused; what is
   written reads back.
   Rests on format/tensors.h and tests/data/tensor_table.txt. */
#include "format/tensors.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* An image with that header text and so many bytes of data, 0, 1, 2, ... */
static bytes image(const char *header, size_t data_bytes)
{
    bytes b = {0};

    bytes_u64(&b, strlen(header));
    bytes_put(&b, header, strlen(header));
    for (size_t i = 0; i < data_bytes; i++) {
        bytes_put(&b, &(unsigned char){(unsigned char)i}, 1);
    }
    return b;
}

static void refuses(const char *header, size_t data_bytes, lariat_status code, const char *part)
{
    bytes b = image(header, data_bytes);
    tensors t = {0};

    assert_refused(safetensors_parse("x.safetensors", b.data, b.size, 0, &t), code, part);
    tensors_close(&t);
    bytes_free(&b);
}

static void hostile_headers_are_refused_by_name(void **state)
{
    (void)state;
    refuses("", 0, LARIAT_BAD_MODEL, "does not begin with {");
    refuses(" {}", 0, LARIAT_BAD_MODEL, "does not begin with {");
    refuses("{", 0, LARIAT_BAD_MODEL, "is not JSON");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
            "offsets\":[1,2]}}",
            2, LARIAT_BAD_MODEL, "is not JSON: duplicate");
    refuses("{\"a\":1}", 0, LARIAT_BAD_MODEL, "tensor a has no \"dtype\"");
    refuses("{\"a\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, LARIAT_UNSUPPORTED,
            "tensor a has the type \"Q9\"");
    refuses("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL, "tensor a has no \"shape\"");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, LARIAT_UNSUPPORTED, "5 dimensions");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL, "not of whole numbers");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL, "not of whole numbers");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL,
            "absurd shape");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,4]}}", 4, LARIAT_BAD_MODEL,
            "absurd shape");
    refuses("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL,
            "does not fill whole bytes");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, LARIAT_BAD_MODEL, "no two \"data_offsets\"");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, LARIAT_BAD_MODEL,
            "no two \"data_offsets\"");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, LARIAT_BAD_MODEL, "is no range");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, LARIAT_BAD_MODEL, "is no range");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 3, LARIAT_BAD_MODEL, "truncated");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9223372036854775807]}}", 9, LARIAT_BAD_MODEL,
            "truncated");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, LARIAT_BAD_MODEL,
            "takes 8 bytes by its shape and 4");
    refuses("{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, LARIAT_BAD_MODEL, "has no name");
}

static void overlap_holes_and_leftovers_are_refused(void **state)
{
    (void)state;
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
            "offsets\":[1,3]}}",
            3, LARIAT_BAD_MODEL, "tensors a and b overlap");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
            "offsets\":[2,3]}}",
            3, LARIAT_BAD_MODEL, "1 bytes before tensor b belong to no tensor");
    refuses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3, LARIAT_BAD_MODEL,
            "2 bytes after the last tensor");
}

static void absurd_header_lengths_are_refused(void **state)
{
    bytes b = {0};
    tensors t = {0};

    (void)state;
    bytes_u64(&b, UINT64_MAX);
    assert_refused(safetensors_parse("x", b.data, b.size, 0, &t), LARIAT_BAD_MODEL, "more than the format's limit");
    assert_refused(safetensors_parse("x", b.data, 7, 0, &t), LARIAT_BAD_MODEL, "too few");
    b.size = 0;
    bytes_u64(&b, 1000);
    bytes_put(&b, "{}", 2);
    assert_refused(safetensors_parse("x", b.data, b.size, 0, &t), LARIAT_BAD_MODEL, "truncated");
    bytes_free(&b);
}

static void empty_tensors_scalars_and_odd_places_are_read(void **state)
{
    /* The header is of odd length: data begin anywhere. */
    bytes b = image("{\"__metadata__\":{\"format\":\"pt\"},\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[1,1]},"
                    "\"o\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]},\"s\":{\"dtype\":\"F32\",\"shape\":[],"
                    "\"data_offsets\":[1,5]}} ",
                    5);
    tensors t = {0};

    (void)state;
    assert_accepted(safetensors_parse("x", b.data, b.size, 0, &t));
    assert_int_equal(t.n, 3);
    const tensor *s = tensors_find(&t, "s");
    assert_int_equal(s->n_dims, 0);
    assert_int_equal(s->bytes, 4);
    assert_memory_equal(s->data, ((unsigned char[]){1, 2, 3, 4}), 4);
    assert_int_equal(tensors_find(&t, "o")->type, DTYPE_COUNT);
    assert_string_equal(tensors_find(&t, "o")->type_name, "BOOL");
    assert_int_equal(tensors_find(&t, "e")->bytes, 0);
    assert_null(tensors_find(&t, "__metadata__"));
    tensors_close(&t);
    bytes_free(&b);
}

static void every_prefix_of_a_file_is_refused(void **state)
{
    bytes b = image("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],"
                    "\"data_offsets\":[2,3]}}",
                    3);

    (void)state;
    for (size_t size = 0; size < b.size; size++) {
        tensors t = {0};
        unsigned char *copy = malloc(size + 1); /* a block of its own, for the address sanitizer to see its end */
        memcpy(copy, b.data, size);
        assert_refused(safetensors_parse("x", copy, size, 0, &t), LARIAT_BAD_MODEL, "x: ");
        tensors_close(&t);
        free(copy);
    }
    bytes_free(&b);
}

/* --- files --- */

static void files_that_are_none_are_refused(void **state)
{
    tensors t;
    char *pipe_path = scratch_path("pipe");

    (void)state;
    assert_refused(safetensors_open("/nonexistent/x.safetensors", &t), LARIAT_IO, "cannot be opened");
    assert_refused(safetensors_open(scratch_folder(), &t), LARIAT_IO, "is a directory");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_refused(safetensors_open(pipe_path, &t), LARIAT_IO, "not a regular file");
    free(pipe_path);
    scratch_write_text("empty.safetensors", "");
    char *empty = scratch_path("empty.safetensors");
    assert_refused(safetensors_open(empty, &t), LARIAT_BAD_MODEL, "is empty");
    free(empty);
}

static void write_shard(const char *name, const char *tensor_name)
{
    char header[128];
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", tensor_name);
    bytes b = image(header, 1);
    scratch_write(name, b.data, b.size);
    bytes_free(&b);
}

static void refuses_index(const char *text, const char *part)
{
    tensors t;
    scratch_write_text("set/index.json", text);
    char *path = scratch_path("set/index.json");
    assert_refused(safetensors_open_index(path, &t), LARIAT_BAD_MODEL, part);
    free(path);
}

static void an_index_that_lies_is_refused_by_name(void **state)
{
    (void)state;
    write_shard("set/1.safetensors", "a");
    write_shard("set/2.safetensors", "b");
    write_shard("set/twin.safetensors", "a");
    refuses_index("[]", "no JSON object");
    refuses_index("{}", "no \"weight_map\"");
    refuses_index("{\"weight_map\":{}}", "names no tensor");
    refuses_index("{\"weight_map\":{\"a\":3}}", "not a string");
    refuses_index("{\"weight_map\":{\"a\":\"../set/1.safetensors\"}}", "puts tensor a into ../set/1.safetensors");
    refuses_index("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "puts tensor a into /etc/passwd");
    refuses_index("{\"weight_map\":{\"a\":\"..\"}}", "puts tensor a into ..");
    refuses_index("{\"weight_map\":{\"a\":\"\"}}", "puts tensor a into");
    refuses_index("{\"weight_map\":{\"a\":\"3.safetensors\"}}", "names the shard 3.safetensors, which is missing");
    refuses_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}}",
                  "puts tensor c into 2.safetensors, which does not have it");
    refuses_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}",
                  "puts tensor b into 1.safetensors, which does not have it");
    refuses_index("{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}",
                  "puts tensor a into 2.safetensors, but it is in 1.safetensors");
    refuses_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"twin.safetensors\"}}", "tensor a is in ");
}

/* --- against the format's own package --- */

/* One line of the table, compared with the tensor of that name. */
static void compare_line(const tensors *t, const char *name, const char *type, const char *shape, uint64_t hash)
{
    const tensor *x = tensors_find(t, name);
    char dims[64] = "";

    assert_non_null(x);
    for (int32_t i = 0, at = 0; i < x->n_dims; i++) {
        at += snprintf(dims + at, sizeof dims - (size_t)at, "%s%lld", i ? "x" : "", (long long)x->dims[i]);
    }
    assert_string_equal(dims, shape);
    assert_string_equal(x->type_name, type);
    assert_true(fnv1a(x->data, x->bytes) == hash);
}

static void open_reference(const char *model, tensors *t)
{
    char path[512];

    snprintf(path, sizeof path, "reference/models/%s", model);
    char *folder = reference_path(path);
    assert_non_null(folder);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    if (path_is_file(path)) {
        assert_accepted(safetensors_open_index(path, t));
    } else {
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        assert_accepted(safetensors_open(path, t));
    }
    free(folder);
}

static void every_tensor_equals_what_the_format_s_own_package_reads(void **state)
{
    FILE *table = fopen(TEST_DATA "/tensor_table.txt", "r");
    char file[128], name[128], type[16], shape[64], current[128] = "";
    unsigned long long hash;
    tensors t = {0};
    int64_t compared = 0, held = 0;

    (void)state;
    assert_non_null(table);
    while (fscanf(table, "%127s %127s %15s %63s %llx", file, name, type, shape, &hash) == 5) {
        if (strncmp(file, "models/", 7) != 0) {
            continue;
        }
        if (strcmp(file, current) != 0) {
            strcpy(current, file);
            tensors_close(&t);
            open_reference(file + 7, &t);
            held += t.n;
        }
        compare_line(&t, name, type, shape, hash);
        compared++;
    }
    assert_int_equal(compared, held);
    assert_int_equal(compared, 106);
    tensors_close(&t);
    fclose(table);
}

/* --- writing --- */

static void what_is_written_piece_by_piece_reads_back(void **state)
{
    const tensor_spec specs[] = {{"logits", DTYPE_F32, 2, {2, 3}}, {"nll", DTYPE_F64, 1, {1}}, {"none", DTYPE_I32, 1, {0}}};
    const float logits[6] = {1, 2, 3, 4, 5, 6};
    const double nll = 0.25;
    char *path = scratch_path("out.safetensors");
    safetensors_writer *w;
    tensors t;

    (void)state;
    assert_accepted(safetensors_create(path, specs, 3, &w));
    assert_false(path_is_file(path)); /* not before it is whole */
    assert_accepted(safetensors_write(w, logits, 4));
    assert_accepted(safetensors_write(w, logits + 1, 20));
    assert_accepted(safetensors_write(w, &nll, 8));
    assert_accepted(safetensors_finish(w));
    assert_accepted(safetensors_open(path, &t));
    assert_int_equal(t.n, 3);
    const tensor *x = tensors_find(&t, "logits");
    assert_int_equal(x->type, DTYPE_F32);
    assert_int_equal(x->dims[0] * 10 + x->dims[1], 23);
    assert_int_equal((uintptr_t)x->data % 8, 0);
    assert_memory_equal(x->data, logits, sizeof logits);
    assert_memory_equal(tensors_find(&t, "nll")->data, &nll, 8);
    tensors_close(&t);
    free(path);
}

static void an_unfinished_or_impossible_file_leaves_nothing_behind(void **state)
{
    const tensor_spec spec = {"x", DTYPE_F32, 1, {2}};
    char *path = scratch_path("unfinished.safetensors");
    safetensors_writer *w;

    (void)state;
    assert_accepted(safetensors_create(path, &spec, 1, &w));
    assert_accepted(safetensors_write(w, "1234", 4));
    assert_refused(safetensors_finish(w), LARIAT_FAILED, "4 bytes were written where its header says 8");
    assert_accepted(safetensors_create(path, &spec, 1, &w));
    safetensors_discard(w);
    assert_refused(safetensors_create("/nonexistent/x", &spec, 1, &w), LARIAT_IO, "cannot be written");
    assert_refused(safetensors_create(scratch_folder(), &spec, 1, &w), LARIAT_IO, "cannot be written: Is a directory");
    assert_int_equal(access(path, F_OK), -1);

    char *partial = NULL;
    assert_true(asprintf(&partial, "%s.%ld.partial", path, (long)getpid()) > 0);
    assert_int_equal(access(partial, F_OK), -1);
    free(partial);
    free(path);
}

static void names_are_escaped_and_those_that_no_header_can_hold_are_refused(void **state)
{
    const char *odd = "a \"quoted\\name\",\n\x01\xc3\xa9"; /* would end the header's string, or be no JSON at all */
    const tensor_spec specs[] = {{odd, DTYPE_U8, 1, {1}}, {"b", DTYPE_U8, 1, {1}}, {"b", DTYPE_U8, 1, {1}}};
    const tensor_spec bad[] = {
        {"\xff", DTYPE_U8, 1, {1}}, {"__metadata__", DTYPE_U8, 1, {1}}, {"vast", DTYPE_F32, 2, {INT64_MAX / 4, 2}}};
    char *path = scratch_path("names.safetensors");
    safetensors_writer *w;
    tensors t;

    (void)state;
    assert_accepted(safetensors_create(path, specs, 2, &w));
    assert_accepted(safetensors_write(w, "xy", 2));
    assert_accepted(safetensors_finish(w));
    assert_accepted(safetensors_open(path, &t));
    assert_int_equal(t.n, 2);
    assert_memory_equal(tensors_find(&t, odd)->data, "x", 1);
    assert_memory_equal(tensors_find(&t, "b")->data, "y", 1);
    tensors_close(&t);
    assert_refused(safetensors_create(path, specs, 3, &w), LARIAT_BAD_ARGUMENT, "the name b of a tensor is taken");
    assert_refused(safetensors_create(path, &bad[0], 1, &w), LARIAT_BAD_ARGUMENT, "is not UTF-8");
    assert_refused(safetensors_create(path, &bad[1], 1, &w), LARIAT_BAD_ARGUMENT, "is taken");
    assert_refused(safetensors_create(path, &bad[2], 1, &w), LARIAT_NO_MEMORY, "tensor vast is too large");
    free(path);
}

static void a_full_disk_is_one_line(void **state)
{
    const tensor_spec spec = {"x", DTYPE_F32, 1, {2}};
    safetensors_writer *w = NULL;

    (void)state;
    assert_accepted(safetensors_create("/dev/full", &spec, 1, &w));
    assert_accepted(safetensors_write(w, "12345678", 8));
    assert_refused(safetensors_finish(w), LARIAT_IO, "/dev/full: cannot be written: No space left");
    assert_int_equal(access("/dev/full", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_headers_are_refused_by_name),
        cmocka_unit_test(overlap_holes_and_leftovers_are_refused),
        cmocka_unit_test(absurd_header_lengths_are_refused),
        cmocka_unit_test(empty_tensors_scalars_and_odd_places_are_read),
        cmocka_unit_test(every_prefix_of_a_file_is_refused),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(an_index_that_lies_is_refused_by_name),
        cmocka_unit_test(every_tensor_equals_what_the_format_s_own_package_reads),
        cmocka_unit_test(what_is_written_piece_by_piece_reads_back),
        cmocka_unit_test(an_unfinished_or_impossible_file_leaves_nothing_behind),
        cmocka_unit_test(names_are_escaped_and_those_that_no_header_can_hold_are_refused),
        cmocka_unit_test(a_full_disk_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
