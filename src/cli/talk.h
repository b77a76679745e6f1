/* A conversation with a model: its messages, on one session.
   Rests on reply.h and on the chat templates of text.h. */
#pragma once

#include "cli/reply.h"

#include <jansson.h>

typedef struct talk {
    invocation *inv;
    lariat_session *session;
    int64_t capacity;
    char *chat_template; /* NULL: the model's own */
    json_t *variables;   /* an object */
    char *document;      /* precedes the user's first message; NULL: none */
    char *messages;      /* JSON; NULL: nothing was said so far */
    reply answer;
} talk;

/* Opens a session of `capacity` positions on the run's engine. `document` may be NULL. Close it also after a failure. */
int talk_open(talk *t, invocation *inv, int64_t capacity, const char *document);
void talk_close(talk *t);

/* Prefills the document before the first turn. `name` is for messages. */
int talk_read_document(talk *t, const char *name);

/* Sends a message and shows the answer. A message longer than the remaining context is refused: a warning where the talk
   `goes_on`, otherwise a failure. */
int talk_turn(talk *t, const char *line, bool goes_on);

/* Keeps only the system message and the document. */
void talk_reset(talk *t);
