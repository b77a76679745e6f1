/* One sequence being continued: its prompt goes in, then a token at a time comes out. generate runs one reply, a batch several
   at once, chat one after the other. Rests on invocation.h and the tokenizer's stream. */
#pragma once

#include "cli/invocation.h"

enum { REPLIES_MOST = 16 }; /* sequences in one step: decode of 16 reads the weights as often as decode of one */

typedef enum stop_reason {
    STOP_NOT_YET,
    STOP_END,        /* an id that ends a reply */
    STOP_LENGTH,     /* -n tokens */
    STOP_CONTEXT,    /* no position left */
    STOP_INTERRUPTED /* Ctrl-C */
} stop_reason;

typedef struct reply {
    invocation *inv;
    lariat_session *session;
    lariat_sampler *sampler;
    lariat_stream *stream; /* NULL: a model without tokenizer, or nothing is shown */
    bool shown;            /* goes to standard output as it comes */
    bool ends_line;        /* what was shown so far ends with a newline */
    int64_t capacity;      /* positions of the session */
    int64_t most;          /* tokens of the reply, UNTIL_THE_END */
    const int32_t *next;   /* the prompt's new tokens, later the token that was made last */
    int64_t n_next;
    int32_t *ids; /* [room] the reply, without the end id */
    int64_t n, room;
    double began_s;
    stop_reason stop;
    int32_t turn_end; /* the marker that the chat template writes behind a reply, or -1 */
} reply;

/* A reply on an open session of `capacity` positions, from the sampling options of the run. */
int reply_open(reply *r, invocation *inv, lariat_session *session, int64_t capacity, bool shown);
void reply_close(reply *r);

/* Gives it what to go on from: the tokens that the session does not hold yet, at least one. They live until it has gone on. */
void reply_begin(reply *r, const int32_t *tokens, int64_t n);

/* Takes all of them on, until one has a reason to stop. */
int replies_go_on(invocation *inv, reply *const list[], int n);

/* Shows what its stream has held back, and ends the line. */
int reply_end(reply *r);

/* "end", "length", "context", "interrupted". */
const char *stop_name(stop_reason why);
/* Says on standard error that the context is full, if that was the reason. */
void reply_explain(const reply *r);
