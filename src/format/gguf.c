/* GGUF files: the header, the list of tensors, and the other files of a split set.
   Rests on gguf_values.c for the metadata. Layout in gguf.h. */
#include "format/gguf_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ALIGNMENT = 32 };
enum { MAX_SPLITS = 99999 }; /* five digits in a name */

/* ggml's types by number. DTYPE_COUNT: such a tensor is listed but not computed with; elements and bytes of its block are
   here. Missing numbers were withdrawn. */
static const struct {
    const char *name;
    dtype type;
    uint16_t elements, bytes;
} types[] = {
    [0] = {.name = "F32", .type = DTYPE_F32},        [1] = {.name = "F16", .type = DTYPE_F16},
    [2] = {.name = "Q4_0", .type = DTYPE_Q4_0},      [3] = {.name = "Q4_1", .type = DTYPE_Q4_1},
    [6] = {.name = "Q5_0", .type = DTYPE_Q5_0},      [7] = {.name = "Q5_1", .type = DTYPE_Q5_1},
    [8] = {.name = "Q8_0", .type = DTYPE_Q8_0},      [9] = {"Q8_1", DTYPE_COUNT, 32, 36},
    [10] = {.name = "Q2_K", .type = DTYPE_Q2_K},     [11] = {.name = "Q3_K", .type = DTYPE_Q3_K},
    [12] = {.name = "Q4_K", .type = DTYPE_Q4_K},     [13] = {.name = "Q5_K", .type = DTYPE_Q5_K},
    [14] = {.name = "Q6_K", .type = DTYPE_Q6_K},     [15] = {"Q8_K", DTYPE_COUNT, 256, 292},
    [16] = {"IQ2_XXS", DTYPE_COUNT, 256, 66},        [17] = {"IQ2_XS", DTYPE_COUNT, 256, 74},
    [18] = {"IQ3_XXS", DTYPE_COUNT, 256, 98},        [19] = {"IQ1_S", DTYPE_COUNT, 256, 50},
    [20] = {.name = "IQ4_NL", .type = DTYPE_IQ4_NL}, [21] = {"IQ3_S", DTYPE_COUNT, 256, 110},
    [22] = {"IQ2_S", DTYPE_COUNT, 256, 82},          [23] = {"IQ4_XS", DTYPE_COUNT, 256, 136},
    [24] = {"I8", DTYPE_COUNT, 1, 1},                [25] = {"I16", DTYPE_COUNT, 1, 2},
    [26] = {.name = "I32", .type = DTYPE_I32},       [27] = {.name = "I64", .type = DTYPE_I64},
    [28] = {.name = "F64", .type = DTYPE_F64},       [29] = {"IQ1_M", DTYPE_COUNT, 256, 56},
    [30] = {.name = "BF16", .type = DTYPE_BF16},     [34] = {"TQ1_0", DTYPE_COUNT, 256, 54},
    [35] = {"TQ2_0", DTYPE_COUNT, 256, 66},          [39] = {"MXFP4", DTYPE_COUNT, 32, 17},
};

/* --- one image --- */

/* dims and bytes of a tensor of type number `t`; `name` is for messages. */
static lariat_status read_dims(reader *r, const char *name, uint32_t n_dims, tensor *x, int64_t *elements)
{
    *elements = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim = 0;
        TRY(read_u64(r, "a tensor's shape", &dim));
        if (dim > INT64_MAX || __builtin_mul_overflow(*elements, (int64_t)dim, elements)) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s has an absurd shape" FETCH_AGAIN, r->path, name);
        }
        x->dims[n_dims - 1 - i] = (int64_t)dim; /* the file has the fastest one first */
    }
    return LARIAT_OK;
}

