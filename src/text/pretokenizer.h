/* Cutting normalized text into words: the steps of a vocabulary, each cutting what the one before it left.
   Rests on expression.h and merge.h. */
#ifndef TEXT_PRETOKENIZER_H
#define TEXT_PRETOKENIZER_H

#include "text/merge.h"

/* What one call of lariat_encode works with. */
typedef struct splitter {
    const lariat_tokenizer *t;
    search *searches[MAX_SPLIT_STEPS];
    buffer scratch; /* the text of the last step, which may change it */
    merger merger;
    id_list ids;
} splitter;

lariat_status splitter_open(splitter *s, const lariat_tokenizer *t);
/* The ids stay. */
void splitter_close(splitter *s);

/* Appends the ids of a stretch of normalized text. `first`: the whole text begins with it. */
lariat_status split_text(splitter *s, const char *text, size_t size, bool first);

#endif
