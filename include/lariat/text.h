/* Tokenizers: encoding, decoding, streaming, texts that end a reply, chat templates. Ids equal those of Hugging Face's
   tokenizers for the same files.
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
/* Is its text that of a marker that ends a turn (<|im_end|>, <|eot_id|>, <end_of_turn>, ...), which files often do not name? */
LARIAT_API bool lariat_tokenizer_ends_turn(const lariat_tokenizer *t, int32_t id);

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

/* --- texts that end a reply --- */

typedef struct lariat_stop_text {
    const char *bytes; /* [size], copied */
    size_t size;       /* 1 to LARIAT_STOP_BYTES */
} lariat_stop_text;

enum { LARIAT_STOPS_MAX = 32, LARIAT_STOP_BYTES = 4096 };

/* Finds any of these texts in a stream of bytes, however it is cut: across tokens, too. */
typedef struct lariat_stops lariat_stops;
LARIAT_API lariat_status lariat_stops_open(const lariat_stop_text texts[], int32_t n, lariat_stops **out);
/* NULL is allowed. */
LARIAT_API void lariat_stops_close(lariat_stops *s);
/* Takes bytes, those of a lariat_stream. *text: bytes that can no longer be part of a text, owned by s and valid until the next
   call; bytes with which a text may begin are held back. *found: one of them is complete, the longest of those that end there;
   *text ends before it, and nothing more is taken until the flush. */
LARIAT_API lariat_status lariat_stops_put(lariat_stops *s, const char *bytes, size_t n, const char **text, size_t *size,
                                          bool *found);
/* The bytes held back, none where a text was found; the next bytes are those of another reply. */
LARIAT_API lariat_status lariat_stops_flush(lariat_stops *s, const char **text, size_t *size);

/* --- chat --- */

/* A conversation, rendered by a chat template: a Jinja2 program, which is run as Hugging Face's apply_chat_template runs it
   (docs/templates.md). */
typedef struct lariat_conversation {
    const char *chat_template; /* the program's text; NULL: the model's own */
    /* A JSON list of messages: {"role": ..., "content": text or a list of parts, "tool_calls": [...], ...}. A message that
       was generated here may have "ids": the ids stand for its content where the template leaves that as it is. */
    const char *messages;
    const char *variables; /* a JSON object, or NULL: tools, enable_thinking, ...; add_generation_prompt is true unless given */
    const char *now;       /* the time that templates see, "2026-11-27T12:34:56"; NULL: local time */
    const char *name;      /* of the template in error messages: its file; NULL: the model's file, or "template" */
    const char *messages_name; /* of the messages there: their file; NULL: "messages" */
} lariat_conversation;

/* Appends a message to *messages, which is NULL at first and allocated anew (lariat_free). It may be any JSON list, as that of
   a saved conversation, allocated by malloc; anything else is LARIAT_BAD_ARGUMENT. Invalid UTF-8 in the content is read
   as by lariat_encode. After a failure the list is unchanged. */
LARIAT_API lariat_status lariat_message_add(char **messages, const char *role, const char *content, size_t size);
/* The same with a reply of the model: the role is "assistant", the content the text of the ids, and the message has them. */
LARIAT_API lariat_status lariat_message_add_reply(char **messages, const lariat_tokenizer *t, const int32_t *ids, int64_t n);

/* The model's own template, or NULL; and one of llama2, llama3, chatml, or NULL: there is none of that name. */
LARIAT_API const char *lariat_chat_template(const lariat_tokenizer *t);
LARIAT_API const char *lariat_template_by_name(const char *name);

/* Ids of a conversation. Control tokens, added tokens that the template's text has, and ends of turns become ids only where the
   template wrote them: a marker in a message is text. Allocated (lariat_free). LARIAT_BAD_ARGUMENT: the template or a call in
   it is refused, with the line. */
LARIAT_API lariat_status lariat_chat_encode(const lariat_tokenizer *t, const lariat_conversation *c, int32_t **ids, int64_t *n);
/* The text. Without a tokenizer, NULL, the conversation has its template, and variables bos_token and eos_token. Allocated,
   terminated. */
LARIAT_API lariat_status lariat_chat_render(const lariat_tokenizer *t, const lariat_conversation *c, char **text, size_t *size);
/* The marker that a template, NULL: the model's own, writes behind a reply, which ends one; or -1. `variables`: those of the
   conversation, or NULL; add_generation_prompt is not looked at. */
LARIAT_API int32_t lariat_chat_end(const lariat_tokenizer *t, const char *chat_template, const char *variables);

/* Frees what these functions allocated. NULL is allowed. */
LARIAT_API void lariat_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
