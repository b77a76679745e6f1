/* Chat templates: a conversation in JSON becomes text by the interpreter of jinja/, and the text ids by the origin of its
   bytes.
   Rests on text/jinja/jinja.h. chat_template.c has public functions of include/lariat/text.h, chat_ids.c makes the ids. */
#pragma once

#include "lariat/text.h"
#include "text/jinja/jinja.h"

/* The templates that the library has, by name; ends with NULL. */
typedef struct named_template {
    const char *name, *source;
} named_template;

extern const named_template named_templates[];

/* The ids of a rendering. `source`: the template; `replies`: messages of which those with "ids" are kept. */
lariat_status chat_ids(const lariat_tokenizer *t, const char *source, const jinja_output *rendered, const json_t *messages,
                       int32_t **ids, int64_t *n);
/* The marker that the template writes behind the text of a reply, or -1. */
int32_t chat_end_of_reply(const lariat_tokenizer *t, const char *source, const jinja_output *rendered);
