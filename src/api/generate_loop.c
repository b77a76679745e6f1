/* lariat_generate: token after token for all items together.
   Rests on step.c for the passes and sample.c for what a token is chosen by. See lariat/lariat.h.

   The plan of a pass does not depend on the tokens that it reads, and on a card it finds them in the memory where the pass before
   has put them. So the host queues pass p + 1, then waits for the tokens of pass p: while it gives them out, the cards go on. A
   session is then one position ahead of what was given out; one that stops is taken back. CPUs do what they are asked at once,
   so nothing is begun there that may not be wanted. */
#include "engine/engine.h"

static lariat_status check_reply(const lariat_engine *e, const lariat_reply *r, int32_t index)
{
    int32_t vocab = e->model->config.vocab;

    if (r->count < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d has nothing to read, give its prompt or the token that came last", index);
    }
    if (r->most < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d wants %lld tokens, ask for 0 or more", index, (long long)r->most);
    }
    if (!r->sampler || sampler_vocab(r->sampler) != vocab) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d has no sampler for a vocabulary of %d, open one", index, vocab);
    }
    return LARIAT_OK;
}

/* Lists what is to be read first. */
static lariat_status begin(lariat_engine *e, const lariat_reply replies[], int32_t n, int64_t *total)
{
    if (n < 0 || n > e->plan.sessions) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: %d items, the engine was opened for %d sessions: give each session once", n,
                    e->plan.sessions);
    }
    for (int32_t i = 0; i < n; i++) {
        TRY(check_reply(e, &replies[i], i));
    }
    for (int32_t i = 0; i < n; i++) {
        const lariat_reply *r = &replies[i];
        e->items[i] = (lariat_item){.session = r->session, .tokens = r->tokens, .count = r->count, .n_logits = r->most > 0};
    }
    TRY(step_begin(e, e->items, n, true, total));
    for (int32_t i = 0; i < n; i++) { /* they are this engine's, and nobody else's */
        lariat_session *s = replies[i].session;
        s->sampler = replies[i].sampler;
        s->made = 0;
        s->pending = 0;
        s->fresh = s->stopped = false;
    }
    return LARIAT_OK;
}

/* Takes back what was begun beyond the last token that was given out. */
static void take_back(const lariat_engine *e, lariat_session *s)
{
    if (s->seq.length > s->before) {
        sequence_rewind(&s->seq, e->plan.shown.ranks, s->before);
    }
    sampler_take_back(s->sampler, s->pending);
    s->pending = 0;
}

/* What the caller is told, and whom. */
typedef struct audience {
    const lariat_reply *replies;
    int32_t n;
    lariat_token_fn on_token;
    void *user;
    bool ended; /* one of them has stopped */
} audience;

static void stop(const lariat_engine *e, audience *a, lariat_session *s)
{
    take_back(e, s);
    s->stopped = true;
    a->ended = true;
}

/* Gives out the fresh tokens, in the order of the items. */
static lariat_status give_out(const lariat_engine *e, audience *a)
{
    for (int32_t i = 0; i < a->n; i++) {
        lariat_session *s = a->replies[i].session;
        if (!s->fresh) {
            continue;
        }
        s->fresh = false;
        if (s->token < 0) {
            return sample_failed();
        }
        s->pending--;
        s->made++;
        s->before = s->seq.length - s->pending;
        if (!a->on_token(a->user, i, s->token) || s->made == a->replies[i].most || s->before == s->seq.capacity) {
            stop(e, a, s);
        }
    }
    return LARIAT_OK;
}

/* Lists the next token of every item that goes on. Returns how many. */
static int32_t list_round(lariat_engine *e, const audience *a)
{
    int32_t count = 0;

    for (int32_t i = 0; i < a->n; i++) {
        lariat_session *s = a->replies[i].session;
        if (s->made + s->pending < a->replies[i].most && s->seq.length < s->seq.capacity) {
            s->token = s->pending ? -1 - s->row : s->token;
            s->taken = 0;
            e->items[count] = (lariat_item){.session = s, .tokens = &s->token, .count = 1, .n_logits = 1};
            count++;
        }
    }
    return count;
}

/* Once one has stopped: a pass that is under way is waited for, and taken back for all. */
static lariat_status drop_flight(lariat_engine *e, const audience *a)
{
    if (e->n_landed == e->n_flights) {
        return LARIAT_OK;
    }
    TRY(engine_run(e, RANK_REACH));
    e->n_landed++;
    for (int32_t i = 0; i < a->n; i++) {
        take_back(e, a->replies[i].session);
    }
    return LARIAT_OK;
}

static lariat_status decode(lariat_engine *e, audience *a)
{
    while (!a->ended) {
        int32_t count = list_round(e, a);
        bool ahead = e->plan.shown.cards > 0 && count <= e->plan.shown.slices_up_to;
        if (atomic_load(&e->cancel)) {
            return fail(LARIAT_CANCELLED, "stopped");
        }
        if (count && ahead) {
            int64_t taken;
            TRY(step_pass(e, e->items, count, count, true, &taken));
        } else {
            TRY(step_passes(e, e->items, count, count));
        }
        uint32_t flying = e->n_flights - e->n_landed;
        if (flying == 2 || (flying && !count)) {
            TRY(engine_run(e, RANK_REACH));
            flight_land(e);
        } else if (!count) {
            return LARIAT_OK;
        }
        TRY(give_out(e, a));
    }
    return drop_flight(e, a);
}

static lariat_status read_and_decode(lariat_engine *e, audience *a, int64_t total)
{
    TRY(step_passes(e, e->items, a->n, total));
    for (int32_t i = 0; i < a->n; i++) {
        lariat_session *s = a->replies[i].session;
        if (a->replies[i].most == 0) {
            s->before = s->seq.length;
            stop(e, a, s);
        }
    }
    TRY(give_out(e, a));
    return decode(e, a);
}

lariat_status lariat_generate(lariat_engine *e, const lariat_reply replies[], int32_t n, lariat_token_fn on_token, void *user)
{
    audience a = {.replies = replies, .n = n, .on_token = on_token, .user = user};
    int64_t total;

    atomic_store(&e->cancel, false); /* before anything else: a cancel that comes from here on is this call's */
    lariat_status status = begin(e, replies, n, &total);
    if (status == LARIAT_OK) {
        status = read_and_decode(e, &a, total);
        if (status != LARIAT_OK && e->n_landed != e->n_flights) {
            lariat_status settled = engine_run(e, RANK_SETTLE);
            status = settled == LARIAT_OK ? status : settled;
            e->n_landed = e->n_flights;
        }
        for (int32_t i = 0; i < n; i++) {
            if (status != LARIAT_OK) {
                take_back(e, replies[i].session);
            }
            replies[i].session->sampler = NULL;
        }
    }
    return status;
}
