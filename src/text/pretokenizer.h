/* Splitting normalized text into words by the steps of a vocabulary; each step splits the words of the one before.
   Rests on expression.h and merge.h. */
#pragma once

#include "text/merge.h"

/* The state of one lariat_encode. */
typedef struct splitter {
    const lariat_tokenizer *t;
    search *searches[MAX_SPLIT_STEPS];
    buffer scratch[MAX_SPLIT_STEPS]; /* text of a step that rewrites it */
    buffer bytes;                    /* of a word in the alphabet of bytes */
    merger merger;
    id_list ids;
} splitter;

lariat_status splitter_open(splitter *s, const lariat_tokenizer *t);
/* Keeps the ids. */
void splitter_close(splitter *s);

/* Appends the ids of a piece of normalized text. `origin`: of its bytes, those that stand for the first character of the whole
   text, which is what Metaspace's "first" asks for. */
lariat_status split_text(splitter *s, const char *text, size_t size, size_t origin);
