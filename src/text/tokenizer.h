/* A tokenizer: a vocabulary and its lookup tables. It is read-only once built, so threads may share it.
   Rests on tables.h and expression.h. Its public functions (include/lariat/text.h) are in tokenizer.c, encode.c, decode.c
   and chat_template.c; tokenizer_file.c opens one. */
#pragma once

#include "lariat/text.h"
#include "text/expression.h"
#include "text/tables.h"

struct lariat_tokenizer {
    vocabulary v;
    word_table words;
    pair_table pairs;                         /* by merges */
    prefix_set added;                         /* added tokens of raw text; values are indices into v.added */
    prefix_set added_normalized;              /* added tokens of normalized text */
    uint32_t lead;                            /* the longest `lead` of these */
    prefix_set users;                         /* by score: user-defined symbols; values are ids */
    expression *expressions[MAX_SPLIT_STEPS]; /* NULL: the step has none */
    expression *rule_expressions[MAX_RULES];  /* NULL: the rule has none */
    expression *word;                         /* a character of a word; NULL: no added token asks for it */
    uint32_t *ranks; /* by score: rank of a token's score, 0 is the best; equal scores share it */
    uint32_t n_ranks;                         /* ranks are in [0, n_ranks), by score and by merges */
    bool words_end_at_space; /* no token has SPACE_MARK after another character: words are independent */
    bool words_in_alphabet;                   /* a word is spelt in the alphabet of bytes */
    id_list turn_ends;       /* tokens that end a turn, by their text */
    prefix_set turn_markers; /* those that no added token is, and other tokens that the files name as ends; values are ids */
};

/* Tokens that a text does not give, of a conversation's template: its contents must not write them. User-defined symbols, and
   added tokens of normalized text, are given where the template wrote all of their bytes. */
typedef struct hidden_tokens {
    bool *added;           /* [n_added] places of added tokens that are not searched for */
    bool *ids;             /* [n_tokens] neither a result of merging nor found as a symbol */
    const char *text;      /* the whole text, of which parts are encoded */
    const uint8_t *origin; /* of each of its bytes */
    uint8_t own;           /* the template's origin */
} hidden_tokens;

/* A hidden user-defined symbol that the template wrote: its place in the normalized text. */
typedef struct own_symbol {
    size_t at;
    uint32_t size; /* bytes there */
    int32_t id;
} own_symbol;

/* Checks the vocabulary and builds the tables. Takes ownership of the vocabulary also on failure; v is empty afterwards. */
lariat_status tokenizer_build(vocabulary *v, lariat_tokenizer **out);

bool tokenizer_ends_turn(const lariat_tokenizer *t, int32_t id);
/* What errors call it. */
const char *tokenizer_path(const lariat_tokenizer *t);
