/* Passes from submit to collect: at most two are under way, carried out in the order in which they were submitted.
   Rests on requests.c (the plan), ranks.h (who carries it out) and accounting.c. See engine.h, and lariat/lariat.h for what a
   caller may rely on. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

/* --- on the ranks --- */

typedef struct begun_pass {
    lariat_engine *engine;
    const pending_pass *pass;
} begun_pass;

static lariat_status rank_pass(local_rank *r, void *arg)
{
    const begun_pass *b = arg;

    return transformer_pass(&b->engine->local[r - r->all->list].transformer, &b->pass->input);
}

/* Passes that are not carried out get no number: the transport compares numbers by their difference. */
lariat_status passes_run(lariat_engine *e, pending_pass *p)
{
    p->begun = true;
    p->plan.number = ++e->n_begun;
    lariat_status status = tell_run(e, p);
    NEXT(status, ranks_run(&e->ranks, rank_pass, &(begun_pass){e, p}));
    if (status != LARIAT_OK) {
        return tell_outcome(e, status);
    }
    account_pass(e, p);
    return LARIAT_OK;
}

static lariat_status rank_wait(local_rank *r, void *unused)
{
    (void)unused;
    return r->dev->ops->wait_mark(r->dev);
}

/* --- taking back --- */

static void entry_take_back(pass_entry *x, lariat_status status, const char *reason)
{
    lariat_session *s = x->session;

    sequence_restore(&s->engine->cache, &s->seq, &x->before);
    if (x->sampler) {
        sampler_take_back(x->sampler);
    }
    s->row = x->row_before;
    s->under_way--;
    x->status = status;
    x->reason = reason;
}

void session_take_back(lariat_session *s, int64_t length, lariat_status status, const char *reason)
{
    lariat_engine *e = s->engine;

    if (s->under_way) {
        tell(e, &(command){.kind = TOLD_TAKE_BACK, .session = s->number, .length = length});
    }
    for (uint32_t i = e->n_submitted; s->under_way && i != e->n_collected; i--) { /* the newest first */
        pending_pass *p = &e->passes[(i - 1) % 2];
        for (int32_t k = 0; k < p->n; k++) {
            pass_entry *x = &p->entries[k];
            if (x->session == s && x->status == LARIAT_OK && x->before.length >= length) {
                entry_take_back(x, status, reason);
            }
        }
    }
}

/* Entries of a pass that were taken back for the reason of another pass: its results may be collected when that one's slot
   has another pass. */
static void keep_reason(pending_pass *p, const pending_pass *lost)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].reason == lost->reason) {
            memcpy(p->chained_reason, lost->reason, sizeof lost->reason);
            p->entries[i].reason = p->chained_reason;
        }
    }
}

/* After a failure of the ranks in a pass none that they had begun is left, nor one that goes on from it. The reason is in
   lariat_error(), which what is told meanwhile may replace. */
static void lose_passes(lariat_engine *e, const pending_pass *failed, lariat_status status)
{
    static const char chained[] = "lost with another pass: ";
    char reason[sizeof failed->reason - sizeof chained];

    snprintf(reason, sizeof reason, "%s", lariat_error());
    for (uint32_t i = e->n_collected; i != e->n_submitted; i++) {
        pending_pass *p = &e->passes[i % 2];
        if (!p->begun || p->done) {
            continue;
        }
        p->status = status;
        snprintf(p->reason, sizeof p->reason, "%s%s", p == failed ? "" : chained, reason);
        p->done = true;
        for (int32_t k = 0; k < p->n; k++) {
            if (p->entries[k].status == LARIAT_OK) {
                session_take_back(p->entries[k].session, p->entries[k].before.length, status, p->reason);
            }
        }
        keep_reason(&e->passes[(i + 1) % 2], p);
    }
    give_reason("%s", reason);
}

/* --- submit --- */

static lariat_status copy_blocks(local_rank *r, void *engine)
{
    const lariat_engine *e = engine;
    const block_copy *what = &e->copies[r->number];

    if (what->count) {
        shard_copy(&e->local[r - r->all->list].transformer.ring.shard, r->dev, what);
    }
    return LARIAT_OK;
}

