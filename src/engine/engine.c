/* Opening a model on a ring, and the threads of its ranks.
   Rests on machine.h (devices), model/place.h and model/transformer.h (what a rank does). See internal.h; sessions are in
   session.c.

   A rank is a thread that carries out commands: open, prepare, pass after pass, stop. Rank 0 of a ring of CPUs is the
   caller's own thread: waking another one and being woken by it would take 0.1 ms and more a token. On GPUs the caller's
   thread only hands commands out, and what no rank does is done apart (apart.h): none of its calls changes which card
   is the current one there. */
#include "engine/engine.h"

#include "engine/model_info.h"
#include "model/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the ranks --- */

/* The rank that has the weights of this rank's card. CPUs share the host's. */
static engine_rank *weights_holder(engine_rank *r)
{
    const machine *m = &r->engine->plan.machine;
    int32_t n = r->engine->plan.shown.ranks, first = r->rank;

    while (m->n_cards && first > 0 && machine_card(m, n, first - 1) == machine_card(m, n, r->rank)) {
        first--;
    }
    return &r->engine->ranks[m->n_cards ? first : 0];
}

static lariat_status rank_open(engine_rank *r)
{
    lariat_engine *e = r->engine;

    TRY(machine_open_device(&e->plan.machine, e->plan.shown.ranks, r->rank, r->threads, &r->dev));
    TRY(comm_attach(comm_endpoint(e->comm, r->rank), r->dev));
    return weights_holder(r) == r ? placed_open(&r->placed, e->model, r->dev) : LARIAT_OK;
}

static lariat_status rank_prepare(engine_rank *r)
{
    lariat_engine *e = r->engine;

    return transformer_open(&r->transformer, &e->model->config, &weights_holder(r)->placed.weights, r->dev,
                            comm_endpoint(e->comm, r->rank), &e->plan.setup, &e->cancel);
}

static void rank_close(engine_rank *r)
{
    transformer_close(&r->transformer);
    trace_close(&r->trace);
    placed_close(&r->placed);
    if (r->dev) {
        r->dev->ops->close(r->dev);
        r->dev = NULL;
    }
}

static lariat_status rank_obey(engine_rank *r)
{
    switch (r->engine->command) {
    case RANK_OPEN:
        return rank_open(r);
    case RANK_PREPARE:
        return rank_prepare(r);
    case RANK_PASS:
        return transformer_pass(&r->transformer, &r->engine->input);
    case RANK_REACH:
        return r->dev->ops->reach(r->dev);
    case RANK_SETTLE:
        return r->dev ? r->dev->ops->finish(r->dev) : LARIAT_OK;
    case RANK_TRACE:
        trace_rank(r);
        break;
    case RANK_ALIGN:
        align_rank(r);
        break;
    case RANK_STOP:
        rank_close(r);
        break;
    }
    return LARIAT_OK;
}

/* Lets the others go and waits until the device is idle. What a device tells then explains more than what its rank met: calls
   that it refused, or waiting that ended as if somebody had stopped. */
static void rank_give_up(engine_rank *r)
{
    snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
    comm_cancel(r->engine->comm); /* nobody waits for a rank that has given up */
    lariat_status left = r->dev ? r->dev->ops->finish(r->dev) : LARIAT_OK;
    if (left != LARIAT_OK) {
        r->status = left;
        snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
    }
}

static void rank_turn(engine_rank *r)
{
    if (r->engine->command == RANK_SETTLE && r->status != LARIAT_OK) {
        return; /* one that has given up is idle, and keeps its reason */
    }
    r->status = rank_obey(r);
    if (r->status != LARIAT_OK) {
        rank_give_up(r);
    }
}

static void *rank_main(void *arg)
{
    engine_rank *r = arg;
    lariat_engine *e = r->engine;

    if (r->bound) {
        cpu_set before;
        (void)cpus_enter(&r->cpus, &before); /* refused: it runs anywhere */
    }
    for (uint32_t number = 1;; number++) {
        epoch_wait(&e->go, number);
        bool stop = e->command == RANK_STOP;
        rank_turn(r);
        epoch_set(&r->done, number); /* the last touch: after RANK_STOP the engine may be gone */
        if (stop) {
            return NULL;
        }
    }
}

