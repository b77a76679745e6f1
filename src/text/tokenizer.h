/* A tokenizer ready for use: a vocabulary and what encoding looks up. Read only once built, so threads may share it.
   Rests on tables.h and expression.h. The public functions on it (include/lariat/text.h) are in tokenizer.c, encode.c,
   decode.c and chat.c; text/tokenizer_file.c opens one. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "lariat/text.h"
#include "text/chat_template.h"
#include "text/expression.h"
#include "text/tables.h"

struct lariat_tokenizer {
    vocabulary v;
    word_table words;
    pair_table pairs;                         /* by merges */
    prefix_set added;                         /* added tokens in text as it comes; values are places in v.added */
    prefix_set added_normalized;              /* those of normalized text */
    prefix_set users;                         /* by score: user-defined symbols; values are ids */
    expression *expressions[MAX_SPLIT_STEPS]; /* NULL where a step has none */
    uint32_t *ranks; /* by score: place of a token's score among all, the best is 0; equal ones share it */
    uint32_t n_ranks;                         /* ranks are below, by score and by merges */
    bool words_end_at_space; /* no token has a SPACE_MARK behind another character, so words can be merged alone */
    chat_style chat;
};

/* Checks the vocabulary and builds what encoding needs. Takes the vocabulary over, also where it fails; v is empty
   afterwards. */
lariat_status tokenizer_build(vocabulary *v, lariat_tokenizer **out);

#endif
