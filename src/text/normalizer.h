/* Normalization: the rules of tokenizer.json, or SentencePiece's handling of spaces.
   Rests on tokenizer.h. */
#pragma once

#include "text/tokenizer.h"

/* The state of one lariat_encode. */
typedef struct normalizer {
    const lariat_tokenizer *t;
    search *searches[MAX_RULES]; /* of rules with an expression */
    buffer text, other;          /* the normalized text, and scratch */
    size_t origin;               /* of its bytes, those that stand for the first character of the text */
    const hidden_tokens *hidden; /* NULL: none */
    bool bare;                   /* leaves Prepend out */
    bool follows;                /* keeps the origin of each byte: */
    buffer marks, other_marks;   /* the template's where it wrote all that the byte stands for */
    own_symbol *shown;           /* hidden symbols of the normalized text that the template wrote */
    int64_t n_shown, shown_capacity;
    own_symbol next;             /* the next one of the text that is normalized; behind the last one its end */
} normalizer;

/* Does the vocabulary normalize? */
bool normalizes(const vocabulary *v);

/* Close it also after a failure. */
lariat_status normalizer_open(normalizer *n, const lariat_tokenizer *t);
void normalizer_close(normalizer *n);
/* Writes the normalized text to n->text. `origin`: of the text's bytes those of its first character, or 0. Of a text with
   hidden tokens the text is a part. */
lariat_status normalize(normalizer *n, const char *text, size_t size, size_t origin);

/* Appends text with every `pattern` replaced by `content`. */
lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content);
