/* The loop of generation, once for all subcommands.
   Rests on lariat_generate. */
#include "cli/reply.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/signals.h"

#include <stdlib.h>

enum { FIRST_IDS = 256 };

int reply_open(reply *r, invocation *inv, lariat_session *session, int64_t capacity, bool shown)
{
    const options *o = inv->options;
    *r = (reply){.inv = inv, .session = session, .capacity = capacity, .most = o->n, .shown = shown, .turn_end = -1};
    lariat_sampling settings = {.temperature = (float)o->temperature,
                                .top_k = (int32_t)o->top_k,
                                .top_p = (float)o->top_p,
                                .min_p = (float)o->min_p,
                                .seed = o->seed};
    bool as_text = shown && inv->tokenizer;
    if (lariat_sampler_open(&settings, inv->model->vocab, &r->sampler) != LARIAT_OK ||
        (as_text && lariat_stream_open(inv->tokenizer, o->special, &r->stream) != LARIAT_OK)) {
        return complain_library();
    }
    return 0;
}

void reply_close(reply *r)
{
    lariat_sampler_close(r->sampler);
    lariat_stream_close(r->stream);
    free(r->ids);
    *r = (reply){0};
}

void reply_begin(reply *r, const int32_t *tokens, int64_t n)
{
    r->next = tokens;
    r->n_next = n;
    r->n = 0;
    r->stop = STOP_NOT_YET;
    r->ends_line = true;
    r->began_s = now_s();
}

static int show_bytes(reply *r, const char *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    r->ends_line = data[size - 1] == '\n';
    TRY(output_bytes(data, size));
    return output_flush();
}

static int show(reply *r, int32_t id)
{
    if (!r->stream) {
        bool first = r->n == 1;
        r->ends_line = false;
        TRY(output_format(first ? "%d" : " %d", id));
        return output_flush();
    }
    const char *piece;
    size_t size;
    TRY(checked(lariat_stream_put(r->stream, id, &piece, &size)));
    return show_bytes(r, piece, size);
}

/* Room for a reply doubles, so that its tokens are copied seldom and nothing is reserved for a reply that ends early. */
static int keep(reply *r, int32_t id)
{
    if (r->n == r->room) {
        int64_t room = r->room * 2 + FIRST_IDS;
        int32_t *more = realloc(r->ids, (size_t)room * sizeof *more);
        TRY_MEMORY(more, "reply");
        r->ids = more;
        r->room = room;
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

/* Takes a token that was made. */
static int take(reply *r, int32_t id)
{
    figures *f = &r->inv->figures;
    if (r->n == 0 && f->first_s == 0) {
        f->first_s = now_s() - r->began_s;
    }
    if (ends_reply(r, id)) {
        r->stop = STOP_END;
        return 0;
    }
    TRY(keep(r, id));
    r->next = &r->ids[r->n - 1];
    r->n_next = 1;
    return r->shown ? show(r, id) : 0;
}

typedef struct round {
    reply *const *list;
    int64_t tokens; /* that were made */
    int rc;
} round;

static bool on_token(void *user, int32_t item, int32_t id)
{
    round *now = user;
    reply *r = now->list[item];
    now->tokens++;
    progress_end(&r->inv->progress);
    if (now->rc || signals_interrupted()) {
        return false;
    }
    now->rc = take(r, id);
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
    } else if (r->n == r->most) {
        r->stop = STOP_LENGTH;
    } else if (r->n > 0 && lariat_session_length(r->session) >= r->capacity) {
        r->stop = STOP_CONTEXT;
    }
}

/* Lists what the replies go on from. As PREFILL, where one of them begins, prompts are read to the first token; otherwise
   each goes on from one token. *read: tokens to be read. */
static phase list_items(reply *const list[], int n, lariat_reply items[], int64_t *read)
{
    phase what = DECODE;
    *read = 0;
    for (int i = 0; i < n; i++) {
        *read += list[i]->n_next;
        what = list[i]->n == 0 ? PREFILL : what;
    }
    for (int i = 0; i < n; i++) {
        const reply *r = list[i];
        int64_t left = r->most == UNTIL_THE_END ? INT64_MAX : r->most - r->n;
        items[i] = (lariat_reply){.session = r->session,
                                  .tokens = r->next,
                                  .count = r->n_next,
                                  .sampler = r->sampler,
                                  .most = what == PREFILL && left > 1 ? 1 : left};
    }
    return what;
}

static bool all_go_on(reply *const list[], int n)
{
    for (int i = 0; i < n; i++) {
        if (list[i]->stop != STOP_NOT_YET) {
            return false;
        }
    }
    return true;
}

int replies_go_on(invocation *inv, reply *const list[], int n)
{
    lariat_reply items[REPLIES_MOST] = {0};
    int rc = 0;
    while (rc == 0 && all_go_on(list, n)) {
        round now = {.list = list};
        lariat_status status = LARIAT_CANCELLED;
        int64_t read;
        bool cancelled;
        phase what = list_items(list, n, items, &read);
        if (what == PREFILL) {
            progress_begin(&inv->progress, "reading", read);
        }
        if (invocation_begin_call(inv, items[0].session)) {
            status = lariat_generate(inv->engine, items, n, on_token, &now); /* each token made has read the one before */
        }
        rc = invocation_end_call(inv, status, what, what == PREFILL ? read : now.tokens, &cancelled);
        progress_end(&inv->progress);
        for (int i = 0; i < n; i++) {
            note_stop(list[i], cancelled || signals_interrupted());
        }
        rc = rc ? rc : now.rc;
    }
    return rc;
}

int reply_end(reply *r)
{
    const char *piece;
    size_t size;
    if (!r->shown) {
        return 0;
    }
    if (r->stream) {
        TRY(checked(lariat_stream_flush(r->stream, &piece, &size)));
        TRY(show_bytes(r, piece, size));
    }
    TRY(r->ends_line ? 0 : output_bytes("\n", 1));
    return output_flush();
}

const char *stop_name(stop_reason why)
{
    static const char *const names[] = {[STOP_NOT_YET] = "running",
                                        [STOP_END] = "end",
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
