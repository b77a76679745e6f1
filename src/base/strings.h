/* Comparing strings.
   Rests on nothing. */
#pragma once

#include <stdbool.h>
#include <string.h>

static inline bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), e = strlen(ending);

    return n >= e && strcmp(text + n - e, ending) == 0;
}

/* Does the text of `size` bytes, not necessarily terminated, equal `wanted`? */
static inline bool text_is(const char *text, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}
