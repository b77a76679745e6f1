/* Normalization: the rules of tokenizer.json, or SentencePiece's handling of spaces.
   Rests on tokenizer.h. */
#pragma once

#include "text/tokenizer.h"

/* Does the vocabulary normalize? */
bool normalizes(const vocabulary *v);

/* Writes the normalized text to `out`; `other` is scratch. */
lariat_status normalize(const lariat_tokenizer *t, const char *text, size_t size, buffer *out, buffer *other);

/* Appends text with every `pattern` replaced by `content`. */
lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content);
