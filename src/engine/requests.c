/* From works to the plan of a pass: checks, runs and slots, tokens, outputs.
   Rests on ring/cache.h (the plan of a pass). See engine.h; pass_queue.c carries the plan out. */
#include "engine/engine.h"

/* --- checks --- */

static lariat_status check_tokens(const lariat_engine *e, const lariat_work *w, int32_t index, int64_t least)
{
    const lariat_session *s = w->session;
    bool chained = w->count == 1 && !w->tokens && (s->under_way ? s->row : s->token) >= 0;
    int32_t vocab = e->model->config.vocab;

    if (w->count < least) {
        return fail(LARIAT_BAD_ARGUMENT, "work: item %d has %lld tokens, give %lld or more", index, (long long)w->count,
                    (long long)least);
    }
    if (w->count && !w->tokens && !chained) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "work: item %d names no ids for its %lld tokens, give them; none only for one token that "
                    "the session's newest pass chooses",
                    index, (long long)w->count);
    }
    if (w->count > s->seq.capacity - s->seq.length) {
        return fail(LARIAT_CONTEXT_FULL,
                    "session: %lld more tokens do not fit, it holds %lld of %lld positions: open it with a larger capacity, "
                    "within the engine's context (-c)",
                    (long long)w->count, (long long)s->seq.length, (long long)s->seq.capacity);
    }
    for (int64_t i = 0; i < w->count && w->tokens; i++) {
        if (w->tokens[i] < 0 || w->tokens[i] >= vocab) {
            return fail(
                LARIAT_BAD_ARGUMENT,
                "work: token %lld is id %d, the vocabulary has ids 0 to %d: encode the text with the model's own tokenizer",
                (long long)i, w->tokens[i], vocab - 1);
        }
    }
    return LARIAT_OK;
}

/* An item's wishes, beside the others': a pass chooses tokens or gives logits. */
static lariat_status check_outputs(const lariat_engine *e, const lariat_work *w, int32_t index, bool *choose, bool *logits)
{
    if (w->n_logits > 0 && !w->logits) {
        return fail(LARIAT_BAD_ARGUMENT, "work: item %d wants logits and names no memory for them, give some", index);
    }
    if (w->n_logits < 0 || w->n_logits > w->count) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "work: item %d wants %lld rows of logits of its %lld tokens, ask for 0 to that many", index,
                    (long long)w->n_logits, (long long)w->count);
    }
    if (w->sampler && sampler_vocab(w->sampler) != e->model->config.vocab) {
        return fail(LARIAT_BAD_ARGUMENT, "work: item %d has a sampler for a vocabulary of %d, open one for %d", index,
                    sampler_vocab(w->sampler), e->model->config.vocab);
    }
    if (w->n_top < 0 || w->n_top > LARIAT_TOP_MAX || w->n_top > e->model->config.vocab) {
        return fail(LARIAT_BAD_ARGUMENT, "work: item %d wants the %d most probable tokens, ask for 0 to %d", index, w->n_top,
                    e->model->config.vocab < LARIAT_TOP_MAX ? e->model->config.vocab : LARIAT_TOP_MAX);
    }
    if (w->n_top && !w->sampler) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "work: item %d wants the %d most probable tokens, listed beside a chosen one, and has no sampler: name one",
                    index, w->n_top);
    }
    *choose = *choose || w->sampler;
    *logits = *logits || w->n_logits;
    if (*choose && *logits) {
        return fail(LARIAT_BAD_ARGUMENT, "work: item %d: either tokens are chosen or logits are given, for all items alike",
                    index);
    }
    return LARIAT_OK;
}

/* Lists the sessions, so that one named twice is found, and forgets their cancels. Others may be in a list of another
   engine. */
static lariat_status list_sessions(const lariat_engine *e, const lariat_work work[], int32_t n)
{
    int32_t listed = 0;

    while (listed < n && work[listed].session->engine == e && !work[listed].session->listed) {
        lariat_session *s = work[listed++].session;
        s->listed = true;
        if (s->under_way == 0) {
            atomic_store(&s->cancelled, false);
        }
    }
    for (int32_t i = 0; i < listed; i++) {
        work[i].session->listed = false;
    }
    return listed == n ? LARIAT_OK
                       : fail(LARIAT_BAD_ARGUMENT,
                              "work: the session of item %d belongs to another engine or item, give each session once, to its "
                              "own engine",
                              listed);
}

