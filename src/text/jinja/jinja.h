/* The Jinja2 that chat templates use, as Hugging Face's apply_chat_template sets it up: trim_blocks, lstrip_blocks, loop
   controls, transparent generation blocks, tojson, raise_exception and strftime_now, the immutable sandbox. The result is
   the text and, for each byte, its origin.
   Rests on jansson, for messages and variables. Read on in jinja_rendering.h. */
#pragma once

#include "text/buffer.h"

#include <jansson.h>
#include <time.h>

/* The origin of a byte. */
enum {
    ORIGIN_FOREIGN,      /* messages and variables */
    ORIGIN_TEMPLATE,     /* the template's own text; names of roles, and the tokens bos and eos, count as its own */
    ORIGIN_REPLY,        /* a message that was generated here, */
    ORIGIN_REPLY_BEGINS, /* and its first byte */
    ORIGIN_COUNT
};

typedef struct jinja_input {
    const char *source; /* the template, UTF-8 */
    size_t size;
    const json_t *messages;  /* a list; a message with "ids" is a reply, and the template does not see that field */
    const json_t *variables; /* an object, or NULL */
    const char *bos, *eos;   /* bos_token and eos_token unless variables have them; or NULL */
    const struct tm *now;    /* the time of strftime_now; NULL: local time */
} jinja_input;

typedef struct jinja_output {
    buffer text, origins; /* of one size; terminated */
} jinja_output;

/* Renders the template. A failure names the line. Free the output also then. */
lariat_status jinja_render(const jinja_input *in, jinja_output *out);
void jinja_output_free(jinja_output *out);
