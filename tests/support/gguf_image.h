/* Builds GGUF images for tests: sound ones, and any fault in them.
   Rests on support/scratch.h. */
#pragma once

#include "support/scratch.h"

/* Keys and tensors gather in two parts; gguf_image_done puts header, keys, tensors, padding and `data_bytes` of data together.
 */
typedef struct gguf_image {
    bytes keys, tensors;
    uint64_t n_keys, n_tensors;
} gguf_image;

void gguf_put_string(bytes *b, const char *text);
void gguf_image_u32(gguf_image *g, const char *key, uint32_t value);
void gguf_image_f32(gguf_image *g, const char *key, float value);
void gguf_image_string(gguf_image *g, const char *key, const char *value);
/* A key of any type, its value as bytes. */
void gguf_image_raw(gguf_image *g, const char *key, uint32_t type, const void *value, size_t size);
/* dims as the file has them, fastest first. */
void gguf_image_tensor(gguf_image *g, const char *name, uint32_t n_dims, const uint64_t dims[], uint32_t type, uint64_t offset);
/* Frees the parts. The data bytes are zero. */
bytes gguf_image_done(gguf_image *g, uint32_t version, size_t alignment, size_t data_bytes);