static lariat_status list_samplers(const lariat_work work[], int32_t n)
{
    int32_t listed = 0;

    while (listed < n && !(work[listed].sampler && sampler_list(work[listed].sampler, true))) {
        listed++;
    }
    for (int32_t i = 0; i < listed; i++) {
        if (work[i].sampler) {
            (void)sampler_list(work[i].sampler, false);
        }
    }
    return listed == n ? LARIAT_OK
                       : fail(LARIAT_BAD_ARGUMENT, "work: the sampler of item %d is that of an item before, open one for each",
                              listed);
}

lariat_status requests_check(const lariat_engine *e, const lariat_work work[], int32_t n, int64_t least, int64_t *total)
{
    bool choose = false, logits = false;

    *total = 0;
    if (n < 0 || n > e->plan.sessions) {
        return fail(LARIAT_BAD_ARGUMENT, "work: %d items, the engine was opened for %d sessions: give each session once", n,
                    e->plan.sessions);
    }
    TRY(list_sessions(e, work, n)); /* before anything that takes time: a cancel meanwhile counts */
    TRY(list_samplers(work, n));
    for (int32_t i = 0; i < n; i++) {
        TRY(check_tokens(e, &work[i], i, least));
        TRY(check_outputs(e, &work[i], i, &choose, &logits));
        *total += work[i].count;
    }
    return LARIAT_OK;
}

/* --- the plan --- */

static pass_side side_of(const lariat_engine *e, const pass *p)
{
    if (e->plan.shown.side != LARIAT_SIDE_AUTO) {
        return e->plan.shown.side == LARIAT_SIDE_Q && e->plan.setup.pass_q ? PASS_Q : PASS_KV;
    }
    return plan_side(&e->plan.costs, p->parts, p->n_parts);
}

/* The token that the session's newest pass chooses. One under way is the last before the pass that is planned: its token is
   found by its output, on GPUs by the ranks, on CPUs when this pass is carried out. But where the host chooses, ranks do not
   have it: a pass that has begun has it here. One that could not be chosen is read as token 0: its session is taken back. */
static int32_t newest_token(const lariat_session *s)
{
    const lariat_engine *e = s->engine;

    if (!s->under_way) {
        return s->token;
    }
    const pending_pass *before = &e->passes[(e->n_submitted - 1) % 2];
    if (!before->begun || !before->logprobs[s->row].sampler) {
        return -1 - s->row;
    }
    return before->chosen[s->row] < 0 ? 0 : before->chosen[s->row];
}

static void list_tokens(const pending_pass *p, const lariat_work work[])
{
    for (int32_t i = 0; i < p->n; i++) {
        int32_t *to = p->tokens + p->plan.parts[i].token;
        for (int64_t k = 0; k < work[i].count; k++) {
            to[k] = work[i].tokens ? work[i].tokens[k] : newest_token(work[i].session);
        }
    }
}

/* Adds the rows [row, row + count) of a part, from index `from` of its tokens on, as far as they have outputs. */
static void add_outputs(const lariat_engine *e, pending_pass *p, const lariat_work *w, int32_t part, pass_output at,
                        int64_t from, int64_t count)
{
    int64_t first = w->count - (w->sampler ? 1 : w->n_logits);

    for (int64_t k = from < first ? first - from : 0; k < count; k++) {
        int64_t n = p->input.n_outputs++;
        p->outputs[n] = (pass_output){.rank = at.rank, .row = at.row + k};
        if (w->sampler) {
            p->settings[n] = sampler_next(w->sampler);
            p->logprobs[n].n_top = w->n_top;
            p->logprobs[n].sampler = sampler_changes(w->sampler) ? w->sampler : NULL;
            p->entries[part].output = (int32_t)n;
        } else {
            p->outputs[n].logits = w->logits ? w->logits + (from + k - first) * e->model->config.vocab : NULL;
        }
    }
}