static lariat_status read_type(reader *r, const char *name, int64_t elements, tensor *x)
{
    uint32_t t = 0;

    TRY(read_u32(r, "a tensor's type", &t));
    if (t >= sizeof types / sizeof *types || !types[t].name) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: tensor %s has the type number %u, which Lariat does not know: convert it to another, such as Q8_0",
                    r->path, name, t);
    }
    bool known = types[t].type != DTYPE_COUNT;
    int64_t block = known ? dtype_block_elements(types[t].type) : types[t].elements;
    int64_t block_bytes = known ? (int64_t)dtype_block_bytes(types[t].type) : types[t].bytes;
    int64_t row = x->n_dims ? x->dims[x->n_dims - 1] : 1, bytes;
    if (row % block != 0) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: tensor %s has rows of %lld elements, no multiple of the %lld in a block of %s" FETCH_AGAIN, r->path,
                    name, (long long)row, (long long)block, types[t].name);
    }
    if (__builtin_mul_overflow(elements / block, block_bytes, &bytes)) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s has an absurd shape" FETCH_AGAIN, r->path, name);
    }
    x->type = types[t].type;
    x->type_name = types[t].name;
    x->bytes = (size_t)bytes;
    return LARIAT_OK;
}

/* One tensor's description; its data pointer holds the offset until the beginning of the data is known. */
static lariat_status read_tensor(reader *r, int32_t file, tensors *out)
{
    tensor x = {.file = file};
    const char *text = NULL;
    size_t size = 0;
    uint32_t n_dims = 0;
    uint64_t offset = 0;
    int64_t elements = 1;
    char name[128]; /* for messages */

    TRY(read_string(r, "a tensor's name", &text, &size));
    snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), text);
    TRY(read_u32(r, "a tensor's shape", &n_dims));
    if (n_dims > TENSOR_MAX_DIMS) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s has %u dimensions, more than the format's %d" FETCH_AGAIN, r->path, name,
                    n_dims, TENSOR_MAX_DIMS);
    }
    x.n_dims = (int32_t)n_dims;
    TRY(read_dims(r, name, n_dims, &x, &elements));
    TRY(read_type(r, name, elements, &x));
    TRY(read_u64(r, "a tensor's offset", &offset));
    if (offset > r->size || x.bytes > r->size - offset) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: tensor %s has %zu bytes from %llu on, past the end of a file of %zu: the file is truncated, "
                    "fetch it again",
                    r->path, name, x.bytes, (unsigned long long)offset, r->size);
    }
    x.data = r->data + offset;
    return tensors_add(out, r->path, &x, text, size);
}

/* Sets the data pointers of tensors [first, n) from their offsets, and checks them. */
static lariat_status place_tensors(reader *r, size_t alignment, int64_t first, tensors *out)
{
    size_t start = r->at + (alignment - r->at % alignment) % alignment;

    for (int64_t i = first; i < out->n; i++) {
        tensor *x = &out->list[i];
        size_t offset = (size_t)((const unsigned char *)x->data - r->data);
        if (offset % alignment != 0) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s is at %zu, no multiple of the alignment of %zu" FETCH_AGAIN, r->path,
                        x->name, offset, alignment);
        }
        if (start > r->size || offset > r->size - start || x->bytes > r->size - start - offset) {
            return fail(LARIAT_BAD_MODEL,
                        "%s: tensor %s has %zu bytes from %zu on in data of %zu: the file is truncated, fetch it again",
                        r->path, x->name, x->bytes, offset, start > r->size ? 0 : r->size - start);
        }
        x->data = r->data + start + offset;
    }
    if (first == out->n) {
        return LARIAT_OK;
    }
    return tensors_check_layout(out, r->path, first, r->data + start, r->size - start, true);
}

static lariat_status read_alignment(const reader *r, const gguf_values *values, size_t *out)
{
    const gguf_value *v = gguf_values_find(values, "general.alignment");
    int64_t alignment = DEFAULT_ALIGNMENT;

    if (v &&
        (!gguf_value_int(v, &alignment) || alignment <= 0 || (alignment & (alignment - 1)) != 0 || alignment > INT32_MAX)) {
        return fail(LARIAT_BAD_MODEL, "%s: general.alignment is no power of two" FETCH_AGAIN, r->path);
    }
    *out = (size_t)alignment;
    return LARIAT_OK;
}