/* The failure that explains the others, NULL if there is none: a rank that was let go says only that. */
static const engine_rank *first_failure(const lariat_engine *e)
{
    const engine_rank *worst = NULL;

    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        const engine_rank *r = &e->ranks[i];
        if (r->status != LARIAT_OK && (!worst || worst->status == LARIAT_CANCELLED)) {
            worst = r;
        }
    }
    return worst;
}

/* The caller's thread as rank 0, bound like the others, and free again when it returns. */
static void callers_turn(engine_rank *r)
{
    cpu_set before, unused;
    bool bound = r->bound && cpus_enter(&r->cpus, &before);

    rank_turn(r);
    if (bound) {
        (void)cpus_enter(&before, &unused);
    }
}

/* Lets every rank carry out a command; returns when all have. */
static void give_command(lariat_engine *e, rank_command command)
{
    uint32_t number = atomic_load_explicit(&e->go.value, memory_order_relaxed) + 1;

    e->command = command;
    epoch_set(&e->go, number);
    if (e->plan.shown.cards == 0) {
        callers_turn(&e->ranks[0]);
    }
    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        if (e->ranks[i].started) {
            epoch_wait(&e->ranks[i].done, number);
        }
    }
}

lariat_status engine_run(lariat_engine *e, rank_command command)
{
    give_command(e, command);
    if (!first_failure(e)) {
        return LARIAT_OK;
    }
    give_command(e, RANK_SETTLE); /* those that did not fail may have passes ahead */
    machine_reset_transport(&e->plan.machine, e->comm);
    e->n_landed = e->n_flights;
    const engine_rank *failed = first_failure(e);
    if (failed->status == LARIAT_CANCELLED) {
        return fail(LARIAT_CANCELLED, "stopped");
    }
    return fail(failed->status, "rank %d: %s", failed->rank, failed->reason);
}

/* Where each rank's threads run. */
static void place_ranks(lariat_engine *e)
{
    int32_t n = e->plan.shown.ranks, threads = e->plan.shown.threads, node[LARIAT_RANKS_MAX];
    cpus c;

    cpus_read("", &c);
    machine_place(&e->plan.machine, &c, n, threads, node);
    for (int32_t i = 0; i < n; i++) {
        e->ranks[i].bound = e->plan.bind && cpus_of_place(&c, node[i], threads, &e->ranks[i].cpus);
    }
}

static lariat_status start_ranks(lariat_engine *e)
{
    int32_t n = e->plan.shown.ranks, threads = e->plan.shown.threads;

    e->ranks = aligned_alloc(64, ((size_t)n * sizeof *e->ranks + 63) / 64 * 64);
    if (!e->ranks) {
        return fail(LARIAT_NO_MEMORY, "engine: no memory for %d ranks" FREE_MEMORY, n);
    }
    memset(e->ranks, 0, (size_t)n * sizeof *e->ranks);
    for (int32_t i = 0; i < n; i++) {
        engine_rank *r = &e->ranks[i];
        r->engine = e;
        r->rank = i;
        r->threads = threads_of_rank(threads, n, i);
    }
    place_ranks(e);
    for (int32_t i = e->plan.shown.cards == 0; i < n; i++) {
        int error = thread_start(&e->ranks[i].thread, rank_main, &e->ranks[i]);
        if (error) {
            return fail(LARIAT_NO_MEMORY, "engine: cannot start rank %d of %d: %s; use fewer ranks", i, n, strerror(error));
        }
        e->ranks[i].started = true;
    }
    TRY(engine_run(e, RANK_OPEN));
    return engine_run(e, RANK_PREPARE);
}

/* --- the engine --- */

/* Where memory is short: this machine, or a card of it. */
static const char *place_of(const lariat_plan *p)
{
    return p->cards == 0 ? "this machine" : p->cards == 1 ? "the GPU" : "the fullest GPU";
}

/* The context of a run with these options that memory holds, at most the one that was wanted; 0: none. */
static int64_t context_that_fits(const model *m, const lariat_options *o)
{
    engine_plan trial;

    if (engine_plan_make(m, o, &trial) != LARIAT_OK) {
        return 0;
    }
    return trial.shown.context < trial.shown.fits_context ? trial.shown.context : trial.shown.fits_context;
}

