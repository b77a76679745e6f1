/* Opening a model on a ring, and closing it.
   Rests on ranks.h (the threads), model/device_weights.h and model/transformer.h (what a rank has). See engine.h; sessions are
   in session.c. */
#include "engine/engine.h"

#include "engine/model_info.h"

#include <stdlib.h>
#include <string.h>

/* --- the ranks --- */

static engine_rank *local_of(const local_rank *r, const lariat_engine *e)
{
    return &e->local[r - r->all->list];
}

/* The rank that has the weights of this rank's card. CPUs share the host's. */
static engine_rank *weights_holder(const local_rank *r, const lariat_engine *e)
{
    const placement *m = &e->plan.placement;
    int32_t n = e->ranks.ring, first = r->number;

    while (first > e->ranks.first && (!on_cards(m) || placement_card(m, n, first - 1) == placement_card(m, n, r->number))) {
        first--;
    }
    return &e->local[first - e->ranks.first];
}

static lariat_status open_weights(local_rank *r, void *engine)
{
    const lariat_engine *e = engine;
    engine_rank *own = local_of(r, e);

    return weights_holder(r, e) == own ? device_weights_open(&own->held, e->model, r->dev) : LARIAT_OK;
}

static lariat_status open_transformer(local_rank *r, void *engine)
{
    const lariat_engine *e = engine;

    return transformer_open(&local_of(r, e)->transformer, &e->model->config, &weights_holder(r, e)->held.weights, r->dev,
                            r->comm, &e->plan.setup);
}

static lariat_status close_rank(local_rank *r, void *engine)
{
    engine_rank *own = local_of(r, engine);

    transformer_close(&own->transformer);
    trace_close(&own->trace);
    device_weights_close(&own->held);
    return LARIAT_OK;
}

static lariat_status open_ranks(lariat_engine *e)
{
    const lariat_plan *p = &e->plan.shown;

    e->local = calloc((size_t)e->plan.transport.n_local, sizeof *e->local);
    TRY_MEMORY(e->local, "engine: no memory for %d ranks" FREE_MEMORY, e->plan.transport.n_local);
    TRY(ranks_open(&e->ranks, &e->plan.placement, e->comm, p->ranks, &e->plan.threads));
    TRY(ranks_run(&e->ranks, open_weights, e));
    return ranks_run(&e->ranks, open_transformer, e);
}

/* --- the engine --- */

/* Takes the lists of sessions and of pending passes from e->lists, which may be one that counts. */
static void take_lists(lariat_engine *e)
{
    int64_t chunk = e->plan.shown.chunk, parts = e->plan.limits.parts, sessions = e->plan.sessions;
    arena *a = &e->lists;

    for (int i = 0; i < 2; i++) {
        pending_pass *p = &e->passes[i];
        p->entries = arena_take(a, bytes_of(parts, 1, sizeof *p->entries));
        p->tokens = arena_take(a, bytes_of(chunk, 1, sizeof *p->tokens));
        p->outputs = arena_take(a, bytes_of(chunk, 1, sizeof *p->outputs));
        p->settings = arena_take(a, bytes_of(parts, 1, sizeof *p->settings));
        p->chosen = arena_take(a, bytes_of(parts, 1, sizeof *p->chosen));
        p->logprobs = arena_take(a, bytes_of(parts, 1, sizeof *p->logprobs));
    }
    e->copies = arena_take(a, bytes_of(e->plan.shown.ranks, 1, sizeof *e->copies));
    e->requests = arena_take(a, bytes_of(sessions, 1, sizeof *e->requests));
    e->items = arena_take(a, bytes_of(sessions, 1, sizeof *e->items));
    e->works = arena_take(a, bytes_of(sessions, 1, sizeof *e->works));
    e->row = arena_take(a, bytes_of(e->plan.vocab, 1, sizeof *e->row));
    e->results = arena_take(a, bytes_of(sessions, 1, sizeof *e->results));
    e->called = arena_take(a, bytes_of(sessions, 1, sizeof *e->called));
    if (e->plan.placement.others) {
        telling_take(e, a);
    }
}

size_t engine_lists_bytes(const engine_plan *plan)
{
    lariat_engine counting = {.plan = *plan};

    arena_count(&counting.lists);
    take_lists(&counting);
    return counting.lists.used;
}

static lariat_status open_lists(lariat_engine *e)
{
    TRY(arena_open(&e->lists, engine_lists_bytes(&e->plan), "engine"));
    take_lists(e);
    return LARIAT_OK;
}

