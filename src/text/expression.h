/* Pre-tokenizer expressions, as tokenizer.json has them for Hugging Face's engine (Oniguruma, Ruby's syntax), found with PCRE2.
   Rests on PCRE2 (UTF, UCP, JIT) and unicode_newer.h. */
#ifndef TEXT_EXPRESSION_H
#define TEXT_EXPRESSION_H

#include "text/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* A compiled expression; threads may share it. */
typedef struct expression expression;

/* What is not certain to mean the same in both engines is refused by name. */
lariat_status expression_compile(const char *pattern, bool literal, expression **out);
void expression_free(expression *e);

/* Appends the pattern in PCRE2's syntax and Unicode 16: for expression_compile, and for a look at it. */
lariat_status expression_translate(const char *pattern, buffer *out);

/* What searching with one expression needs, for one thread. */
typedef struct search search;
lariat_status search_open(const expression *e, search **out);
void search_close(search *s);

/* The first match at or after `from` in well-formed text: *found, and [*start, *end). */
lariat_status search_next(search *s, const char *text, size_t size, size_t from, bool *found, size_t *start, size_t *end);

#endif
