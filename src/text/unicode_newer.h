/* Character properties of Unicode 15 and 16, which Hugging Face's expression engine has and PCRE2 10.42 (Unicode 14) lacks.
   Rests on nothing. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct unicode_range {
    int32_t first, last;
    char category[3]; /* "Lo" */
} unicode_range;

extern const unicode_range unicode_newer[];
extern const size_t n_unicode_newer;