/* The largest type with which a random model fits, as its path with that type. Returns the context, 0 if no type fits. */
static int64_t random_that_fits(const char *path, const lariat_options *o, char *out, size_t size)
{
    static const char *const types[] = {"Q8_0", "Q6_K", "Q5_0", "Q4_0", "Q3_K", "Q2_K"}; /* largest first */
    int64_t context = 0;

    for (size_t i = 0; context == 0 && i < sizeof types / sizeof *types; i++) {
        model *m;
        snprintf(out, size, "%s:%s", path, types[i]);
        if (model_describe(out, &m) == LARIAT_OK) {
            context = context_that_fits(m, o);
            model_close(m);
        }
    }
    return context;
}

/* What to do where the weights do not fit: only what was found to fit is named. */
static void way_out(const lariat_engine *e, const lariat_options *options, char *out, size_t size)
{
    const lariat_plan *p = &e->plan.shown;
    const char *path = e->model->path;
    lariat_options sixteen_bits = *options, on_cpus = *options;
    char name[64] = "--dtype auto";
    int64_t context = 0;

    sixteen_bits.dtype = LARIAT_DTYPE_AUTO; /* whatever the model is stored in */
    on_cpus.device = LARIAT_DEVICE_CPU;
    if (p->cards && e->plan.machine.act == DTYPE_F32) {
        context = context_that_fits(e->model, &sixteen_bits);
    } else if (p->cards == 0 && random_named(path) && strchr(path, ':') == strrchr(path, ':')) {
        context = random_that_fits(path, options, name, sizeof name);
    }
    if (context > 0) {
        snprintf(out, size, "%s, with which a context of %lld tokens fits", name, (long long)context);
    } else if (p->cards) {
        bool fits = context_that_fits(e->model, &on_cpus) > 0;
        snprintf(out, size, "a smaller model%s", fits ? ", or --device cpu, where it fits" : "");
    } else {
        snprintf(out, size, "a smaller model or type");
    }
}

/* Would a KV cache of 16 bits do? On GPUs it is of the type of the run. */
static bool smaller_kv_fits(const lariat_engine *e, const lariat_options *options)
{
    lariat_options other = *options;

    other.kv = LARIAT_KV_F16;
    return e->plan.shown.cards == 0 && options->kv == LARIAT_KV_F32 &&
           context_that_fits(e->model, &other) == e->plan.shown.context;
}

static lariat_status refuse_what_does_not_fit(const char *path, const lariat_engine *e, const lariat_options *options)
{
    const lariat_plan *p = &e->plan.shown;
    double need = (double)p->total_bytes / 1e9, have = (double)p->available_bytes / 1e9;

    if (p->total_bytes <= p->available_bytes) {
        return LARIAT_OK;
    }
    if (p->weight_bytes > p->available_bytes) {
        char instead[128];
        way_out(e, options, instead, sizeof instead);
        return fail(LARIAT_NO_MEMORY,
                    "%s: the weights alone need %.1f GB, with the rest it needs %.1f GB, %s has %.1f GB free, %.1f GB too "
                    "little; use %s",
                    path, (double)p->weight_bytes / 1e9, need, place_of(p), have, need - have, instead);
    }
    if (p->fits_context < 1) {
        return fail(LARIAT_NO_MEMORY,
                    "%s: needs %.1f GB, %s has %.1f GB free, %.1f GB too little even for a short context; "
                    "use %sa smaller --chunk, model or type",
                    path, need, place_of(p), have, need - have, p->ranks > 1 ? "fewer ranks, " : "");
    }
    return fail(LARIAT_NO_MEMORY,
                "%s: a context of %lld tokens needs %.1f GB, %s has %.1f GB free, %.1f GB too little; "
                "%lld (-c) would fit%s",
                path, (long long)p->context, need, place_of(p), have, need - have, (long long)p->fits_context,
                p->cards                      ? ", or more GPUs"
                : smaller_kv_fits(e, options) ? ", or --kv f16, with which all of it would"
                                              : "");
}

