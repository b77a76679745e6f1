/* Safetensors: one file, or the shards that an index names. Layout: u64 header length, JSON header {name: {dtype, shape,
   data_offsets}, __metadata__}, data.
   Rests on base/json.h. The rules are the reference library's. See tensors.h; writing is in safetensors_writer.c. */
#include "base/json.h"
#include "format/tensors.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100 << 20 }; /* the format's own */
enum { INDEX_LIMIT = 100 << 20 };

/* Every element type of the format, in bits. */
static const struct {
    const char *name;
    dtype type;
    unsigned bits;
} types[] = {
    {"F32", DTYPE_F32, 32},      {"F16", DTYPE_F16, 16},      {"BF16", DTYPE_BF16, 16},    {"F64", DTYPE_F64, 64},
    {"I64", DTYPE_I64, 64},      {"I32", DTYPE_I32, 32},      {"U8", DTYPE_U8, 8},         {"BOOL", DTYPE_COUNT, 8},
    {"I8", DTYPE_I8, 8},      {"I16", DTYPE_COUNT, 16},    {"U16", DTYPE_COUNT, 16},    {"U32", DTYPE_COUNT, 32},
    {"U64", DTYPE_COUNT, 64},    {"F8_E4M3", DTYPE_COUNT, 8}, {"F8_E5M2", DTYPE_COUNT, 8}, {"F8_E8M0", DTYPE_COUNT, 8},
    {"F6_E2M3", DTYPE_COUNT, 6}, {"F6_E3M2", DTYPE_COUNT, 6}, {"F4", DTYPE_COUNT, 4},      {"C64", DTYPE_COUNT, 64},
};

static lariat_status read_type(const char *path, const char *name, const json_t *entry, tensor *x, unsigned *bits)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));

    if (!text) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s has no \"dtype\"" FETCH_AGAIN, path, name);
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, text) == 0) {
            x->type = types[i].type;
            x->type_name = types[i].name;
            *bits = types[i].bits;
            return LARIAT_OK;
        }
    }
    return fail(LARIAT_UNSUPPORTED, "%s: tensor %s has the type \"%s\", which the format does not define" FETCH_AGAIN, path,
                name, text);
}

/* dims, and bytes as their product. */
static lariat_status read_shape(const char *path, const char *name, const json_t *entry, unsigned bits, tensor *x)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    uint64_t product = bits;

    if (!json_is_array(shape)) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s has no \"shape\"" FETCH_AGAIN, path, name);
    }
    if (n > TENSOR_MAX_DIMS) {
        return fail(LARIAT_UNSUPPORTED, "%s: tensor %s has %zu dimensions, more than %d" FETCH_AGAIN, path, name, n,
                    TENSOR_MAX_DIMS);
    }
    x->n_dims = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s has a shape that is not of whole numbers" FETCH_AGAIN, path, name);
        }
        x->dims[i] = json_integer_value(v);
        if (__builtin_mul_overflow(product, (uint64_t)x->dims[i], &product)) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s has an absurd shape" FETCH_AGAIN, path, name);
        }
    }
    if (product % CHAR_BIT != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s does not fill whole bytes" FETCH_AGAIN, path, name);
    }
    x->bytes = product / CHAR_BIT;
    return LARIAT_OK;
}

static lariat_status read_offsets(const char *path, const char *name, const json_t *entry, const unsigned char *data,
                                  size_t size, tensor *x)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0);
    const json_t *last = json_array_get(offsets, 1);

    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last)) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s has no two \"data_offsets\"" FETCH_AGAIN, path, name);
    }
    int64_t start = json_integer_value(first);
    int64_t end = json_integer_value(last);
    if (start < 0 || end < start) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s is at [%lld, %lld), which is no range" FETCH_AGAIN, path, name,
                    (long long)start, (long long)end);
    }
    if ((uint64_t)end > size) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s ends %lld bytes into data of %zu: the file is truncated, fetch it again",
                    path, name, (long long)end, size);
    }
    if ((uint64_t)(end - start) != x->bytes) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s takes %zu bytes by its shape and %lld by its offsets" FETCH_AGAIN, path,
                    name, x->bytes, (long long)(end - start));
    }
    x->data = data + start;
    return LARIAT_OK;
}

static lariat_status read_entry(const char *path, const char *name, size_t length, const json_t *entry,
                                const unsigned char *data, size_t size, int32_t file, tensors *out)
{
    tensor x = {.file = file};
    unsigned bits = 0;

    TRY(read_type(path, name, entry, &x, &bits));
    TRY(read_shape(path, name, entry, bits, &x));
    TRY(read_offsets(path, name, entry, data, size, &x));
    return tensors_add(out, path, &x, name, length);
}

static lariat_status read_header(const char *path, json_t *header, const unsigned char *data, size_t size, int32_t file,
                                 tensors *out)
{
    int64_t first = out->n;
    const char *name;
    json_t *entry;

    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0) {
            TRY(read_entry(path, name, strlen(name), entry, data, size, file, out));
        }
    }
    return tensors_check_layout(out, path, first, data, size, false);
}

