/* Pre-tokenizer expressions of tokenizer.json, written for Oniguruma (Ruby's syntax) and translated for PCRE2.
   Rests on PCRE2 (UTF, UCP, JIT) and unicode_newer.h. */
#pragma once

#include "text/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* A compiled expression; threads may share it. */
typedef struct expression expression;

/* A construct that may differ between the two engines is refused by name. */
lariat_status expression_compile(const char *pattern, bool literal, expression **out);
void expression_free(expression *e);

/* Appends the pattern in PCRE2's syntax with Unicode 16's properties: for expression_compile and for tests. */
lariat_status expression_translate(const char *pattern, buffer *out);

/* The state of searching with one expression, for one thread. */
typedef struct search search;
lariat_status search_open(const expression *e, search **out);
void search_close(search *s);
/* Failures to come name places of this text, of which searches see parts, by their bytes. NULL as the search is allowed. */
void search_within(search *s, const char *text, size_t size);

/* The first match at or after `from` in well-formed text: *found, and [*start, *end). */
lariat_status search_next(search *s, const char *text, size_t size, size_t from, bool *found, size_t *start, size_t *end);
