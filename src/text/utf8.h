/* Strict UTF-8: no surrogates, no overlong forms, nothing above U+10FFFF. Lossy reading replaces each maximal ill-formed
   subpart, as the Unicode standard defines it, by one U+FFFD.
   Rests on buffer.h. */
#pragma once

#include "text/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4 };                          /* bytes of the longest character */
enum { UTF8_INVALID = -1, UTF8_PARTIAL = -2 };  /* results of utf8_decode in place of a code point */

#define UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Decodes the first character of text (size > 0): its code point, and its bytes in *length. UTF8_INVALID: ill-formed,
   *length is the maximal subpart's. UTF8_PARTIAL: truncated but so far well-formed, *length = size. */
int32_t utf8_decode(const char *text, size_t size, int *length);

/* Writes the character of a code point (at most U+10FFFF, no surrogate); returns how many bytes it has. */
size_t utf8_encode(int32_t code, char out[UTF8_MAX]);

/* Bytes of the first character of well-formed text. */
int utf8_length(const char *text);

bool utf8_valid(const char *text, size_t size);

/* Appends text with every maximal ill-formed subpart replaced by U+FFFD. */
lariat_status utf8_append_lossy(buffer *out, const char *text, size_t size);

/* The Unicode property White_Space. */
bool utf8_is_white_space(int32_t code);
