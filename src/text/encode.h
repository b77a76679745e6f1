/* Encoding a text in several parts into one list of ids: lariat_encode has one part, a conversation has many.
   Rests on pretokenizer.h. */
#pragma once

#include "text/normalizer.h"
#include "text/pretokenizer.h"

typedef struct encoder {
    splitter splitter; /* collects the ids */
    normalizer normalizer;
    search *word; /* a character beside an added token that must be a single word */
    int flags;
    buffer lossy;
} encoder;

/* Close it also after a failure. */
lariat_status encoder_open(encoder *e, const lariat_tokenizer *t, int flags);
void encoder_close(encoder *e);

lariat_status encoder_text(encoder *e, const char *text, size_t size);
lariat_status encoder_id(encoder *e, int32_t id);
/* Moves the ids to the caller, who frees them with lariat_free. */
lariat_status encoder_take(encoder *e, int32_t **ids, int64_t *n);
