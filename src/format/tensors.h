/* A checkpoint as a list of named tensors in mapped memory, for every file format.
   Rests on base/. safetensors.c and gguf.c fill it; model/ binds weights by name. */
#pragma once

#include "base/dtype.h"
#include "base/file.h"
#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TENSOR_MAX_DIMS = 4 };

typedef struct tensor {
    char *name;
    dtype type;            /* DTYPE_COUNT: a type of the format that Lariat does not compute with */
    const char *type_name; /* "BF16", "IQ2_XXS": static */
    int32_t n_dims;
    int64_t dims[TENSOR_MAX_DIMS]; /* slowest first: a matrix is [rows, cols]; GGUF's are reversed */
    const void *data;              /* in the mapped file, within its bounds, without overlap (checked) */
    size_t bytes;                  /* equals the product of dims in `type` (checked) */
    int32_t file;                  /* index in files */
} tensor;

typedef struct tensors {
    mapped_file *files; /* [n_files] */
    int32_t n_files;
    tensor *list; /* [n], sorted by name */
    int64_t n, capacity;
} tensors;

/* The tensor of that name, or NULL. */
const tensor *tensors_find(const tensors *t, const char *name);
/* Unmaps and frees; safe on a zeroed list. */
void tensors_close(tensors *t);

/* Building a list. tensors_add copies *x, and `length` bytes of `name` as its name; tensors_sort sorts the list and refuses
   duplicate names. `path` is for messages. */
lariat_status tensors_add(tensors *t, const char *path, const tensor *x, const char *name, size_t length);
lariat_status tensors_sort(tensors *t, const char *path);
/* Refuses overlapping tensors in [first, n); if !holes, also bytes of [data, data + size) that no tensor covers. */
lariat_status tensors_check_layout(const tensors *t, const char *path, int64_t first, const unsigned char *data, size_t size,
                                   bool holes);

/* One .safetensors file, or all shards of an index (model.safetensors.index.json). Layout: u64 header length, JSON header
   {name: {dtype, shape, data_offsets}, __metadata__}, data. */
lariat_status safetensors_open(const char *path, tensors *out);
lariat_status safetensors_open_index(const char *index_path, tensors *out);

/* Adds the tensors of one safetensors image in memory and sorts (for the fuzzer and the two above); they point into the
   image. The rules are the reference library's: no holes, no overlap, no bytes after the last tensor. */
lariat_status safetensors_parse(const char *path, const unsigned char *data, size_t size, int32_t file, tensors *out);

/* Writes a safetensors file in pieces: the header, then data in the order of the tensors, so that a result of any size needs
   no memory. Writes a temporary file beside `path`; _finish moves it into place, _discard removes it. */
typedef struct safetensors_writer safetensors_writer;
typedef struct tensor_spec {
    const char *name;
    dtype type;
    int32_t n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
} tensor_spec;
lariat_status safetensors_create(const char *path, const tensor_spec specs[], int n, safetensors_writer **out);
lariat_status safetensors_write(safetensors_writer *w, const void *data, size_t bytes);
lariat_status safetensors_finish(safetensors_writer *w); /* frees w, also on failure */
void safetensors_discard(safetensors_writer *w);
