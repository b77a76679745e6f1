/* Text as merging wants it: the rules of tokenizer.json, or SentencePiece's handling of spaces.
   Rests on tokenizer.h. */
#ifndef TEXT_NORMALIZER_H
#define TEXT_NORMALIZER_H

#include "text/tokenizer.h"

/* Does normalizing change anything at all? */
bool normalizes(const vocabulary *v);

/* Replaces the content of `out` by the normalized text; `other` is working space. */
lariat_status normalize(const lariat_tokenizer *t, const char *text, size_t size, buffer *out, buffer *other);

/* Appends text with every `pattern` in it replaced. */
lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content);

#endif
