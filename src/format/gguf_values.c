/* GGUF metadata: pairs {string key, u32 type, value}, where a value is a number, a bool, a string or an array of one of
   them.
   Rests on base/. Reading is bounds-checked; allocations follow the bytes read, never a count in the file. See gguf.h and
   gguf_values.h. */
#include "format/gguf_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a value, 0 where they are not fixed. */
static const uint8_t value_bytes[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

static uint64_t little_endian(const unsigned char *p, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

/* --- reading --- */

static lariat_status take(reader *r, const char *what, uint64_t bytes, const unsigned char **out)
{
    if (bytes > r->size - r->at) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: ends in the middle of %s (%llu bytes wanted at %zu of %zu): the file is truncated, fetch it again",
                    r->path, what, (unsigned long long)bytes, r->at, r->size);
    }
    *out = r->data + r->at;
    r->at += (size_t)bytes;
    return LARIAT_OK;
}

lariat_status read_u32(reader *r, const char *what, uint32_t *out)
{
    const unsigned char *p = NULL;

    TRY(take(r, what, 4, &p));
    *out = (uint32_t)little_endian(p, 4);
    return LARIAT_OK;
}

lariat_status read_u64(reader *r, const char *what, uint64_t *out)
{
    const unsigned char *p = NULL;

    TRY(take(r, what, 8, &p));
    *out = little_endian(p, 8);
    return LARIAT_OK;
}

lariat_status read_string(reader *r, const char *what, const char **out, size_t *size)
{
    uint64_t length = 0;
    const unsigned char *p = NULL;

    TRY(read_u64(r, what, &length));
    TRY(take(r, what, length, &p));
    *out = (const char *)p;
    *size = (size_t)length;
    return LARIAT_OK;
}

static lariat_status read_strings(reader *r, const char *key, uint64_t count, gguf_array *a)
{
    uint64_t capacity = 0;

    for (uint64_t i = 0; i < count; i++) {
        const unsigned char *start = r->data + r->at;
        const char *text;
        size_t size;
        TRY(read_string(r, key, &text, &size));
        if (i == capacity) { /* by doubling: see above */
            capacity = capacity ? 2 * capacity : 64;
            const unsigned char **grown = realloc(a->strings, (size_t)capacity * sizeof *grown);
            TRY_MEMORY(grown, "%s: no memory for the strings of %s" FREE_MEMORY, r->path, key);
            a->strings = grown;
        }
        a->strings[i] = start;
    }
    return LARIAT_OK;
}

static lariat_status read_array(reader *r, const char *key, gguf_array *a)
{
    uint64_t count = 0;

    TRY(read_u32(r, key, &a->type));
    TRY(read_u64(r, key, &count));
    if (a->type >= GGUF_VALUE_TYPES || a->type == GGUF_ARRAY) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is an array of %s" FETCH_AGAIN, r->path, key,
                    a->type == GGUF_ARRAY ? "arrays" : "an unknown type");
    }
    if (count > r->size) { /* every element takes a byte at least; also keeps the product below from overflowing */
        return fail(LARIAT_BAD_MODEL, "%s: key %s announces %llu elements in a file of %zu bytes" FETCH_AGAIN, r->path, key,
                    (unsigned long long)count, r->size);
    }
    a->n = (int64_t)count;
    if (a->type == GGUF_STRING) {
        return read_strings(r, key, count, a);
    }
    return take(r, key, count * value_bytes[a->type], &a->data);
}

static lariat_status read_value(reader *r, gguf_value *v)
{
    char key[128]; /* for messages */
    const char *text = NULL;
    size_t size = 0;

    TRY(read_string(r, "a key", &v->key, &v->key_size));
    if (v->key_size == 0 || v->key_size > UINT16_MAX) {
        return fail(LARIAT_BAD_MODEL, "%s: a key has %zu bytes, outside of 1 to %d" FETCH_AGAIN, r->path, v->key_size,
                    UINT16_MAX);
    }
    snprintf(key, sizeof key, "%.*s", (int)v->key_size, v->key);
    TRY(read_u32(r, key, &v->type));
    if (v->type >= GGUF_VALUE_TYPES) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s has the type %u, which the format does not define" FETCH_AGAIN, r->path, key,
                    v->type);
    }
    if (v->type == GGUF_ARRAY) {
        return read_array(r, key, &v->array);
    }
    v->data = r->data + r->at;
    if (v->type == GGUF_STRING) {
        return read_string(r, key, &text, &size);
    }
    return take(r, key, value_bytes[v->type], &v->data);
}