lariat_status safetensors_parse(const char *path, const unsigned char *data, size_t size, int32_t file, tensors *out)
{
    uint64_t length = 0;

    if (size < 8) {
        return fail(LARIAT_BAD_MODEL, "%s: has %zu bytes, too few for a safetensors file: fetch it again", path, size);
    }
    for (int i = 0; i < 8; i++) {
        length |= (uint64_t)data[i] << (8 * i);
    }
    if (length > HEADER_LIMIT) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: announces a header of %llu bytes, more than the format's limit of %d: this is no safetensors file, "
                    "fetch it again",
                    path, (unsigned long long)length, HEADER_LIMIT);
    }
    if (length > size - 8) {
        return fail(LARIAT_BAD_MODEL, "%s: has %zu bytes, and a header of %llu: the file is truncated, fetch it again", path,
                    size, (unsigned long long)length);
    }
    if (length == 0 || data[8] != '{') {
        return fail(LARIAT_BAD_MODEL, "%s: its header does not begin with {: this is no safetensors file, fetch it again",
                    path);
    }

    json_t *header;
    TRY(json_read(path, (const char *)data + 8, length, &header));
    lariat_status status = read_header(path, header, data + 8 + length, size - 8 - length, file, out);
    json_decref(header);
    return status == LARIAT_OK ? tensors_sort(out, path) : status;
}

/* Opens files[n_files], which must be the next free one. */
static lariat_status open_file(const char *path, tensors *out)
{
    mapped_file *f = &out->files[out->n_files];

    TRY(map_file(path, f));
    out->n_files++;
    return safetensors_parse(path, f->data, f->size, out->n_files - 1, out);
}

lariat_status safetensors_open(const char *path, tensors *out)
{
    *out = (tensors){0};
    out->files = calloc(1, sizeof *out->files);
    TRY_MEMORY(out->files, "%s: no memory to open it" FREE_MEMORY, path);
    lariat_status status = open_file(path, out);
    if (status != LARIAT_OK) {
        tensors_close(out);
    }
    return status;
}

/* --- an index and its shards --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct names of the shards, sorted; *out points into the index. */
static lariat_status list_shards(const char *path, const json_t *map, const char ***out, size_t *count)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    const char **shards = malloc((json_object_size(map) + 1) * sizeof *shards);

    *out = shards;
    TRY_MEMORY(shards, "%s: no memory for the names of its shards" FREE_MEMORY, path);
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const char *file = json_string_value(value);
        if (!file || !*file || strchr(file, '/') || file[0] == '.') {
            return fail(LARIAT_BAD_MODEL,
                        "%s: \"weight_map\" puts tensor %s into %s: wanted the name of a file in the same folder", path, name,
                        file ? file : "something that is not a string");
        }
        shards[n++] = file;
    }
    if (n == 0) {
        return fail(LARIAT_BAD_MODEL, "%s: \"weight_map\" names no tensor" FETCH_AGAIN, path);
    }
    qsort(shards, n, sizeof *shards, by_text);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++) {
        if (strcmp(shards[i], shards[kept - 1]) != 0) {
            shards[kept++] = shards[i];
        }
    }
    *count = kept;
    return LARIAT_OK;
}

static lariat_status open_shards(const char *path, const char *const *shards, size_t n, tensors *out)
{
    char *folder = path_folder(path);
    lariat_status status = LARIAT_OK;

    out->files = calloc(n, sizeof *out->files);
    if (!out->files || !folder || n > INT32_MAX) {
        free(folder);
        return fail(LARIAT_NO_MEMORY, "%s: no memory to open %zu shards" FREE_MEMORY, path, n);
    }
    for (size_t i = 0; i < n && status == LARIAT_OK; i++) {
        char *file = path_join(folder, shards[i]);
        if (!file) {
            status = fail(LARIAT_NO_MEMORY, "%s: no memory to open %zu shards" FREE_MEMORY, path, n);
        } else if (!path_is_file(file)) {
            status = fail(LARIAT_BAD_MODEL, "%s: names the shard %s, which is missing: fetch it", path, shards[i]);
        } else {
            status = open_file(file, out);
        }
        free(file);
    }
    free(folder);
    return status;
}

/* Is every tensor in the shard that the index names? */
static lariat_status check_map(const char *path, const json_t *map, const char *const *shards, const tensors *t)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const tensor *x = tensors_find(t, name);
        if (!x) {
            return fail(LARIAT_BAD_MODEL, "%s: puts tensor %s into %s, which does not have it: fetch both again", path, name,
                        json_string_value(value));
        }
        if (strcmp(shards[x->file], json_string_value(value)) != 0) {
            return fail(LARIAT_BAD_MODEL, "%s: puts tensor %s into %s, but it is in %s: fetch the index again", path, name,
                        json_string_value(value), shards[x->file]);
        }
    }
    return LARIAT_OK;
}

lariat_status safetensors_open_index(const char *index_path, tensors *out)
{
    json_t *index;
    const char **shards = NULL;
    size_t n = 0;

    *out = (tensors){0};
    TRY(json_read_file(index_path, INDEX_LIMIT, &index));
    const json_t *map = json_object_get(index, "weight_map");
    lariat_status status = LARIAT_OK;
    if (!json_is_object(map)) {
        status = fail(LARIAT_BAD_MODEL, "%s: has no \"weight_map\"" FETCH_AGAIN, index_path);
    }
    NEXT(status, list_shards(index_path, map, &shards, &n));
    NEXT(status, open_shards(index_path, shards, n, out));
    NEXT(status, check_map(index_path, map, shards, out));
    if (status != LARIAT_OK) {
        tensors_close(out);
    }
    free(shards);
    json_decref(index);
    return status;
}
