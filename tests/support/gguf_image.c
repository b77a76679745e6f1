/* Builds GGUF images. Rests on support/scratch.h. See gguf_image.h. */
#include "support/gguf_image.h"

#include <string.h>

void gguf_put_string(bytes *b, const char *text)
{
    bytes_u64(b, strlen(text));
    bytes_put(b, text, strlen(text));
}

void gguf_image_raw(gguf_image *g, const char *key, uint32_t type, const void *value, size_t size)
{
    gguf_put_string(&g->keys, key);
    bytes_u32(&g->keys, type);
    bytes_put(&g->keys, value, size);
    g->n_keys++;
}

void gguf_image_u32(gguf_image *g, const char *key, uint32_t value)
{
    bytes b = {0};
    bytes_u32(&b, value);
    gguf_image_raw(g, key, 4, b.data, b.size);
    bytes_free(&b);
}

void gguf_image_f32(gguf_image *g, const char *key, float value)
{
    gguf_image_raw(g, key, 6, &value, sizeof value);
}

void gguf_image_string(gguf_image *g, const char *key, const char *value)
{
    bytes b = {0};
    gguf_put_string(&b, value);
    gguf_image_raw(g, key, 8, b.data, b.size);
    bytes_free(&b);
}

void gguf_image_tensor(gguf_image *g, const char *name, uint32_t n_dims, const uint64_t dims[], uint32_t type, uint64_t offset)
{
    gguf_put_string(&g->tensors, name);
    bytes_u32(&g->tensors, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        bytes_u64(&g->tensors, dims[i]);
    }
    bytes_u32(&g->tensors, type);
    bytes_u64(&g->tensors, offset);
    g->n_tensors++;
}

bytes gguf_image_done(gguf_image *g, uint32_t version, size_t alignment, size_t data_bytes)
{
    bytes b = {0};

    bytes_put(&b, "GGUF", 4);
    bytes_u32(&b, version);
    bytes_u64(&b, g->n_tensors);
    bytes_u64(&b, g->n_keys);
    bytes_put(&b, g->keys.data ? g->keys.data : b.data, g->keys.size);
    bytes_put(&b, g->tensors.data ? g->tensors.data : b.data, g->tensors.size);
    while (b.size % alignment != 0) {
        bytes_put(&b, "", 1);
    }
    for (size_t i = 0; i < data_bytes; i++) {
        bytes_put(&b, "", 1);
    }
    bytes_free(&g->keys);
    bytes_free(&g->tensors);
    *g = (gguf_image){0};
    return b;
}
