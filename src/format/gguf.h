/* GGUF versions 2 and 3: metadata and tensors of one file or of a split set (-00001-of-0000N.gguf).
   Layout: "GGUF", u32 version, u64 n_tensors, u64 n_kv, kv pairs {string key, u32 type, value}, tensor infos {string name,
   u32 n_dims, u64 dims[] (fastest first), u32 type, u64 offset}, padding to general.alignment (32), data.
   Rests on format/tensors.h. */
#pragma once

#include "format/tensors.h"

typedef struct gguf gguf;

/* Opens the file, and the others of a split set (split.count). The gguf owns the tensors. */
lariat_status gguf_open(const char *path, gguf **out);
/* Parses one image in memory, not a split set (for the fuzzer). */
lariat_status gguf_parse(const char *path, const unsigned char *data, size_t size, gguf **out);
void gguf_close(gguf *g);

const char *gguf_path(const gguf *g);
const tensors *gguf_tensors(const gguf *g);

/* Metadata of the first file. Each returns true and sets *out if the key exists with a type that converts without loss.
   Strings are not terminated: length in *size. */
bool gguf_has(const gguf *g, const char *key);
bool gguf_int(const gguf *g, const char *key, int64_t *out);
bool gguf_float(const gguf *g, const char *key, double *out);
bool gguf_bool(const gguf *g, const char *key, bool *out);
bool gguf_string(const gguf *g, const char *key, const char **out, size_t *size);
/* Length of an array, -1 if the key is not an array. Element access is O(1). */
int64_t gguf_array_length(const gguf *g, const char *key);

/* An array, looked up once by key: for vocabularies. */
typedef struct gguf_array gguf_array;
const gguf_array *gguf_find_array(const gguf *g, const char *key);
int64_t gguf_array_size(const gguf_array *a);
bool gguf_array_string(const gguf_array *a, int64_t i, const char **out, size_t *size);
bool gguf_array_int(const gguf_array *a, int64_t i, int64_t *out);
bool gguf_array_float(const gguf_array *a, int64_t i, double *out);