lariat_status session_unshare(lariat_session *s)
{
    lariat_engine *e = s->engine;

    if (!sequence_unshare(&e->cache, &s->seq, e->copies)) {
        return fail(LARIAT_CONTEXT_FULL,
                    "work: a session that shares its last slots finds none to copy them to, close a session");
    }
    tell(e, &(command){.kind = TOLD_UNSHARE, .session = s->number});
    TRY(tell_now(e));
    return ranks_run(&e->ranks, copy_blocks, e);
}

/* CPUs first compute what is pending: those passes may still write to slots that their sessions have lost meanwhile. */
static lariat_status unshare_all(lariat_engine *e, const lariat_work work[], int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        if (!sequence_is_shared(&e->cache, &work[i].session->seq)) {
            continue;
        }
        for (uint32_t k = e->n_collected; k != e->n_submitted; k++) {
            lariat_status status = e->passes[k % 2].begun ? LARIAT_OK : passes_carry_out(e, k);
            if (status != LARIAT_OK && status != LARIAT_CANCELLED) { /* cancelled: that session's result says it */
                return status;
            }
        }
        TRY(session_unshare(work[i].session));
    }
    return LARIAT_OK;
}

lariat_status passes_submit(lariat_engine *e, const lariat_work work[], int32_t n)
{
    pending_pass *p = &e->passes[e->n_submitted % 2];

    if (passes_under_way(e) == 2) {
        return fail(LARIAT_BUSY, "submit: two passes are under way, collect one first");
    }
    TRY(unshare_all(e, work, n));
    TRY(requests_plan(e, p, work, n));
    tell_submit(e, p);
    e->n_submitted++;
    if (!on_cards(&e->plan.placement)) {
        return LARIAT_OK;
    }
    lariat_status status = passes_run(e, p);
    if (status == LARIAT_OK) {
        return LARIAT_OK;
    }
    lose_passes(e, p, status);
    if (status == LARIAT_CANCELLED) {
        return LARIAT_OK; /* its results say it, as they do after a later cancel */
    }
    e->n_submitted--;
    return status;
}

lariat_status lariat_submit(lariat_engine *e, const lariat_work work[], int32_t n)
{
    int64_t total;

    TRY(requests_check(e, work, n, 1, &total));
    if (total < 1 || total > e->plan.shown.chunk) {
        return fail(LARIAT_BAD_ARGUMENT, "submit: a pass of %lld tokens, give 1 to %d (chunk)", (long long)total,
                    e->plan.shown.chunk);
    }
    return passes_submit(e, work, n);
}

/* --- collect --- */

/* Is there a session that is not cancelled? */
static bool is_wanted(const pending_pass *p)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].status == LARIAT_OK && !atomic_load(&p->entries[i].session->cancelled)) {
            return true;
        }
    }
    return false;
}

/* On CPUs: the tokens that the pass before has chosen, whose results may not have been collected yet. Of sessions that are
   taken back, or will be, any id will do. */
static void list_chosen(pending_pass *p, const pending_pass *before)
{
    for (int32_t i = 0; i < p->n; i++) {
        const pass_entry *x = &p->entries[i];
        int32_t *token = &p->tokens[p->plan.parts[i].token];
        if (*token < 0) {
            bool known = x->status == LARIAT_OK && !atomic_load(&x->session->cancelled);
            int32_t chosen = known ? before->chosen[-1 - *token] : 0;
            *token = chosen < 0 ? 0 : chosen;
        }
        if (x->status != LARIAT_OK && x->output >= 0) { /* an entry taken back chooses nothing */
            p->logprobs[x->output].sampler = NULL;
        }
    }
}

/* The session gets the ids that it has read. The one that the pass before chose may be known only now. */
static void keep_ids(const pass_entry *x, const pending_pass *p)
{
    const pass_part *part = &p->plan.parts[x - p->entries];
    lariat_session *s = x->session;

    for (int64_t i = 0; i < part->count; i++) {
        int32_t id = p->tokens[part->token + i];
        s->ids[x->before.length + i] = id < 0 ? s->token : id;
    }
}

