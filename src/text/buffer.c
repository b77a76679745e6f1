/* Arrays that grow by doubling: appending takes amortised constant time.
   Rests on malloc. Read on in utf8.c and encode.c, which fill them. */
#include "text/buffer.h"

#include <stdlib.h>
#include <string.h>

lariat_status buffer_reserve(buffer *b, size_t more)
{
    size_t capacity = b->capacity ? b->capacity : 256;
    char *data;

    if (more > SIZE_MAX / 4 || b->size > SIZE_MAX / 4) {
        return fail(LARIAT_NO_MEMORY, "text: %zu more bytes cannot be held" FREE_MEMORY, more);
    }
    while (capacity < b->size + more) {
        capacity *= 2;
    }
    if (b->data && capacity == b->capacity) {
        return LARIAT_OK;
    }
    data = realloc(b->data, capacity);
    TRY_MEMORY(data, "text: no memory for %zu bytes" FREE_MEMORY, capacity);
    b->data = data;
    b->capacity = capacity;
    return LARIAT_OK;
}

lariat_status buffer_append(buffer *b, const char *data, size_t size)
{
    TRY(buffer_reserve(b, size));
    if (size) {
        memcpy(b->data + b->size, data, size);
    }
    b->size += size;
    return LARIAT_OK;
}

lariat_status buffer_terminate(buffer *b)
{
    TRY(buffer_reserve(b, 1));
    b->data[b->size] = '\0';
    return LARIAT_OK;
}

void buffer_free(buffer *b)
{
    free(b->data);
    *b = (buffer){ 0 };
}

void *grow_array(void *data, int64_t *capacity, int64_t wanted, size_t element)
{
    int64_t n = *capacity > 16 ? *capacity : 16;
    size_t bytes;

    if (wanted <= *capacity) {
        return data;
    }
    while (n < wanted) {
        n *= 2;
    }
    void *grown = __builtin_mul_overflow((size_t)n, element, &bytes) ? NULL : realloc(data, bytes);
    if (!grown) {
        (void)fail(LARIAT_NO_MEMORY, "text: no memory for %lld elements of %zu bytes" FREE_MEMORY, (long long)n, element);
        return NULL;
    }
    *capacity = n;
    return grown;
}

lariat_status id_list_append(id_list *l, int32_t id)
{
    if (l->n == l->capacity) {
        GROW(l->data, l->capacity, l->n + 1);
    }
    l->data[l->n++] = id;
    return LARIAT_OK;
}

void id_list_free(id_list *l)
{
    free(l->data);
    *l = (id_list){ 0 };
}
