/* The loop of generation, once for all subcommands.
   Rests on lariat_generate; a batch's tokens come by reply_take. */
#include "cli/reply.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/signals.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_IDS = 256, FIRST_BYTES = 1024 };

/* GPUs replay recorded passes; where the host reads logits there is nothing to replay. */
static void warn_of_host(invocation *inv, const request *asked)
{
    if (!inv->warned_of_host && request_is_read_by_host(asked) && lariat_engine_plan(inv->engine)->cards > 0) {
        inv->warned_of_host = true;
        warn("penalties, biases and log-probabilities: GPUs wait for the host with each token, and decode more slowly");
    }
}

lariat_status reply_open(reply *r, invocation *inv, const request *asked, int32_t sample, lariat_session *session,
                         int64_t capacity, bool shown)
{
    *r = (reply){.inv = inv, .asked = asked, .session = session, .capacity = capacity, .shown = shown, .turn_end = -1};
    lariat_sampling settings = asked->sampling;
    settings.seed = request_seed(asked, sample);
    lariat_status status = lariat_sampler_open(&settings, inv->model->vocab, &r->sampler);
    if (status == LARIAT_OK && inv->tokenizer) {
        status = lariat_stream_open(inv->tokenizer, inv->options->special, &r->stream);
    }
    if (status == LARIAT_OK && asked->n_stops) {
        status = lariat_stops_open(asked->stops, asked->n_stops, &r->stops);
    }
    if (status == LARIAT_OK) {
        warn_of_host(inv, asked);
        invocation_tell_seed(inv, asked);
    }
    return status;
}

void reply_close(reply *r)
{
    lariat_sampler_close(r->sampler);
    lariat_stream_close(r->stream);
    lariat_stops_close(r->stops);
    free(r->ids);
    free(r->tops);
    free(r->text);
    *r = (reply){0};
}

void reply_begin(reply *r, const int32_t *tokens, int64_t n, int64_t held)
{
    lariat_sampler_begin(r->sampler, tokens, n);
    r->next = tokens + held;
    r->n_next = n - held;
    r->n = 0;
    r->size = 0;
    r->stop = STOP_NOT_YET;
    r->ends_line = true;
    r->began_s = now_s();
}

/* A reply of a batch prints no message: its result has the error. */
static int lacks_memory(const reply *r)
{
    return r->shown ? complain_memory("reply") : EXIT_FAILURE;
}

static int checked_for(const reply *r, lariat_status status)
{
    return r->shown ? checked(status) : status == LARIAT_OK ? 0 : EXIT_FAILURE;
}

/* Keeps text of the reply, and shows it. */
static int put_text(reply *r, const char *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (size > r->text_room - r->size) {
        size_t room = r->text_room * 2 + size + FIRST_BYTES;
        char *more = realloc(r->text, room);
        if (!more) {
            return lacks_memory(r);
        }
        r->text = more;
        r->text_room = room;
    }
    memcpy(r->text + r->size, data, size);
    r->size += size;
    r->ends_line = data[size - 1] == '\n';
    if (!r->shown) {
        return 0;
    }
    TRY(output_bytes(data, size));
    return output_flush();
}

/* Text as the stream gives it, up to one that ends the reply. */
static int take_text(reply *r, const char *piece, size_t size)
{
    bool found = false;
    if (r->stops) {
        TRY(checked_for(r, lariat_stops_put(r->stops, piece, size, &piece, &size, &found)));
    }
    r->stop = found ? STOP_TEXT : r->stop;
    return put_text(r, piece, size);
}

static int show_id(reply *r, int32_t id)
{
    r->ends_line = false;
    TRY(output_format(r->n == 1 ? "%d" : " %d", id));
    return output_flush();
}

static int take_id(reply *r, int32_t id)
{
    const char *piece;
    size_t size;
    if (!r->stream) {
        return r->shown ? show_id(r, id) : 0;
    }
    TRY(checked_for(r, lariat_stream_put(r->stream, id, &piece, &size)));
    return take_text(r, piece, size);
}

const lariat_top *reply_tops(const reply *r, int64_t i)
{
    return r->tops + (size_t)i * ((size_t)request_n_top(r->asked) + 1);
}

/* Room for a reply doubles, so that its tokens are copied seldom and nothing is reserved for a reply that ends early. */
static int make_room(reply *r)
{
    int64_t room = r->room * 2 + FIRST_IDS;
    int32_t *more = realloc(r->ids, (size_t)room * sizeof *more);
    if (!more) {
        return lacks_memory(r);
    }
    r->ids = more;
    if (request_n_top(r->asked)) {
        lariat_top *tops = realloc(r->tops, (size_t)room * ((size_t)request_n_top(r->asked) + 1) * sizeof *tops);
        if (!tops) {
            return lacks_memory(r);
        }
        r->tops = tops;
    }
    r->room = room;
    return 0;
}

