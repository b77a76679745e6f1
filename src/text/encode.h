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
    const hidden_tokens *hidden; /* NULL: none */
    buffer lossy;
} encoder;

/* `hidden`: tokens that the text does not give, or NULL. Close it also after a failure. */
lariat_status encoder_open(encoder *e, const lariat_tokenizer *t, int flags, const hidden_tokens *hidden);
void encoder_close(encoder *e);

lariat_status encoder_text(encoder *e, const char *text, size_t size);
/* The whole well-formed text of which the parts to come are; failures name its bytes. */
void encoder_begin(encoder *e, const char *text, size_t size);
/* The ids of a part; `first`: the beginning. Its own hidden tokens are not searched for in raw text. */
lariat_status encoder_part(encoder *e, const char *text, size_t size, bool first);
lariat_status encoder_id(encoder *e, int32_t id);
/* Moves the ids to the caller, who frees them with lariat_free. */
lariat_status encoder_take(encoder *e, int32_t **ids, int64_t *n);

/* Where the white space begins that ends at `at`, not before `from`; and where that ends which begins at `at`. */
size_t spaces_before(const char *text, size_t from, size_t at);
size_t spaces_after(const char *text, size_t size, size_t at);
