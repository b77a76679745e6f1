/* The metadata of one GGUF image: a bounds-checked reader, and the key-value pairs.
   Rests on base/. Private to gguf.c (files, tensors) and gguf_values.c (keys and values). */
#pragma once

#include "format/gguf.h"

/* The format's numbers of value types. */
enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_TYPES
};

/* A little-endian reader that fails at the end of the image. */
typedef struct reader {
    const char *path; /* for messages */
    const unsigned char *data;
    size_t size, at;
} reader;

lariat_status read_u32(reader *r, const char *what, uint32_t *out);
lariat_status read_u64(reader *r, const char *what, uint64_t *out);
/* A u64 length and its bytes; *out points into the image. */
lariat_status read_string(reader *r, const char *what, const char **out, size_t *size);

struct gguf_array {
    uint32_t type; /* of the elements */
    int64_t n;
    const unsigned char *data;     /* fixed-size elements, one after another */
    const unsigned char **strings; /* [n] each string's length field; NULL for other types */
};

typedef struct gguf_value {
    const char *key; /* in the image, not terminated */
    size_t key_size;
    uint32_t type;
    const unsigned char *data;
    gguf_array array; /* if type is GGUF_ARRAY */
} gguf_value;

typedef struct gguf_values {
    gguf_value *list; /* [n], sorted by key */
    int64_t n, capacity;
} gguf_values;

/* Reads `count` pairs and sorts them; refuses duplicate keys. The caller calls _free also after a failure. */
lariat_status gguf_values_read(reader *r, uint64_t count, gguf_values *out);
void gguf_values_free(gguf_values *v);
const gguf_value *gguf_values_find(const gguf_values *v, const char *key);
bool gguf_value_int(const gguf_value *v, int64_t *out);

struct gguf {
    char *path;
    gguf_values values; /* of the first file */
    tensors tensors;    /* of all files */
};