static int keep(reply *r, int32_t id, float logprob, const lariat_top *top)
{
    TRY(r->n == r->room ? make_room(r) : 0);
    size_t n_top = (size_t)request_n_top(r->asked);
    if (top && r->tops) {
        lariat_top *to = r->tops + (size_t)r->n * (n_top + 1);
        to[0] = (lariat_top){id, logprob};
        memcpy(to + 1, top, n_top * sizeof *top);
    }
    r->ids[r->n++] = id;
    return 0;
}

static bool ends_reply(const reply *r, int32_t id)
{
    const lariat_tokenizer *t = r->inv->tokenizer;
    if (lariat_engine_is_end(r->inv->engine, id) || (t && lariat_tokenizer_is_end(t, id))) {
        return true;
    }
    return !r->inv->options->no_stop_markers && (id == r->turn_end || (t && lariat_tokenizer_ends_turn(t, id)));
}

int reply_take(reply *r, int32_t id, float logprob, const lariat_top *top)
{
    figures *f = &r->inv->figures;
    if (r->n == 0 && f->first_s == 0) {
        f->first_s = now_s() - r->began_s;
    }
    if (ends_reply(r, id)) {
        r->stop = STOP_END;
        return 0;
    }
    TRY(keep(r, id, logprob, top));
    r->next = &r->ids[r->n - 1];
    r->n_next = 1;
    return take_id(r, id);
}

typedef struct round {
    reply *reply;
    int64_t tokens; /* that were made */
    int rc;
} round;

static bool on_token(void *user, int32_t item, int32_t id)
{
    round *now = user;
    reply *r = now->reply;
    float logprob;
    (void)item;
    now->tokens++;
    progress_end(&r->inv->progress);
    if (now->rc || signals_interrupted()) {
        return false;
    }
    const lariat_top *top = lariat_session_top(r->session, &logprob);
    now->rc = reply_take(r, id, logprob, top);
    return now->rc == 0 && r->stop == STOP_NOT_YET;
}

/* Why a reply stops that did not end by itself. */
static void note_stop(reply *r, bool interrupted)
{
    if (r->stop != STOP_NOT_YET) {
        return;
    }
    if (interrupted) {
        r->stop = STOP_INTERRUPTED;
    } else if (r->n == r->asked->most) {
        r->stop = STOP_LENGTH;
    } else if (r->n > 0 && lariat_session_length(r->session) >= r->capacity) {
        r->stop = STOP_CONTEXT;
    }
}

int reply_go_on(reply *r)
{
    invocation *inv = r->inv;
    int rc = 0;
    while (rc == 0 && r->stop == STOP_NOT_YET) { /* as PREFILL to the first token, then as DECODE */
        round now = {.reply = r};
        phase what = r->n == 0 ? PREFILL : DECODE;
        int64_t left = r->asked->most == REQUEST_UNBOUNDED ? INT64_MAX : r->asked->most - r->n, read = r->n_next;
        lariat_reply item = {.session = r->session, .tokens = r->next, .count = r->n_next, .sampler = r->sampler,
                             .most = what == PREFILL && left > 1 ? 1 : left, .n_top = request_n_top(r->asked)};
        lariat_status status = LARIAT_CANCELLED;
        bool cancelled;
        if (what == PREFILL) {
            progress_begin(&inv->progress, "reading", read);
        }
        if (invocation_begin_call(inv, r->session)) {
            status = lariat_generate(inv->engine, &item, 1, on_token, &now); /* each token made has read the one before */
        }
        rc = invocation_end_call(inv, status, what, what == PREFILL ? read : now.tokens, &cancelled);
        progress_end(&inv->progress);
        note_stop(r, cancelled || signals_interrupted());
        rc = rc ? rc : now.rc;
    }
    return rc;
}

int reply_end(reply *r)
{
    const char *piece;
    size_t size;
    if (r->stream) {
        bool cut = r->stop == STOP_TEXT;
        TRY(checked_for(r, lariat_stream_flush(r->stream, &piece, &size)));
        TRY(cut ? 0 : take_text(r, piece, size));
    }
    if (r->stops) {
        TRY(checked_for(r, lariat_stops_flush(r->stops, &piece, &size)));
        TRY(put_text(r, piece, size));
    }
    if (!r->shown) {
        return 0;
    }
    TRY(r->ends_line ? 0 : output_bytes("\n", 1));
    return output_flush();
}

const char *stop_name(stop_reason why)
{
    static const char *const names[] = {[STOP_NOT_YET] = "running",
                                        [STOP_END] = "end",
                                        [STOP_TEXT] = "stop",
                                        [STOP_LENGTH] = "length",
                                        [STOP_CONTEXT] = "context",
                                        [STOP_INTERRUPTED] = "interrupted"};
    return names[why];
}

void reply_explain(const reply *r)
{
    if (r->stop == STOP_CONTEXT) {
        warn("context: all %lld positions are taken, so the reply ends here; -c makes room for more", (long long)r->capacity);
    }
}
