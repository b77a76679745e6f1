/* The metadata of one GGUF image: reading with bounds, and the key-value pairs.
   Rests on base/. Shared by gguf.c (files, tensors) and gguf_values.c (keys and values) only. */
#ifndef FORMAT_GGUF_VALUES_H
#define FORMAT_GGUF_VALUES_H

#include "format/gguf.h"

/* The format's numbers for the types of values. */
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

/* Little-endian reading that stops at the end of the image. */
typedef struct reader {
    const char *path; /* for messages */
    const unsigned char *data;
    size_t size, at;
} reader;

lariat_status read_u32(reader *r, const char *what, uint32_t *out);
lariat_status read_u64(reader *r, const char *what, uint64_t *out);
/* u64 length, then so many bytes; *out points into the image. */
lariat_status read_string(reader *r, const char *what, const char **out, size_t *size);

struct gguf_array {
    uint32_t type; /* of the elements */
    int64_t n;
    const unsigned char *data;     /* fixed-size elements, one after another */
    const unsigned char **strings; /* [n] where each string's length field lies; NULL for other types */
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

/* Reads `count` pairs and sorts them; refuses a key that is there twice. On failure the caller still calls _free. */
lariat_status gguf_values_read(reader *r, uint64_t count, gguf_values *out);
void gguf_values_free(gguf_values *v);
const gguf_value *gguf_values_find(const gguf_values *v, const char *key);
bool gguf_value_int(const gguf_value *v, int64_t *out);

struct gguf {
    char *path;
    gguf_values values; /* of the first file */
    tensors tensors;    /* of all files */
};

#endif