/* One session's result. */
static lariat_result conclude(pass_entry *x, const pending_pass *p)
{
    lariat_session *s = x->session;
    int32_t token = -1;

    if (x->status == LARIAT_OK && atomic_load(&s->cancelled)) {
        session_take_back(s, x->before.length, LARIAT_CANCELLED, "session: cancelled");
    }
    if (x->status == LARIAT_OK && x->sampler) {
        token = p->chosen[x->output];
        if (token < 0) {
            session_take_back(s, x->before.length, LARIAT_FAILED, sample_failure());
        }
    }
    if (x->status == LARIAT_OK) {
        keep_ids(x, p);
        s->under_way--;
        s->token = token;
        s->call.is_new = token >= 0;
    }
    lariat_result result = {.session = s, .user = x->user, .status = x->status, .reason = x->reason, .token = token};
    if (token >= 0 && p->logprobs[x->output].n_top) {
        result.logprob = p->logprobs[x->output].logprob;
        result.top = p->logprobs[x->output].top;
    }
    if (s && token >= 0) {
        s->logprob = p->logprobs[x->output];
    }
    return result;
}

lariat_status passes_carry_out(lariat_engine *e, uint32_t number)
{
    pending_pass *p = &e->passes[number % 2];
    lariat_status status = LARIAT_OK;

    if (p->status != LARIAT_OK) {
        return fail(p->status, "%s", p->reason);
    }
    if (p->begun && !p->done) {
        status = ranks_run(&e->ranks, rank_wait, NULL);
    } else if (!p->begun && is_wanted(p)) {
        list_chosen(p, &e->passes[(number - 1) % 2]);
        status = passes_run(e, p);
    }
    if (status != LARIAT_OK) {
        lose_passes(e, p, status);
    }
    p->begun = p->done = true;
    return status;
}

lariat_status passes_conclude(lariat_engine *e, lariat_status status)
{
    pending_pass *p = &e->passes[e->n_collected % 2];
    const lariat_result *failed = NULL;

    for (int32_t i = 0; i < p->n; i++) {
        e->results[i] = conclude(&p->entries[i], p);
        failed = failed || e->results[i].status == LARIAT_OK ? failed : &e->results[i];
    }
    tell(e, &(command){.kind = TOLD_CONCLUDE});
    e->n_collected++;
    return status == LARIAT_OK && failed ? fail(failed->status, "%s", failed->reason) : status;
}

void passes_retire(lariat_engine *e)
{
    pending_pass *p = &e->passes[e->n_collected++ % 2];

    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].status == LARIAT_OK) {
            p->entries[i].session->under_way--;
        }
    }
}

lariat_status lariat_collect(lariat_engine *e, lariat_result results[], int32_t room, int32_t *n)
{
    int32_t needed = e->passes[e->n_collected % 2].n;

    *n = 0;
    if (passes_under_way(e) == 0) {
        return LARIAT_OK;
    }
    if (room < needed) {
        return fail(LARIAT_BAD_ARGUMENT, "collect: the oldest pass has %d results, there is room for %d; nothing was collected",
                    needed, room);
    }
    lariat_status status = passes_carry_out(e, e->n_collected);
    (void)passes_conclude(e, status); /* each result has its own */
    memcpy(results, e->results, (size_t)needed * sizeof *results);
    *n = needed;
    return status == LARIAT_CANCELLED ? LARIAT_OK : status;
}

lariat_status passes_drop(lariat_engine *e, lariat_status status)
{
    char reason[sizeof e->passes[0].reason];

    snprintf(reason, sizeof reason, "%s", lariat_error());
    while (passes_under_way(e)) {
        lariat_status one = passes_carry_out(e, e->n_collected);
        (void)passes_conclude(e, one);
        if (status == LARIAT_OK && one != LARIAT_OK) {
            status = one;
            snprintf(reason, sizeof reason, "%s", lariat_error());
        }
    }
    return status == LARIAT_OK ? LARIAT_OK : fail(status, "%s", reason);
}
