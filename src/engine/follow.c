/* Any process but 0: carries out process 0's commands on its own sessions and passes, with the same functions, and computes
   with its own ranks. It has no samplers, no logits and no results.
   Rests on opening.c, session.c, pass_queue.c and tracing_far.c. telling.c is the other side. */
#include "engine/engine.h"

#include <stdio.h>

typedef struct follower {
    lariat_processes *processes;
    const char *path; /* of the model */
    const lariat_options *options;
    hop_fn measure;
    lariat_engine *engine;   /* NULL: none is open */
    lariat_sampler *sampler; /* stands for those of process 0: its settings are replaced */
    bool ends;
} follower;

static lariat_status refuse(const char *what)
{
    return fail(LARIAT_FAILED, "processes: a command of %s, please report this", what);
}

/* --- the engine --- */

static lariat_status close_engine(follower *f)
{
    lariat_engine *e = f->engine;

    for (int32_t i = 0; e && i < e->plan.sessions; i++) {
        lariat_session_close(e->numbered[i]);
    }
    f->engine = NULL;
    lariat_sampler_close(f->sampler);
    f->sampler = NULL;
    return lariat_engine_close(e);
}

/* Process 0's, but with this process's threads. */
static lariat_options options_of(const follower *f, const command *c)
{
    lariat_options o = c->options;

    o.processes = f->processes;
    o.threads = f->options->threads;
    o.no_bind = f->options->no_bind;
    return o;
}

/* A failure alike in all processes is process 0's to return: it may go on without this engine. */
static lariat_status open_engine(follower *f, const command *c)
{
    static const lariat_sampling any = {.top_p = 1};
    lariat_options o = options_of(f, c);

    if (f->engine) {
        return refuse("a second engine");
    }
    TRY(engine_new(&o, &f->engine));
    if (engine_open(f->engine, f->path, &o) != LARIAT_OK) {
        f->engine = NULL;
        return processes_check(f->processes->others, 0);
    }
    return lariat_sampler_open(&any, f->engine->model->config.vocab, &f->sampler);
}

static lariat_status count(const lariat_engine *e)
{
    lariat_stats stats;

    account_local(e, &stats);
    return processes_collect(e->processes->others, (process_bytes){&stats, sizeof stats}, NULL);
}

/* A failure alike in all processes is process 0's to return. */
static lariat_status measure_hops(const follower *f, const command *c)
{
    lariat_options o = options_of(f, c);

    if (f->engine) {
        return refuse("hops beside an engine");
    }
    return f->measure(&o, c);
}

/* --- sessions --- */

/* NULL: there is none of that number. */
static lariat_session *session_of(const lariat_engine *e, int32_t number)
{
    return number >= 0 && number < e->plan.sessions ? e->numbered[number] : NULL;
}

static lariat_status open_session(lariat_engine *e, const command *c)
{
    lariat_session *s;

    if (c->length < 1) {
        return refuse("a session without positions");
    }
    TRY(lariat_session_open(e, c->length, &s));
    return s->number == c->session ? LARIAT_OK : refuse("a session of another number");
}

static lariat_status fork_session(const lariat_session *from, const command *c)
{
    lariat_session *s;

    if (c->length < 0 || c->length > from->seq.length) {
        return refuse("a fork of positions that its session does not have");
    }
    TRY(session_copy(from, c->length, &s));
    return s->number == c->other ? LARIAT_OK : refuse("a fork of another number");
}

static lariat_status restore_session(lariat_session *s, const command *c)
{
    const sequence before = {.length = c->length, .slices_from = c->slices_from, .decode_rank = c->decode_rank,
                             .decode_left = c->decode_left};

    if (s->under_way || c->length < 0 || c->length > s->seq.length || c->slices_from < 0 || c->slices_from > c->length ||
        c->decode_rank < 0 || c->decode_rank >= s->engine->ranks.ring || c->decode_left < 0 || c->decode_left > DECODE_BLOCK) {
        return refuse("positions that its session did not have");
    }
    session_restore(s, &before);
    return LARIAT_OK;
}