/* Reads one image; adds its tensors (unsorted) and fills *values. */
static lariat_status read_image(reader *r, int32_t file, gguf_values *values, tensors *out)
{
    uint32_t magic = 0, version = 0;
    uint64_t n_tensors = 0, n_values = 0;
    size_t alignment = DEFAULT_ALIGNMENT;
    int64_t first = out->n;

    TRY(read_u32(r, "its first bytes", &magic));
    if (magic != 0x46554747) { /* "GGUF" */
        return fail(LARIAT_BAD_MODEL, "%s: does not begin with GGUF: this is no GGUF file, name one or fetch it again",
                    r->path);
    }
    TRY(read_u32(r, "its version", &version));
    if (version == 2u << 24 || version == 3u << 24) {
        return fail(LARIAT_UNSUPPORTED, "%s: is a big-endian GGUF file: convert it with gguf-py's gguf_convert_endian",
                    r->path);
    }
    if (version != 2 && version != 3) {
        return fail(LARIAT_UNSUPPORTED, "%s: is a GGUF file of version %u, wanted 2 or 3: convert the model again", r->path,
                    version);
    }
    TRY(read_u64(r, "its counts", &n_tensors));
    TRY(read_u64(r, "its counts", &n_values));
    TRY(gguf_values_read(r, n_values, values));
    TRY(read_alignment(r, values, &alignment));
    for (uint64_t i = 0; i < n_tensors; i++) {
        TRY(read_tensor(r, file, out));
    }
    return place_tensors(r, alignment, first, out);
}

/* --- files --- */

static lariat_status new_gguf(const char *path, gguf **out)
{
    gguf *g = calloc(1, sizeof *g);

    *out = NULL;
    if (!g || !(g->path = strdup(path))) {
        free(g);
        return fail(LARIAT_NO_MEMORY, "%s: no memory to open it" FREE_MEMORY, path);
    }
    *out = g;
    return LARIAT_OK;
}

void gguf_close(gguf *g)
{
    if (g) {
        gguf_values_free(&g->values);
        tensors_close(&g->tensors);
        free(g->path);
        free(g);
    }
}

lariat_status gguf_parse(const char *path, const unsigned char *data, size_t size, gguf **out)
{
    reader r = {path, data, size, 0};

    TRY(new_gguf(path, out));
    lariat_status status = read_image(&r, 0, &(*out)->values, &(*out)->tensors);
    NEXT(status, tensors_sort(&(*out)->tensors, path));
    if (status != LARIAT_OK) {
        gguf_close(*out);
        *out = NULL;
    }
    return status;
}

/* Maps the next file of g, and reads it. */
static lariat_status read_file(gguf *g, const char *path, gguf_values *values)
{
    mapped_file *f = &g->tensors.files[g->tensors.n_files];

    TRY(map_file(path, f));
    g->tensors.n_files++;
    reader r = {f->path, f->data, f->size, 0};
    return read_image(&r, g->tensors.n_files - 1, values, &g->tensors);
}

/* The name of file `number` of `count`, derived from the name of file `mine`; NULL: not named like a file of a set. */
static char *part_name(const char *path, int64_t mine, int64_t number, int64_t count)
{
    char ending[64];
    char *name = NULL;
    size_t length = strlen(path);

    int n = snprintf(ending, sizeof ending, "-%05lld-of-%05lld.gguf", (long long)mine, (long long)count);
    if (length < (size_t)n || strcmp(path + length - (size_t)n, ending) != 0) {
        return NULL;
    }
    if (asprintf(&name, "%.*s-%05lld-of-%05lld.gguf", (int)(length - (size_t)n), path, (long long)number, (long long)count) <
        0) {
        return NULL;
    }
    return name;
}

