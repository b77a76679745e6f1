/* Splitting normalized text into words by the steps of a vocabulary; each step splits the words of the one before.
   Rests on expression.h and merge.h. */
#pragma once

#include "text/merge.h"

/* The state of one lariat_encode. */
typedef struct splitter {
    const lariat_tokenizer *t;
    search *searches[MAX_SPLIT_STEPS];
    buffer scratch; /* text of the last step, which may modify it */
    merger merger;
    id_list ids;
} splitter;

lariat_status splitter_open(splitter *s, const lariat_tokenizer *t);
/* Keeps the ids. */
void splitter_close(splitter *s);

/* Appends the ids of a piece of normalized text. `first`: it begins the whole text. */
lariat_status split_text(splitter *s, const char *text, size_t size, bool first);
