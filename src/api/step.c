/* lariat_step: any number of sessions forward by any number of tokens, pass after pass.
   Rests on engine/pass_queue.c. generate_loop.c goes on from here. */
#include "api/loops.h"

lariat_status call_begin(lariat_engine *e, const lariat_work work[], int32_t n, int64_t *total)
{
    if (passes_under_way(e)) {
        return fail(LARIAT_BUSY, "passes: %u are under way, collect them first", passes_under_way(e));
    }
    TRY(requests_check(e, work, n, 0, total));
    for (int32_t i = 0; i < n; i++) {
        lariat_session *s = work[i].session;
        s->call.before = s->seq;
        s->call.token_before = s->token;
        s->call.is_new = false;
        e->called[i] = s;
    }
    e->n_called = n;
    return LARIAT_OK;
}

void call_end(lariat_engine *e)
{
    e->n_called = 0;
}

void call_take_back(lariat_session *s, lariat_sampler *sampler)
{
    if (s->call.is_new) {
        sampler_take_back(sampler);
    }
    session_restore(s, &s->call.before);
    s->token = s->call.token_before;
    s->logprob.n_top = 0;
}

/* Lists the next `size` tokens, items in their order. What is wanted of an item is wanted of its last tokens. */
static int32_t list_next(lariat_engine *e, const lariat_work items[], int32_t n, int64_t size)
{
    int64_t vocab = e->model->config.vocab;
    int32_t count = 0;

    for (int32_t i = 0; i < n && size; i++) {
        lariat_work w = items[i];
        int64_t taken = w.session->seq.length - w.session->call.before.length;
        int64_t left = w.count - taken, take = left < size ? left : size;
        if (left == 0) {
            continue;
        }
        int64_t unwanted = left - w.n_logits; /* negative: rows of logits were given before */
        w.tokens = w.tokens ? w.tokens + taken : NULL;
        w.count = take;
        w.logits = unwanted < 0 ? w.logits - unwanted * vocab : w.logits;
        w.n_logits = take > unwanted ? take - (unwanted > 0 ? unwanted : 0) : 0;
        w.sampler = take == left ? w.sampler : NULL;
        w.n_top = w.sampler ? w.n_top : 0;
        e->works[count++] = w;
        size -= take;
    }
    return count;
}

lariat_status read_passes(lariat_engine *e, const lariat_work items[], int32_t n, int64_t total)
{
    for (int64_t done = 0; done < total;) {
        /* Passes of even size: a short last one would read all weights for a few tokens. */
        int64_t left = total - done, passes = (left + e->plan.shown.chunk - 1) / e->plan.shown.chunk;
        int64_t size = (left + passes - 1) / passes;
        lariat_status status = passes_submit(e, e->works, list_next(e, items, n, size));
        while (status == LARIAT_CONTEXT_FULL && size > 1) { /* on some rank: fewer find room */
            size /= 2;
            status = passes_submit(e, e->works, list_next(e, items, n, size));
        }
        TRY(status);
        status = passes_carry_out(e, e->n_collected);
        TRY(passes_conclude(e, status));
        done += size;
        if (e->progress) {
            e->progress(e->progress_user, done, total);
        }
    }
    return LARIAT_OK;
}

void lariat_engine_on_progress(lariat_engine *e, lariat_progress_fn fn, void *user)
{
    e->progress = fn;
    e->progress_user = user;
}

lariat_status lariat_step(lariat_engine *e, const lariat_work work[], int32_t n)
{
    int64_t total;

    TRY(call_begin(e, work, n, &total));
    lariat_status status = read_passes(e, work, n, total);
    for (int32_t i = 0; status != LARIAT_OK && i < n; i++) {
        call_take_back(work[i].session, work[i].sampler);
    }
    call_end(e);
    return status;
}
