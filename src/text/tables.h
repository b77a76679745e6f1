/* Lookup tables of encoding: a token by its text, a merge by its two tokens, the longest prefix of a text.
   Rests on vocabulary.h. */
#pragma once

#include "text/vocabulary.h"

/* Tokens that merging may produce, by text. */
typedef struct word_table {
    int32_t *entries;     /* ids; -1: free */
    size_t mask;
    uint32_t longest;   /* bytes of the longest token */
} word_table;

/* Merges by their two tokens. */
typedef struct pair_entry {
    uint64_t pair;      /* left << 32 | right; UINT64_MAX: free */
    uint32_t rank;
    int32_t result;
} pair_entry;

typedef struct pair_table {
    pair_entry *entries;
    size_t mask;
} pair_table;

/* Texts to search for at every position of another text. */
typedef struct prefix {
    const char *text;
    uint32_t size;
    int32_t value;
} prefix;

typedef struct prefix_set {
    prefix *list;       /* sorted */
    int64_t n, capacity;
    uint64_t first[4];  /* set of first bytes */
} prefix_set;

/* Two tokens with one text are refused. */
lariat_status word_table_make(const vocabulary *v, word_table *out);
void word_table_free(word_table *w);
/* The token of that text, or -1. */
int32_t word_table_find(const word_table *w, const vocabulary *v, const char *text, size_t size);

/* A duplicate pair keeps its last rank, as Hugging Face's tokenizers do. */
lariat_status pair_table_make(const vocabulary *v, pair_table *out);
void pair_table_free(pair_table *p);
/* NULL: they do not merge. */
const pair_entry *pair_table_find(const pair_table *p, int32_t left, int32_t right);

lariat_status prefix_set_add(prefix_set *s, const char *text, uint32_t size, int32_t value);
/* Sorts; refuses one text with two values. */
lariat_status prefix_set_finish(prefix_set *s);
void prefix_set_free(prefix_set *s);
/* The longest prefix of text in the set, or NULL. */
const prefix *prefix_set_longest(const prefix_set *s, const char *text, size_t size);
/* The same among those whose value is not in `hidden`, a set by value; NULL: none is. */
const prefix *prefix_set_longest_shown(const prefix_set *s, const char *text, size_t size, const bool *hidden);
/* The first place of text at which one of the set may begin; size: none. */
size_t prefix_set_begin(const prefix_set *s, const char *text, size_t size);
/* Sets found[value] for every prefix of text in the set. */
void prefix_set_mark(const prefix_set *s, const char *text, size_t size, bool *found);
