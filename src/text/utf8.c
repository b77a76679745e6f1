/* UTF-8: decoding with maximal ill-formed subparts, and White_Space.
   Rests on table 3-7 of the Unicode standard (which second bytes a first byte admits).
   Read on in encode.c (text in) and decode.c (text out). */
#include "text/utf8.h"

#include <string.h>

/* The length of a character by its first byte (0: invalid), and the range of its second byte. */
static int announced(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xC2) {
        return 0;
    }
    if (first < 0xE0) {
        return 2;
    }
    if (first < 0xF0) {
        *low = first == 0xE0 ? 0xA0 : 0x80;
        *high = first == 0xED ? 0x9F : 0xBF;
        return 3;
    }
    if (first < 0xF5) {
        *low = first == 0xF0 ? 0x90 : 0x80;
        *high = first == 0xF4 ? 0x8F : 0xBF;
        return 4;
    }
    return 0;
}

int32_t utf8_decode(const char *text, size_t size, int *length)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    int n = announced(s[0], &low, &high);
    int32_t code;

    *length = 1;
    if (n == 1) {
        return s[0];
    }
    if (n == 0) {
        return UTF8_INVALID;
    }
    code = s[0] & (0x7F >> n);
    for (int i = 1; i < n; i++) {
        if ((size_t)i == size) {
            *length = i;
            return UTF8_PARTIAL;
        }
        if (s[i] < low || s[i] > high) {
            *length = i;
            return UTF8_INVALID;
        }
        code = code << 6 | (s[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *length = n;
    return code;
}

size_t utf8_encode(int32_t code, char out[UTF8_MAX])
{
    size_t n = 0;

    if (code < 0x80) {
        out[n++] = (char)code;
        return n;
    }
    int shift = code < 0x800 ? 6 : code < 0x10000 ? 12 : 18;
    out[n++] = (char)((shift == 6 ? 0xC0 : shift == 12 ? 0xE0 : 0xF0) | code >> shift);
    for (shift -= 6; shift >= 0; shift -= 6) {
        out[n++] = (char)(0x80 | (code >> shift & 0x3F));
    }
    return n;
}

int utf8_length(const char *text)
{
    unsigned char first = (unsigned char)*text;

    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Length of the well-formed text from `at` on. */
static size_t valid_stretch(const char *text, size_t at, size_t size)
{
    size_t i = at;
    int length;

    while (i < size) {
        uint64_t eight;
        if (size - i >= sizeof eight) {
            memcpy(&eight, text + i, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += sizeof eight;
                continue;
            }
        }
        if (utf8_decode(text + i, size - i, &length) < 0) {
            break;
        }
        i += (size_t)length;
    }
    return i - at;
}

bool utf8_valid(const char *text, size_t size)
{
    return valid_stretch(text, 0, size) == size;
}

lariat_status utf8_append_lossy(buffer *out, const char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        size_t n = valid_stretch(text, at, size);
        int length;
        TRY(buffer_append(out, text + at, n));
        at += n;
        if (at < size) {
            (void)utf8_decode(text + at, size - at, &length);
            TRY(buffer_append(out, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT)));
            at += (size_t)length;
        }
    }
    return LARIAT_OK;
}

bool utf8_is_white_space(int32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
           code == 0x3000;
}
