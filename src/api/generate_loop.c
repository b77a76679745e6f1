/* lariat_generate: token after token for all items together.
   Rests on loops.h for the reading of prompts, and on engine/pass_queue.c. See lariat/lariat.h.

   The plan of a pass does not depend on the tokens that it reads, and a GPU finds them in the memory where the pass before has
   put them. So two passes are under way there: while the tokens of one are given out, the GPUs compute the next. CPUs compute a
   pass when it is collected, so nothing is submitted there that may not be wanted. */
#include "api/loops.h"

/* A call, and whom its tokens go to. */
typedef struct call {
    lariat_engine *engine;
    const lariat_reply *replies;
    int32_t n;
    lariat_token_fn on_token;
    void *user;
    bool ended; /* one of the items has stopped */
} call;

static lariat_status check_reply(const lariat_reply *r, int32_t index)
{
    if (r->count < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d has nothing to read, give its prompt or the token that came last",
                    index);
    }
    if (r->most < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d wants %lld tokens, ask for 0 or more", index, (long long)r->most);
    }
    if (!r->sampler) {
        return fail(LARIAT_BAD_ARGUMENT, "generate: item %d has no sampler, open one", index);
    }
    return LARIAT_OK;
}

/* Lists the tokens to be read first. */
static lariat_status begin(call *c, int64_t *total)
{
    lariat_engine *e = c->engine;

    for (int32_t i = 0; i < c->n && i < e->plan.sessions; i++) {
        const lariat_reply *r = &c->replies[i];
        TRY(check_reply(r, i));
        e->items[i] = (lariat_work){.session = r->session, .tokens = r->tokens, .count = r->count,
                                    .sampler = r->most ? r->sampler : NULL, .n_top = r->most ? r->n_top : 0};
    }
    TRY(call_begin(e, e->items, c->n, total));
    for (int32_t i = 0; i < c->n; i++) {
        c->replies[i].session->call.given = 0;
        c->ended = c->ended || c->replies[i].most == 0;
    }
    return LARIAT_OK;
}

/* Gives out the new tokens, in the order of the items. */
static void give_out(call *c)
{
    for (int32_t i = 0; i < c->n; i++) {
        const lariat_reply *r = &c->replies[i];
        lariat_session *s = r->session;
        if (s->call.is_new) {
            s->call.is_new = false;
            s->call.given++;
            s->call.before = session_settled(s);
            s->call.token_before = s->token;
            bool goes_on = c->on_token(c->user, i, s->token) && s->call.given < r->most;
            c->ended = c->ended || !goes_on || s->call.before.length >= s->seq.capacity;
        }
    }
}

/* Lists the next token of every item that goes on, the one that its newest pass chooses. Returns how many. */
static int32_t list_round(const call *c)
{
    int32_t count = 0;

    for (int32_t i = 0; i < c->n; i++) {
        const lariat_reply *r = &c->replies[i];
        if (r->session->call.given + r->session->under_way < r->most && r->session->seq.length < r->session->seq.capacity) {
            c->engine->items[count] = (lariat_work){.session = r->session, .count = 1, .sampler = r->sampler,
                                                      .n_top = r->n_top};
            count++;
        }
    }
    return count;
}

/* Takes back passes beyond the last token that was given out. */
static lariat_status end(call *c, lariat_status status)
{
    lariat_engine *e = c->engine;

    for (int32_t i = 0; i < c->n; i++) {
        session_take_back(c->replies[i].session, 0, LARIAT_CANCELLED, "not wanted");
    }
    status = passes_drop(e, status);
    for (int32_t i = 0; status != LARIAT_OK && i < c->n; i++) {
        call_take_back(c->replies[i].session, c->replies[i].sampler);
    }
    call_end(e);
    return status;
}

lariat_status lariat_generate(lariat_engine *e, const lariat_reply replies[], int32_t n, lariat_token_fn on_token, void *user)
{
    call c = {.engine = e, .replies = replies, .n = n, .on_token = on_token, .user = user};
    int64_t total;

    TRY(begin(&c, &total));
    lariat_status status = read_passes(e, e->items, n, total);
    while (status == LARIAT_OK) {
        give_out(&c);
        int32_t count = list_round(&c);
        bool ahead = on_cards(&e->plan.placement) && count && count <= e->plan.shown.slices_up_to;
        if (c.ended || (count == 0 && passes_under_way(e) == 0)) {
            break;
        }
        if (count > e->plan.shown.chunk) {
            status = read_passes(e, e->items, count, count);
            continue;
        }
        status = count ? passes_submit(e, e->items, count) : LARIAT_OK;
        if (status == LARIAT_OK && (!ahead || passes_under_way(e) == 2)) {
            status = passes_carry_out(e, e->n_collected);
            status = passes_conclude(e, status);
        }
    }
    return end(&c, status);
}
