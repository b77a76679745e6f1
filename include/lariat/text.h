/* Text to ids and back, and chat templates.
   Ids equal those of Hugging Face's tokenizers for the same files. Rests on status.h. */
#ifndef LARIAT_TEXT_H
#define LARIAT_TEXT_H

#include "lariat/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_tokenizer lariat_tokenizer;

/* Opens the tokenizer of a model: a directory with tokenizer.json or tokenizer.model (nothing else has to be there), one of
   these files, or a .gguf. LARIAT_UNSUPPORTED for a model without one ("random:...", a GGUF without vocabulary). */
LARIAT_API lariat_status lariat_tokenizer_open(const char *model, lariat_tokenizer **out);
/* NULL is allowed. */
LARIAT_API void lariat_tokenizer_close(lariat_tokenizer *t);

/* How many ids it has, from 0 on; the model's own vocabulary may have more. */
LARIAT_API int32_t lariat_tokenizer_size(const lariat_tokenizer *t);
/* The id that begins a text, or -1; and whether the model's tokenizer says to put it there. */
LARIAT_API int32_t lariat_tokenizer_bos(const lariat_tokenizer *t);
LARIAT_API bool lariat_tokenizer_adds_bos(const lariat_tokenizer *t);
/* All ids that end a reply (end of text, end of turn: whatever tokenizer, generation configuration or GGUF name). */
LARIAT_API bool lariat_tokenizer_is_end(const lariat_tokenizer *t, int32_t id);

enum {
    LARIAT_ENCODE_SPECIAL = 1, /* special tokens written in the text become their ids; otherwise they are text */
    LARIAT_ENCODE_BOS = 2      /* begin with the BOS id */
};

/* Ids of a text of `size` bytes: *ids is allocated (lariat_free), *n its length. Invalid UTF-8 is read as Hugging Face reads
   its lossy decoding: each maximal invalid part is U+FFFD. Time is linear in size. */
LARIAT_API lariat_status lariat_encode(const lariat_tokenizer *t, const char *text, size_t size, int flags, int32_t **ids,
                                       int64_t *n);

/* The bytes that ids stand for, allocated (lariat_free), terminated; *size without the terminator. Special tokens are left out
   unless `special`. An id without a token, as models have them beyond the tokenizer's, is nothing; a negative one is
   LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_decode(const lariat_tokenizer *t, const int32_t *ids, int64_t n, bool special, char **text,
                                       size_t *size);

/* Decoding as ids come, never half a character: bytes that may still become a whole character are held back. */
typedef struct lariat_stream lariat_stream;
LARIAT_API lariat_status lariat_stream_open(const lariat_tokenizer *t, bool special, lariat_stream **out);
LARIAT_API void lariat_stream_close(lariat_stream *s);
/* What `id` lets out: *text is owned by the stream and valid until the next call. Joined, all pieces and the flush give
   lariat_decode. */
LARIAT_API lariat_status lariat_stream_put(lariat_stream *s, int32_t id, const char **text, size_t *size);
LARIAT_API lariat_status lariat_stream_flush(lariat_stream *s, const char **text, size_t *size);

/* --- chat --- */

typedef enum lariat_template {
    LARIAT_TEMPLATE_AUTO,
    LARIAT_TEMPLATE_LLAMA2,
    LARIAT_TEMPLATE_LLAMA3,
    LARIAT_TEMPLATE_CHATML
} lariat_template;

typedef struct lariat_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8, terminated; special tokens in it are text, never control */
} lariat_message;

/* Which template the model's own one is; LARIAT_UNSUPPORTED if it has none or an unrecognised one: the message names it. */
LARIAT_API lariat_status lariat_chat_template(const lariat_tokenizer *t, lariat_template *out);

/* Ids of a conversation, as the model's template renders it (markers as control ids, contents as text); with `reply` it ends
   where the assistant speaks. `which` AUTO uses the model's own. Allocated (lariat_free). */
LARIAT_API lariat_status lariat_chat_encode(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[],
                                            int32_t n, bool reply, int32_t **ids, int64_t *n_ids);
/* The same as text, for a look at it. Allocated, terminated. */
LARIAT_API lariat_status lariat_chat_render(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[],
                                            int32_t n, bool reply, char **text, size_t *size);

/* Frees what these functions allocated. NULL is allowed. */
LARIAT_API void lariat_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