/* The plan of the run, before anything large is loaded. */
static lariat_status prepare(lariat_engine *e, const char *path, const lariat_options *options)
{
    TRY(model_describe(path, &e->model));
    TRY(engine_plan_make(e->model, options, &e->plan));
    return fit_check(e->model, &e->plan, options);
}

static lariat_status load(lariat_engine *e)
{
    TRY(model_load(e->model, on_cards(&e->plan.placement), e->processes ? e->processes->share.processes : 1));
    model_info_fill(e->model, &e->info);
    account_open(e);
    TRY(cache_open(&e->cache, e->plan.shown.ranks, e->plan.shown.slots_per_rank));
    TRY(pass_open(&e->passes[0].plan, e->plan.shown.ranks, &e->plan.limits));
    TRY(pass_open(&e->passes[1].plan, e->plan.shown.ranks, &e->plan.limits));
    return open_lists(e);
}

static lariat_status connect(lariat_engine *e)
{
    TRY(placement_open_transport(&e->plan.placement, &e->plan.transport, &e->comm));
    return open_ranks(e);
}

/* Where the ring has other processes, each phase ends in all of them alike. */
static lariat_status open_all(lariat_engine *e, const char *path, const lariat_options *options)
{
    telling_phase(e, "reading the model's description");
    TRY(opening_agree(e, prepare(e, path, options)));
    if (options->verify) {
        telling_phase(e, "reading all of the model");
        TRY(opening_verify(e));
    }
    telling_phase(e, "loading the model");
    TRY(opening_agree(e, load(e)));
    telling_phase(e, "opening its ranks");
    return opening_agree(e, connect(e));
}

/* Ends the ranks and frees all that is there: also an engine that was opened in part. */
static void close_all(lariat_engine *e)
{
    if (e->local) {
        (void)passes_drop(e, LARIAT_OK); /* of sessions that were closed */
        if (!comm_still_reads(e->comm)) {
            (void)ranks_run(&e->ranks, close_rank, e);
        }
    }
    ranks_close(&e->ranks);
    tracing_forget(e);
    free(e->local);
    arena_close(&e->lists);
    pass_close(&e->passes[0].plan);
    pass_close(&e->passes[1].plan);
    cache_close(&e->cache);
    placement_close_transport(&e->plan.placement, e->comm);
    model_close(e->model);
    free(e);
}

lariat_status engine_new(const lariat_options *options, lariat_engine **out)
{
    *out = NULL;
    lariat_engine *e = aligned_alloc(64, (sizeof *e + 63) / 64 * 64);
    TRY_MEMORY(e, "engine: no memory" FREE_MEMORY);
    memset(e, 0, sizeof *e);
    e->processes = options->processes && processes_count(options->processes->others) > 1 ? options->processes : NULL;
    *out = e;
    return LARIAT_OK;
}

lariat_status engine_open(lariat_engine *e, const char *path, const lariat_options *options)
{
    lariat_status status = open_all(e, path, options);

    if (status != LARIAT_OK) {
        close_all(e);
    }
    return status;
}

lariat_status lariat_engine_open(const char *path, const lariat_options *options, lariat_engine **out)
{
    lariat_engine *e;

    *out = NULL;
    TRY(engine_new(options, &e));
    lariat_status status = telling_open(options);
    if (status != LARIAT_OK) {
        free(e);
        return status;
    }
    TRY(engine_open(e, path, options));
    *out = e;
    return LARIAT_OK;
}

lariat_status lariat_engine_close(lariat_engine *e)
{
    if (!e) {
        return LARIAT_OK;
    }
    if (e->n_sessions) {
        return fail(LARIAT_BAD_ARGUMENT, "engine: %d session%s still open, close %s first", e->n_sessions,
                    e->n_sessions == 1 ? " is" : "s are", e->n_sessions == 1 ? "it" : "them");
    }
    if (is_told(e)) {
        tell(e, &(command){.kind = TOLD_CLOSE});
        (void)tell_now(e); /* where it fails, the others know that already */
    }
    close_all(e);
    return LARIAT_OK;
}

const lariat_model_info *lariat_engine_model(const lariat_engine *e)
{
    return &e->info;
}

const lariat_plan *lariat_engine_plan(const lariat_engine *e)
{
    return &e->plan.shown;
}

bool lariat_engine_is_end(const lariat_engine *e, int32_t id)
{
    const model_config *c = &e->model->config;

    for (int32_t i = 0; i < c->n_end_ids; i++) {
        if (c->end_ids[i] == id) {
            return true;
        }
    }
    return false;
}