static lariat_status obey_session(lariat_engine *e, const command *c)
{
    lariat_session *s = session_of(e, c->session);

    if (c->kind == TOLD_SESSION_OPEN) {
        return open_session(e, c);
    }
    if (!s) {
        return refuse("a session that is not open");
    }
    switch (c->kind) {
    case TOLD_SESSION_CLOSE:
        lariat_session_close(s);
        return LARIAT_OK;
    case TOLD_SESSION_REWIND:
        return lariat_session_rewind(s, c->length);
    case TOLD_SESSION_RESTORE:
        return restore_session(s, c);
    case TOLD_SESSION_FORK:
        return fork_session(s, c);
    case TOLD_UNSHARE:
        return session_unshare(s);
    default:
        session_take_back(s, c->length, LARIAT_CANCELLED, "taken back");
        return LARIAT_OK;
    }
}

/* --- passes --- */

/* Lists the pass's sessions and tokens; checks the conditions of planning. */
static lariat_status list_work(const follower *f, const command *c)
{
    lariat_engine *e = f->engine;
    int64_t left = c->n_tokens, vocab = e->model->config.vocab;
    int32_t n = (int32_t)c->n_items;

    for (int32_t i = 0; i < n; i++) {
        const told_item *item = &e->told_items[i];
        lariat_session *s = session_of(e, item->session);
        if (!s || item->count < 1 || item->count > left || item->count > s->seq.capacity - s->seq.length ||
            item->n_logits < 0 || item->n_logits > item->count) {
            return refuse("tokens that its sessions do not have");
        }
        for (int32_t k = 0; k < i; k++) {
            if (e->told_items[k].session == item->session) {
                return refuse("a session that is twice in a pass");
            }
        }
        e->works[i] = (lariat_work){.session = s, .tokens = e->told_tokens + (c->n_tokens - left), .count = item->count,
                                    .sampler = item->chooses ? f->sampler : NULL,
                                    .n_logits = item->chooses ? 0 : item->n_logits,
                                    .n_top = item->chooses && item->read_by_host};
        left -= item->count;
    }
    for (int64_t i = 0; i < c->n_tokens; i++) {
        if (e->told_tokens[i] < -e->plan.limits.parts || e->told_tokens[i] >= vocab) {
            return refuse("tokens that the vocabulary does not have");
        }
    }
    return left == 0 ? LARIAT_OK : refuse("tokens of no session");
}

static lariat_status submit(const follower *f, const command *c)
{
    lariat_engine *e = f->engine;
    pending_pass *p = &e->passes[e->n_submitted % 2];

    if (passes_under_way(e) == 2 || c->pass != e->n_submitted || c->n_items < 1 || c->n_items > e->plan.limits.parts ||
        c->n_tokens < 1 || c->n_tokens > e->plan.shown.chunk) {
        return refuse("a pass that is none");
    }
    command_items(c, e->told_items);
    command_tokens(c, e->told_tokens);
    TRY(list_work(f, c));
    TRY(requests_plan(e, p, e->works, (int32_t)c->n_items));
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].output >= 0) {
            p->settings[p->entries[i].output] = e->told_items[i].setting;
        }
    }
    e->n_submitted++;
    bool same = (int32_t)p->plan.layout == c->layout && (int32_t)p->plan.side == c->side;
    return same ? LARIAT_OK : refuse("a pass of another layout");
}

