/* Tokenizers: encoding, decoding, streaming, chat templates. Ids equal those of Hugging Face's tokenizers for the same
   files.
   Rests on status.h. */
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

/* Opens the tokenizer of a model: a directory with tokenizer.json or tokenizer.model (no other file is needed), one of these
   files, or a .gguf. LARIAT_UNSUPPORTED for a model without one ("random:...", a GGUF without vocabulary). */
LARIAT_API lariat_status lariat_tokenizer_open(const char *model, lariat_tokenizer **out);
/* NULL is allowed. */
LARIAT_API void lariat_tokenizer_close(lariat_tokenizer *t);

/* Number of ids, from 0; the model's vocabulary may be larger. */
LARIAT_API int32_t lariat_tokenizer_size(const lariat_tokenizer *t);
/* The i-th warning of opening it, from 0, NULL behind the last: a fault in its files that was put right, as one line. */
LARIAT_API const char *lariat_tokenizer_warning(const lariat_tokenizer *t, int32_t i);
/* The id that begins a text (BOS), or -1; and whether the tokenizer's files ask for it, or for other ids around a text. */
LARIAT_API int32_t lariat_tokenizer_bos(const lariat_tokenizer *t);
LARIAT_API bool lariat_tokenizer_adds_bos(const lariat_tokenizer *t);
/* Does the id end a reply (end of text, end of turn, as tokenizer, generation configuration or GGUF name them)? */
LARIAT_API bool lariat_tokenizer_is_end(const lariat_tokenizer *t, int32_t id);

enum {
    LARIAT_ENCODE_SPECIAL = 1, /* special tokens written in the text become their ids; otherwise they are text */
    LARIAT_ENCODE_BOS = 2      /* the BOS id first; where the tokenizer has a template, all ids that it puts around a text */
};

/* Ids of a text of `size` bytes: *ids is allocated (lariat_free), *n its length. In invalid UTF-8 each maximal invalid part
   is read as U+FFFD. Time is linear in size, n log n in that of the longest word. */
LARIAT_API lariat_status lariat_encode(const lariat_tokenizer *t, const char *text, size_t size, int flags, int32_t **ids,
                                       int64_t *n);

/* The bytes of ids, allocated (lariat_free), terminated; *size without the terminator. Special tokens are omitted unless
   `special`. An id beyond the tokenizer's has no bytes; a negative one is LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_decode(const lariat_tokenizer *t, const int32_t *ids, int64_t n, bool special, char **text,
                                       size_t *size);

/* Decoding id by id. Output is whole characters: bytes that may become one with the next id are held back. */
typedef struct lariat_stream lariat_stream;
LARIAT_API lariat_status lariat_stream_open(const lariat_tokenizer *t, bool special, lariat_stream **out);
LARIAT_API void lariat_stream_close(lariat_stream *s);
/* The text that `id` completes: *text is owned by the stream and valid until the next call. All pieces and the flush,
   joined, equal lariat_decode. */
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
    const char *content; /* UTF-8, terminated; special tokens in it stay text */
} lariat_message;

/* The family of the model's own template. LARIAT_UNSUPPORTED: it has none, or one that is not recognised. */
LARIAT_API lariat_status lariat_chat_template(const lariat_tokenizer *t, lariat_template *out);

/* Ids of a conversation as the template renders it: markers as control ids, contents as text. `reply`: the ids end where the
   assistant's turn begins. AUTO: the model's own template. Allocated (lariat_free). */
LARIAT_API lariat_status lariat_chat_encode(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[],
                                            int32_t n, bool reply, int32_t **ids, int64_t *n_ids);
/* The same as text, for inspection. Allocated, terminated. */
LARIAT_API lariat_status lariat_chat_render(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[],
                                            int32_t n, bool reply, char **text, size_t *size);

/* Frees what these functions allocated. NULL is allowed. */
LARIAT_API void lariat_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