static int compare_keys(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int by_key(const void *a, const void *b)
{
    const gguf_value *x = a;
    const gguf_value *y = b;
    return compare_keys(x->key, x->key_size, y->key, y->key_size);
}

lariat_status gguf_values_read(reader *r, uint64_t count, gguf_values *out)
{
    for (uint64_t i = 0; i < count; i++) {
        if (out->n == out->capacity) {
            int64_t capacity = out->capacity ? 2 * out->capacity : 64;
            gguf_value *grown = realloc(out->list, (size_t)capacity * sizeof *grown);
            TRY_MEMORY(grown, "%s: no memory for its keys" FREE_MEMORY, r->path);
            out->list = grown;
            out->capacity = capacity;
        }
        out->list[out->n] = (gguf_value){0};
        out->n++; /* before reading, so that _free sees what a failed read has allocated */
        TRY(read_value(r, &out->list[out->n - 1]));
    }
    if (out->n > 1) {
        qsort(out->list, (size_t)out->n, sizeof *out->list, by_key);
    }
    for (int64_t i = 1; i < out->n; i++) {
        if (by_key(&out->list[i - 1], &out->list[i]) == 0) {
            return fail(LARIAT_BAD_MODEL, "%s: key %.*s is there twice" FETCH_AGAIN, r->path, (int)out->list[i].key_size,
                        out->list[i].key);
        }
    }
    return LARIAT_OK;
}

void gguf_values_free(gguf_values *v)
{
    for (int64_t i = 0; i < v->n; i++) {
        free(v->list[i].array.strings);
    }
    free(v->list);
    *v = (gguf_values){0};
}

const gguf_value *gguf_values_find(const gguf_values *v, const char *key)
{
    const gguf_value wanted = {.key = key, .key_size = strlen(key)};

    return v->n ? bsearch(&wanted, v->list, (size_t)v->n, sizeof wanted, by_key) : NULL;
}

/* --- values --- */

static bool number_as_int(uint32_t type, const unsigned char *p, int64_t *out)
{
    switch (type) {
    case GGUF_U8:
        *out = p[0];
        return true;
    case GGUF_I8:
        *out = (int8_t)p[0];
        return true;
    case GGUF_U16:
        *out = (uint16_t)little_endian(p, 2);
        return true;
    case GGUF_I16:
        *out = (int16_t)little_endian(p, 2);
        return true;
    case GGUF_U32:
        *out = (uint32_t)little_endian(p, 4);
        return true;
    case GGUF_I32:
        *out = (int32_t)little_endian(p, 4);
        return true;
    case GGUF_I64:
        *out = (int64_t)little_endian(p, 8);
        return true;
    case GGUF_U64:
        *out = (int64_t)little_endian(p, 8);
        return *out >= 0;
    default:
        return false;
    }
}

static bool number_as_float(uint32_t type, const unsigned char *p, double *out)
{
    int64_t whole;

    if (type == GGUF_F32) {
        uint32_t bits = (uint32_t)little_endian(p, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
        return true;
    }
    if (type == GGUF_F64) {
        uint64_t bits = little_endian(p, 8);
        memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (number_as_int(type, p, &whole) && whole <= INT64_C(1) << 53 && whole >= -(INT64_C(1) << 53)) {
        *out = (double)whole;
        return true;
    }
    return false;
}

bool gguf_value_int(const gguf_value *v, int64_t *out)
{
    return v && number_as_int(v->type, v->data, out);
}

bool gguf_has(const gguf *g, const char *key)
{
    return gguf_values_find(&g->values, key) != NULL;
}

bool gguf_int(const gguf *g, const char *key, int64_t *out)
{
    return gguf_value_int(gguf_values_find(&g->values, key), out);
}

bool gguf_float(const gguf *g, const char *key, double *out)
{
    const gguf_value *v = gguf_values_find(&g->values, key);
    return v && number_as_float(v->type, v->data, out);
}

bool gguf_bool(const gguf *g, const char *key, bool *out)
{
    const gguf_value *v = gguf_values_find(&g->values, key);

    if (!v || v->type != GGUF_BOOL) {
        return false;
    }
    *out = v->data[0] != 0;
    return true;
}

static void string_at(const unsigned char *p, const char **out, size_t *size)
{
    *size = (size_t)little_endian(p, 8);
    *out = (const char *)p + 8;
}

bool gguf_string(const gguf *g, const char *key, const char **out, size_t *size)
{
    const gguf_value *v = gguf_values_find(&g->values, key);

    if (!v || v->type != GGUF_STRING) {
        return false;
    }
    string_at(v->data, out, size);
    return true;
}

/* --- arrays --- */

const gguf_array *gguf_find_array(const gguf *g, const char *key)
{
    const gguf_value *v = gguf_values_find(&g->values, key);
    return v && v->type == GGUF_ARRAY ? &v->array : NULL;
}

int64_t gguf_array_length(const gguf *g, const char *key)
{
    const gguf_array *a = gguf_find_array(g, key);
    return a ? a->n : -1;
}

int64_t gguf_array_size(const gguf_array *a)
{
    return a->n;
}

bool gguf_array_string(const gguf_array *a, int64_t i, const char **out, size_t *size)
{
    if (a->type != GGUF_STRING || i < 0 || i >= a->n) {
        return false;
    }
    string_at(a->strings[i], out, size);
    return true;
}

bool gguf_array_int(const gguf_array *a, int64_t i, int64_t *out)
{
    return i >= 0 && i < a->n && a->data && number_as_int(a->type, a->data + i * value_bytes[a->type], out);
}

bool gguf_array_float(const gguf_array *a, int64_t i, double *out)
{
    return i >= 0 && i < a->n && a->data && number_as_float(a->type, a->data + i * value_bytes[a->type], out);
}
