/* Which chat template a model has, as its own text (a Jinja program) tells, and the turns that each family writes.
   Rests on vocabulary.h; rendering and encoding are in chat.c, behind include/lariat/text.h. */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include "lariat/text.h"
#include "text/vocabulary.h"

/* What templates of one family do differently. */
typedef struct chat_style {
    lariat_template family;     /* AUTO: none recognised */
    bool begins;                /* the BOS token comes first (LLAMA2: before every question, always) */
    bool trims;                 /* contents lose white space at their ends */
    const char *default_system; /* CHATML: the system message of a conversation without one; terminated, or NULL */
    const char *date;           /* LLAMA3: a system message with two lines of dates always comes first; this is the second, */
    bool today;                 /* or it is the day of the call. NULL: no such lines */
} chat_style;

/* Looks at v->chat_template. A template that is none of the known ones leaves family AUTO. */
lariat_status chat_recognize(vocabulary *v, chat_style *out);

#endif
