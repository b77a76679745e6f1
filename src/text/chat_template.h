/* Recognising a model's chat template (a Jinja program) by its text, and rendering the families' turns.
   Rests on vocabulary.h. chat_template.c has the public functions of include/lariat/text.h too. */
#pragma once

#include "lariat/text.h"
#include "text/vocabulary.h"

/* The differences between templates of one family. */
typedef struct chat_style {
    lariat_template family;     /* AUTO: not recognised */
    bool begins;                /* the BOS token first (LLAMA2: before every question, always) */
    bool trims;                 /* trims white space around contents */
    const char *default_system; /* CHATML: the default system message; terminated, or NULL */
    const char *date;           /* LLAMA3: the second of two date lines in a system message that is always there, */
    bool today;                 /* or the day of the call. NULL and false: no such lines */
} chat_style;

/* Recognises v->chat_template; AUTO: an unknown template. */
lariat_status chat_recognize(vocabulary *v, chat_style *out);
