/* UTF-8 as the Unicode standard has it: no surrogates, nothing overlong, nothing above U+10FFFF.
   An ill-formed stretch is cut into maximal subparts, each of which a lossy reading shows as one U+FFFD.
   Rests on buffer.h. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include "text/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4 };                          /* bytes of the longest character */
enum { UTF8_INVALID = -1, UTF8_PARTIAL = -2 };  /* what utf8_decode gives instead of a code point */

#define UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* The character that text begins with (size > 0): its code point, and its bytes in *length. UTF8_INVALID with the length of the
   maximal subpart if it is ill-formed; UTF8_PARTIAL, with *length = size, if it is cut off but could still become a
   character. */
int32_t utf8_decode(const char *text, size_t size, int *length);

/* Bytes of the character that begins at `text`, which is well-formed. */
int utf8_length(const char *text);

bool utf8_valid(const char *text, size_t size);

/* Appends text with every maximal ill-formed subpart replaced by U+FFFD. */
lariat_status utf8_append_lossy(buffer *out, const char *text, size_t size);

/* The Unicode property White_Space. */
bool utf8_is_white_space(int32_t code);

#endif