static lariat_status open_parts(lariat_engine *e)
{
    const lariat_plan *p = &e->plan.shown;
    size_t sessions = (size_t)e->plan.sessions, chunk = (size_t)p->chunk, parts = (size_t)e->plan.limits.parts;

    TRY(model_load(e->model, e->plan.machine.n_cards > 0));
    model_info_fill(e->model, &e->info);
    TRY(machine_open_transport(&e->plan.machine, &e->plan.transport, &e->comm));
    TRY(cache_open(&e->cache, p->ranks, p->slots_per_rank));
    TRY(pass_open(&e->pass, p->ranks, &e->plan.limits));
    e->tokens = calloc(chunk, sizeof *e->tokens);
    e->outputs = calloc(chunk, sizeof *e->outputs);
    e->requests = calloc(sessions, sizeof *e->requests);
    e->request_items = calloc(sessions, sizeof *e->request_items);
    e->items = calloc(sessions, sizeof *e->items);
    e->settings = calloc(parts, sizeof *e->settings);
    bool flights = true;
    for (int i = 0; i < 2; i++) {
        e->flights[i].whose = calloc(parts, sizeof *e->flights[i].whose);
        e->flights[i].made = calloc(parts, sizeof *e->flights[i].made);
        flights = flights && e->flights[i].whose && e->flights[i].made;
    }
    if (!e->tokens || !e->outputs || !e->requests || !e->request_items || !e->items || !e->settings || !flights) {
        return fail(LARIAT_NO_MEMORY, "engine: no memory for chunks of %d tokens" FREE_MEMORY, p->chunk);
    }
    return start_ranks(e);
}

/* Ends the ranks and frees all that is there: also an engine that was opened in part. */
static void close_parts(lariat_engine *e)
{
    if (e->ranks) {
        (void)engine_run(e, RANK_STOP);
    }
    for (int32_t i = 0; e->ranks && i < e->plan.shown.ranks; i++) {
        if (e->ranks[i].started) {
            pthread_join(e->ranks[i].thread, NULL);
        }
    }
    free(e->ranks);
    free(e->tokens);
    free(e->outputs);
    free(e->requests);
    free(e->request_items);
    free(e->items);
    free(e->settings);
    for (int i = 0; i < 2; i++) {
        free(e->flights[i].whose);
        free(e->flights[i].made);
    }
    pass_close(&e->pass);
    cache_close(&e->cache);
    machine_close_transport(&e->plan.machine, e->comm);
    model_close(e->model);
    free(e);
}

lariat_status lariat_engine_open(const char *path, const lariat_options *options, lariat_engine **out)
{
    *out = NULL;
    lariat_engine *e = aligned_alloc(64, (sizeof *e + 63) / 64 * 64);
    if (!e) {
        return fail(LARIAT_NO_MEMORY, "engine: no memory" FREE_MEMORY);
    }
    memset(e, 0, sizeof *e);
    lariat_status status = model_describe(path, &e->model);
    if (status == LARIAT_OK) {
        status = engine_plan_make(e->model, options, &e->plan);
    }
    if (status == LARIAT_OK) {
        status = refuse_what_does_not_fit(path, e, options);
    }
    if (status == LARIAT_OK) {
        status = open_parts(e);
    }
    if (status != LARIAT_OK) {
        close_parts(e);
        return status;
    }
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
    close_parts(e);
    return LARIAT_OK;
}

void lariat_engine_cancel(lariat_engine *e)
{
    atomic_store(&e->cancel, true);
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

void lariat_engine_on_progress(lariat_engine *e, lariat_progress_fn fn, void *user)
{
    e->progress = fn;
    e->progress_user = user;
}

void lariat_engine_stats(const lariat_engine *e, lariat_stats *out)
{
    *out = e->stats;
    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        comm_counters c = comm_counted(comm_endpoint(e->comm, i));
        out->hops += c.hops;
        out->hop_bytes = c.hop_bytes > out->hop_bytes ? c.hop_bytes : out->hop_bytes;
        out->wait_s = c.wait_s > out->wait_s ? c.wait_s : out->wait_s;
        out->hop_s += c.hop_s;
        out->hop_wait_s += c.hop_wait_s;
    }
    out->hops_hidden = out->hops == 0 ? -1 : out->hop_s > 0 ? 1 - out->hop_wait_s / out->hop_s : 1;
    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        const transformer *t = &e->ranks[i].transformer;
        int64_t held = (int64_t)t->ring.shard.memory.size;
        int64_t rest = (int64_t)(t->memory.size + t->lists.size + t->ring.memory.size + t->ring.lists.size +
                                 machine_device_bytes(&e->plan.machine, e->ranks[i].threads) +
                                 machine_endpoint_bytes(&e->plan.machine, &e->plan.transport));
        out->shard_bytes = held > out->shard_bytes ? held : out->shard_bytes;
        out->activation_bytes = rest > out->activation_bytes ? rest : out->activation_bytes;
    }
}
