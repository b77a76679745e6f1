/* Questions about strings.
   Rests on nothing. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <string.h>

static inline bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), e = strlen(ending);

    return n >= e && strcmp(text + n - e, ending) == 0;
}

#endif