/* split.no and split.count of one file; 0 and 1: not of a set. */
static lariat_status read_split(const char *path, const gguf_values *values, int64_t *number, int64_t *count)
{
    const gguf_value *n = gguf_values_find(values, "split.no");
    const gguf_value *c = gguf_values_find(values, "split.count");

    *number = 0;
    *count = 1;
    if (!n && !c) {
        return LARIAT_OK;
    }
    if (!gguf_value_int(c, count) || *count < 1 || *count > MAX_SPLITS || !gguf_value_int(n, number) || *number < 0 ||
        *number >= *count) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: split.no and split.count do not name a part of a set: split it again, or fetch it again", path);
    }
    return LARIAT_OK;
}

static lariat_status read_sister(gguf *g, int64_t number, int64_t count)
{
    char *path = part_name(g->path, 1, number + 1, count);
    gguf_values values = {0};
    int64_t its_number, its_count;

    if (!path) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: is the first of %lld files, but its name does not end in -00001-of-%05lld.gguf: give all of "
                    "them their names back",
                    g->path, (long long)count, (long long)count);
    }
    lariat_status status =
        path_is_file(path) ? read_file(g, path, &values)
                           : fail(LARIAT_BAD_MODEL, "%s: is missing: fetch all %lld files of the set", path, (long long)count);
    if (status == LARIAT_OK) {
        status = read_split(path, &values, &its_number, &its_count);
    }
    if (status == LARIAT_OK && (its_number != number || its_count != count)) {
        status =
            fail(LARIAT_BAD_MODEL, "%s: says that it is part %lld of %lld: the files of the set are mixed up, fetch them again",
                 path, (long long)its_number + 1, (long long)its_count);
    }
    gguf_values_free(&values);
    free(path);
    return status;
}

static lariat_status read_sisters(gguf *g)
{
    int64_t number, count, announced;

    TRY(read_split(g->path, &g->values, &number, &count));
    if (number != 0) {
        char *first = part_name(g->path, number + 1, 1, count);
        lariat_status status =
            fail(LARIAT_BAD_MODEL, "%s: is part %lld of %lld: name the first, %s", g->path, (long long)number + 1,
                 (long long)count, first ? first : "whose name ends in -00001-of-...");
        free(first);
        return status;
    }
    mapped_file *files = realloc(g->tensors.files, (size_t)count * sizeof *files);
    TRY_MEMORY(files, "%s: no memory to open its %lld files" FREE_MEMORY, g->path, (long long)count);
    g->tensors.files = files;
    for (int64_t i = 1; i < count; i++) {
        TRY(read_sister(g, i, count));
    }
    if (gguf_int(g, "split.tensors.count", &announced) && announced != g->tensors.n) {
        return fail(LARIAT_BAD_MODEL, "%s: the set has %lld tensors, and its first file announces %lld: fetch them again",
                    g->path, (long long)g->tensors.n, (long long)announced);
    }
    return tensors_sort(&g->tensors, g->path);
}

/* The file that was named, and the others of its set. */
static lariat_status read_set(gguf *g)
{
    g->tensors.files = calloc(1, sizeof *g->tensors.files);
    TRY_MEMORY(g->tensors.files, "%s: no memory to open it" FREE_MEMORY, g->path);
    TRY(read_file(g, g->path, &g->values));
    return read_sisters(g);
}

lariat_status gguf_open(const char *path, gguf **out)
{
    TRY(new_gguf(path, out));
    lariat_status status = read_set(*out);
    if (status != LARIAT_OK) {
        gguf_close(*out);
        *out = NULL;
    }
    return status;
}

const char *gguf_path(const gguf *g)
{
    return g->path;
}

const tensors *gguf_tensors(const gguf *g)
{
    return &g->tensors;
}
