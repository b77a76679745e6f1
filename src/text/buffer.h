/* Growing arrays: bytes, ids, and any element type.
   Rests on base/fail.h. */
#pragma once

#include "base/fail.h"

#include <stddef.h>
#include <stdint.h>

typedef struct buffer {
    char *data;
    size_t size, capacity;
} buffer;

typedef struct id_list {
    int32_t *data;
    int64_t n, capacity;
} id_list;

/* Reserves `more` further bytes; appending them cannot fail afterwards. */
lariat_status buffer_reserve(buffer *b, size_t more);
lariat_status buffer_append(buffer *b, const char *data, size_t size);
/* Appends a zero byte that `size` does not count. */
lariat_status buffer_terminate(buffer *b);
void buffer_free(buffer *b);

lariat_status id_list_append(id_list *l, int32_t id);
void id_list_free(id_list *l);

/* Grows an array of elements of `element` bytes to at least `wanted` (1 or more) and at least twice its length. Returns the
   array, perhaps moved; NULL without memory: the array is unchanged. */
void *grow_array(void *data, int64_t *capacity, int64_t wanted, size_t element);

/* The same for a typed list; without memory it returns from the function. */
#define GROW(list, capacity, wanted)                                                  \
    do {                                                                              \
        void *grown_ = grow_array((list), &(capacity), (wanted), sizeof *(list));     \
        if (!grown_) {                                                                \
            return LARIAT_NO_MEMORY;                                                  \
        }                                                                             \
        (list) = grown_;                                                              \
    } while (0)
