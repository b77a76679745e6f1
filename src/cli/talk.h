/* A conversation with a model: what was said, and which of it the session holds already.
   Rests on reply.h and on the chat templates of text.h. */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "cli/reply.h"

typedef struct talk {
    run *run;
    lariat_session *session;
    int64_t capacity;
    lariat_template chat_template;
    char *document;           /* goes in front of the first thing that the user says; NULL: none */
    lariat_message *messages; /* [room], contents owned */
    int32_t n, room;
    int32_t *held; /* [capacity] the ids that the session holds */
    int64_t n_held;
    reply answer;
} talk;

/* On an open engine, with a session of `capacity` positions. `document` may be NULL. Close it also where this fails. */
int talk_open(talk *t, run *owner, int64_t capacity, const char *document);
void talk_close(talk *t);

/* Takes the document into the session, so that the first turn need not wait for it. `name` is for messages. */
int talk_read_document(talk *t, const char *name);

/* Says something and shows the answer. What the context has no room for is not said: a warning where the talk `goes_on`,
   otherwise a failure. */
int talk_turn(talk *t, const char *line, bool goes_on);

/* Forgets all but the system message and the document. */
void talk_reset(talk *t);

#endif
