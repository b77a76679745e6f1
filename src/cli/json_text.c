/* Making bytes valid for JSON.
   Rests on table 3-7 of the Unicode standard (which second bytes a first byte admits). */
#include "cli/json_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* May this byte be the i-th of a character that begins with `first`? */
static bool goes_on(unsigned char first, size_t i, unsigned char byte)
{
    unsigned char low = 0x80, high = 0xBF;

    if (i == 1) {
        low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : low;
        high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : high;
    }
    return byte >= low && byte <= high;
}

/* Bytes of the character at s, or of the maximal ill-formed part, which is one or more. */
static size_t part(const unsigned char *s, size_t left, bool *whole)
{
    size_t size = s[0] < 0x80 ? 1 : s[0] < 0xC2 || s[0] > 0xF4 ? 0 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    size_t n = 1;

    while (n < size && n < left && goes_on(s[0], n, s[n])) {
        n++;
    }
    *whole = n == size;
    return n;
}

json_t *json_from_bytes(const char *data, size_t size)
{
    char *clean = malloc(size * (sizeof replacement - 1) + 1);
    if (!clean) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < size;) {
        bool whole;
        size_t taken = part((const unsigned char *)data + i, size - i, &whole);
        size_t bytes = whole ? taken : sizeof replacement - 1;
        memcpy(clean + n, whole ? data + i : replacement, bytes);
        n += bytes;
        i += taken;
    }
    json_t *result = json_stringn_nocheck(clean, n);
    free(clean);
    return result;
}

json_t *json_from_text(const char *data)
{
    return data ? json_from_bytes(data, strlen(data)) : json_null();
}
