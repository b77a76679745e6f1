/* Making bytes valid for JSON.
   Rests on the definition of UTF-8 (RFC 3629). */
#include "cli/json_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static bool is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

/* Bytes of the character at s, 0: invalid. */
static size_t character(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) {
        return 1;
    }
    size_t size = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || size > left) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if (!is_tail(s[i])) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xED && s[1] > 0x9F;
    bool beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : size;
}

json_t *json_from_bytes(const char *data, size_t size)
{
    char *clean = malloc(size * (sizeof replacement - 1) + 1);
    if (!clean) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < size;) {
        size_t taken = character((const unsigned char *)data + i, size - i);
        const char *from = taken ? data + i : replacement;
        size_t bytes = taken ? taken : sizeof replacement - 1;
        memcpy(clean + n, from, bytes);
        n += bytes;
        i += taken ? taken : 1;
    }
    json_t *result = json_stringn_nocheck(clean, n);
    free(clean);
    return result;
}

json_t *json_from_text(const char *data)
{
    return data ? json_from_bytes(data, strlen(data)) : json_null();
}
