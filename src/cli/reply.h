/* One sequence being continued: its prompt goes in, then a token at a time comes out. generate runs one reply, chat one after
   the other, a batch several at once, by schedule/scheduler.h. Rests on invocation.h and the tokenizer's stream. */
#pragma once

#include "cli/invocation.h"

#include <stddef.h>

typedef enum stop_reason {
    STOP_NOT_YET,
    STOP_END,        /* an id that ends a reply */
    STOP_TEXT,       /* a text that ends one */
    STOP_LENGTH,     /* as many tokens as were asked for */
    STOP_CONTEXT,    /* no position left */
    STOP_INTERRUPTED /* Ctrl-C */
} stop_reason;

typedef struct reply {
    invocation *inv;
    const request *asked;
    lariat_session *session; /* NULL: the scheduler has it */
    lariat_sampler *sampler;
    lariat_stream *stream; /* NULL: a model without tokenizer */
    lariat_stops *stops;   /* NULL: no text ends it */
    bool shown;            /* written to standard output token by token */
    bool ends_line;        /* the text shown so far ends with a newline */
    int64_t capacity;      /* positions of the session */
    const int32_t *next;   /* the prompt's new tokens, later the token that was made last */
    int64_t n_next;
    int32_t *ids; /* [room] the reply, without the end id */
    int64_t n, room;
    lariat_top *tops;  /* [room, 1 + n_top]: each token's own, then the most probable ones; NULL: not asked for */
    char *text;        /* [size] the reply as text, without the id or text that ended it */
    size_t size, text_room;
    double began_s;
    stop_reason stop;
    int32_t turn_end; /* the marker that the chat template writes behind a reply, or -1 */
} reply;

/* A reply on an open session of `capacity` positions, or one after another; NULL: on what the scheduler has. What is asked for
   stays the caller's; a `sample` has a random stream of its own. BAD_ARGUMENT: a bias is for an id that the vocabulary does not
   have. */
lariat_status reply_open(reply *r, invocation *inv, const request *asked, int32_t sample, lariat_session *session,
                         int64_t capacity, bool shown);
void reply_close(reply *r);

/* Sets the tokens to read first: a prompt of n tokens, of which the session holds the first `held`, but not the last. They live
   until it has gone on. */
void reply_begin(reply *r, const int32_t *tokens, int64_t n, int64_t held);

/* Takes it on, until it has a reason to stop. */
int reply_go_on(reply *r);
/* What reply_go_on does with a token that was made for it, and with what n_top of lariat_work asks for: it may stop then. */
int reply_take(reply *r, int32_t id, float logprob, const lariat_top *top);

/* Appends the bytes that its stream has held back; where it is shown, ends the line. */
int reply_end(reply *r);

/* [1 + n_top] of the reply's i-th token. */
const lariat_top *reply_tops(const reply *r, int64_t i);

/* "end", "stop", "length", "context", "interrupted". */
const char *stop_name(stop_reason why);
/* Says on standard error that the context is full, if that was the reason. */
void reply_explain(const reply *r);