static void list_outputs(const lariat_engine *e, pending_pass *p, const lariat_work work[])
{
    const pass *plan = &p->plan;

    for (int32_t i = 0; plan->layout == PASS_BY_SLICES && i < plan->n_parts; i++) {
        add_outputs(e, p, &work[i], i, (pass_output){.row = plan->parts[i].token}, 0, plan->parts[i].count);
    }
    for (int32_t r = 0; plan->layout == PASS_BY_TOKENS && r < plan->n_ranks; r++) {
        for (int32_t k = plan->run_begin[r]; k < plan->run_begin[r + 1]; k++) {
            const pass_run *run = &plan->runs[k];
            add_outputs(e, p, &work[run->part], run->part, (pass_output){.rank = r, .row = run->row},
                        run->first - plan->parts[run->part].first, run->count);
        }
    }
}

/* A pass ends between layers when all of its sessions are cancelled, and those of another one that the ranks have queued,
   since ending one loses both; in a call that takes several sessions, when one of these is. */
static bool is_cancelled(const void *engine)
{
    const lariat_engine *e = engine;
    bool all = false;

    for (int32_t i = 0; i < e->n_called; i++) {
        if (atomic_load_explicit(&e->called[i]->cancelled, memory_order_relaxed)) {
            return true;
        }
    }
    for (uint32_t i = e->n_collected; i != e->n_submitted; i++) {
        const pending_pass *p = &e->passes[i % 2];
        for (int32_t k = 0; p->begun && !p->done && k < p->n; k++) {
            const pass_entry *x = &p->entries[k];
            bool cancelled = x->status != LARIAT_OK || atomic_load_explicit(&x->session->cancelled, memory_order_relaxed);
            if (cancelled == (e->n_called > 0)) {
                return cancelled;
            }
            all = cancelled;
        }
    }
    return all;
}

lariat_status requests_plan(lariat_engine *e, pending_pass *p, const lariat_work work[], int32_t n)
{
    int64_t tokens = 0;

    for (int32_t i = 0; i < n; i++) {
        TRY(work[i].sampler ? sampler_reserve(work[i].sampler) : LARIAT_OK);
    }
    p->n = n;
    p->begun = p->done = false;
    p->status = LARIAT_OK;
    for (int32_t i = 0; i < n; i++) {
        lariat_session *s = work[i].session;
        p->entries[i] = (pass_entry){.session = s, .user = work[i].user, .sampler = work[i].sampler, .before = s->seq,
                                     .row_before = s->row, .n_logits = work[i].n_logits, .output = -1};
        e->requests[i] = (pass_request){&s->seq, work[i].count};
        tokens += work[i].count;
    }
    pass_plan(&p->plan, &e->cache, tokens <= e->plan.shown.slices_up_to ? PASS_BY_SLICES : PASS_BY_TOKENS, e->requests, n,
              e->plan.setup.max_rows);
    if (p->plan.n_tokens < tokens) {
        for (int32_t i = 0; i < n; i++) {
            sequence_restore(&e->cache, &work[i].session->seq, &p->entries[i].before);
        }
        return fail(LARIAT_CONTEXT_FULL,
                    "work: %lld of %lld tokens find no rows or no free slots on their ranks in one pass; submit fewer, or "
                    "close a session",
                    (long long)(tokens - p->plan.n_tokens), (long long)tokens);
    }
    p->plan.side = side_of(e, &p->plan);
    p->input = (pass_input){.plan = &p->plan, .tokens = p->tokens, .outputs = p->outputs, .meets = e->processes != NULL,
                            .cancelled = is_cancelled, .engine = e};
    list_tokens(p, work);
    list_outputs(e, p, work);
    for (int32_t i = 0; i < n; i++) {
        work[i].session->row = p->entries[i].output;
        work[i].session->under_way++;
        if (work[i].sampler) {
            p->input.settings = p->settings;
            p->input.chosen = p->chosen;
        }
        if (work[i].n_top || (work[i].sampler && sampler_changes(work[i].sampler))) {
            p->input.logprobs = p->logprobs;
            p->input.row = e->row;
            p->input.choose = sampler_choose;
        }
    }
    return LARIAT_OK;
}