/* A rank that was cancelled does not know why: process 0 will tell, or a failure is known. */
static lariat_status run(lariat_engine *e, const command *c)
{
    pending_pass *p = &e->passes[c->pass % 2];

    if (c->pass - e->n_collected >= passes_under_way(e) || p->begun || c->n_tokens != p->n) {
        return refuse("a pass that was not submitted");
    }
    command_tokens(c, e->told_tokens);
    for (int32_t i = 0; i < p->n; i++) {
        if (e->told_tokens[i] < 0 || e->told_tokens[i] >= e->model->config.vocab) {
            return refuse("a token that the vocabulary does not have");
        }
        p->tokens[p->plan.parts[i].token] = e->told_tokens[i];
    }
    e->n_begun = c->number - 1;
    telling_phase(e, "computing a pass");
    lariat_status status = passes_run(e, p);
    p->done = true;
    telling_phase(e, "waiting for process 0");
    return status == LARIAT_CANCELLED ? processes_check(e->processes->others, 0) : status;
}

static lariat_status conclude(lariat_engine *e)
{
    if (passes_under_way(e) == 0) {
        return refuse("the end of a pass that was not submitted");
    }
    passes_retire(e);
    return LARIAT_OK;
}

/* --- commands --- */

static lariat_status obey_engine(follower *f, const command *c)
{
    lariat_engine *e = f->engine;

    switch (c->kind) {
    case TOLD_SUBMIT:
        return submit(f, c);
    case TOLD_RUN:
        return run(e, c);
    case TOLD_RESET:
        placement_reset_transport(&e->plan.placement, e->comm);
        return LARIAT_OK;
    case TOLD_CONCLUDE:
        return conclude(e);
    case TOLD_COUNT:
        return count(e);
    case TOLD_TRACE:
        return c->length < 0 ? refuse("room for fewer than no spans") : tracing_start_local(e, c->length);
    case TOLD_TRACE_STOP:
        tracing_stop_local(e);
        return LARIAT_OK;
    case TOLD_CLOCK:
        return tracing_report_clock(e);
    case TOLD_SPANS:
        return tracing_report_spans(e, c->length);
    case TOLD_CLOSE:
        return close_engine(f);
    case TOLD_SESSION_OPEN:
    case TOLD_SESSION_CLOSE:
    case TOLD_SESSION_REWIND:
    case TOLD_SESSION_RESTORE:
    case TOLD_SESSION_FORK:
    case TOLD_UNSHARE:
    case TOLD_TAKE_BACK:
        return obey_session(e, c);
    default:
        return refuse("something at the wrong time");
    }
}

static lariat_status obey(follower *f, const command *c)
{
    if (c->kind == TOLD_STOP) {
        f->ends = true;
        return LARIAT_OK;
    }
    if (c->kind == TOLD_OPEN) {
        return open_engine(f, c);
    }
    if (c->kind == TOLD_HOP) {
        return measure_hops(f, c);
    }
    return f->engine ? obey_engine(f, c) : refuse("an engine that is not open");
}

static lariat_status obey_message(follower *f, process_bytes message)
{
    command_bytes b = {.from = message.at, .room = message.n};
    command c;

    while (!f->ends && command_read(&b, &c)) {
        TRY(obey(f, &c));
    }
    return b.bad ? refuse("something that cannot be read") : LARIAT_OK;
}

lariat_status engine_follow(lariat_processes *p, const char *path, const lariat_options *options, hop_fn measure)
{
    follower f = {.processes = p, .path = path, .options = options, .measure = measure};
    lariat_status status = LARIAT_OK;
    process_bytes message;

    while (status == LARIAT_OK && !f.ends) {
        processes_phase(p->others, "waiting for process 0");
        status = processes_hear(p->others, &message);
        status = status == LARIAT_OK ? obey_message(&f, message) : status;
    }
    if (status != LARIAT_OK) {
        status = tell_failure(p->others, f.engine ? &f.engine->ranks : NULL, status);
    }
    char reason[COMMAND_TEXT_MOST];
    snprintf(reason, sizeof reason, "%s", lariat_error());
    (void)close_engine(&f);
    return status == LARIAT_OK ? LARIAT_OK : fail(status, "%s", reason);
}
