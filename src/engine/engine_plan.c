/* The plan of a model on a ring: options with nothing left open, memory, layouts.
   Rests on placement.h for the devices, model/transformer.h for the sizes and ring/plan.h for the predictions. See engine.h. */
#include "engine/engine.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum {
    CHUNK_ROWS = 512,    /* rows a rank: unpacking weights is then a twentieth of the work, and activations stay small */
    SLICES_MOST = 64,    /* tokens of a pass by slices: beyond, arithmetic binds, not the reading of weights */
    UNEVEN_ROWS = DECODE_BLOCK,    /* rows beyond an even share that a rank can take: what its shard may be behind */
    GPU_ROWS = 4096,     /* rows a rank on a GPU: matrix products are at their best, activations are small beside the weights */
    GPU_SLICES_MOST = 128, /* beyond, a GPU's products are bound by arithmetic, and one after another fills it without replay */
    FFN_ROWS = CHUNK_ROWS + 128, /* on CPUs: of the default chunk, and the rows that an uneven division may add */
};
_Static_assert(LARIAT_CONTEXT_MAX == CONFIG_MAX_CONTEXT, "one limit");

void lariat_options_default(lariat_options *o)
{
    *o = (lariat_options){0};
}

/* A choice is one of so many. */
static lariat_status check_choice(const char *name, int value, int choices)
{
    if (value < 0 || value >= choices) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: %d is no choice, use one of those that lariat.h names", name, value);
    }
    return LARIAT_OK;
}

lariat_status engine_check_options(const lariat_options *o)
{
    if (o->ranks < 0 || o->ranks > LARIAT_RANKS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "ranks: %d is out of range, use 1 to %d", o->ranks, LARIAT_RANKS_MAX);
    }
    if (o->threads < 0 || o->threads > LARIAT_THREADS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "threads: %d is out of range, use 1 to %d", o->threads, LARIAT_THREADS_MAX);
    }
    if (o->chunk < 0 || o->chunk > LARIAT_CHUNK_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "chunk: %d is out of range, use 1 to %d", o->chunk, LARIAT_CHUNK_MAX);
    }
    if (o->context < 0 || o->context > LARIAT_CONTEXT_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "context: %lld is out of range, use 1 to %d", (long long)o->context,
                    LARIAT_CONTEXT_MAX);
    }
    if (o->sessions < 0 || o->sessions > LARIAT_SESSIONS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "sessions: %d is out of range, use 1 to %d", o->sessions, LARIAT_SESSIONS_MAX);
    }
    TRY(check_choice("kv", (int)o->kv, LARIAT_KV_Q8 + 1));
    TRY(check_choice("device", (int)o->device, LARIAT_DEVICE_CUDA + 1));
    TRY(check_choice("dtype", (int)o->dtype, LARIAT_DTYPE_F32 + 1));
    TRY(check_choice("hops", (int)o->hops, LARIAT_HOPS_HOST + 1));
    TRY(check_choice("layout", (int)o->layout, LARIAT_LAYOUT_SLICES + 1));
    TRY(check_choice("side", (int)o->side, LARIAT_SIDE_Q + 1));
    return LARIAT_OK;
}

static dtype kv_type_of(lariat_kv kv, const placement *m)
{
    if (kv == LARIAT_KV_Q8) {
        return DTYPE_I8;
    }
    if (m->kind == LARIAT_DEVICE_CUDA) {
        return m->act;
    }
    return kv == LARIAT_KV_F32 ? DTYPE_F32 : kv == LARIAT_KV_BF16 ? DTYPE_BF16 : DTYPE_F16;
}

static plan_costs costs_of(const model *m, const placement *on, const lariat_plan *p, dtype kv)
{
    const model_config *c = &m->config;
    double width = (double)c->n_heads * c->head_dim, kv_width = 2.0 * c->n_kv_heads * c->head_dim;
    double layers_bytes = (double)m->weight_bytes * c->n_layers / (c->n_layers + 1); /* the head is about one more */
    comm_speed speed = placement_speed(on);
    double act = (double)dtype_block_bytes(on->act);

    return (plan_costs){
        .n_ranks = p->ranks,
        .n_layers = c->n_layers,
        .weight_bytes = layers_bytes,
        .row_bytes = c->n_layers * (act * (width + kv_width + c->d_ff) + 4.0 * (width + 2.0 * c->n_heads + 2.0 * c->d_model)),
        .read_bytes_per_s = placement_read_rate(on),
        .flops = placement_flops(on),
        .hop_bytes_per_s = speed.bytes_per_s,
        .hop_latency_s = speed.latency_s,
        .kv_bytes = 2.0 * c->n_kv_heads * (double)kv_row_bytes(kv, c->head_dim),
        .q_bytes = act * width + 4.0 * (width + 2.0 * c->n_heads),
        .qk_flops = 4.0 * width,
    };
}

static int64_t most_ranks_on_a_card(const lariat_plan *p)
{
    return (p->ranks + p->cards - 1) / p->cards;
}

/* Shared by the ranks on the host, but for the transport: norms and biases, the tables of sequences, the plans of two passes
   and their lists. SIZE_MAX on overflow. */
static size_t host_bytes(const model *m, const engine_plan *e)
{
    const lariat_plan *p = &e->shown;
    bool follows = e->placement.others && processes_number(e->placement.others) != 0;
    const size_t pieces[] = {
        weights_float_bytes(&m->config),
        bytes_of(m->config.n_layers, 1, sizeof(layer_weights)),
        cache_table_bytes(p->ranks, e->setup.slots, e->sessions),
        bytes_of(2, 1, pass_bytes(p->ranks, &e->limits)),
        engine_lists_bytes(e),
        bytes_of(e->sessions, 1, sizeof(lariat_session)),
        follows ? 0 : bytes_of(p->ranks, e->setup.slots, sizeof(int32_t)), /* ids of sessions; forks have copies of theirs */
        bytes_of(e->transport.n_local, 1, sizeof(engine_rank) + sizeof(local_rank)),
    };

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

/* Bytes of the process, or of the fullest card, for a context; fills the plan's figures. INT64_MAX on overflow. */
static int64_t add_up(const model *m, engine_plan *e, int64_t context)
{
    lariat_plan *p = &e->shown;
    const model_config *c = &m->config;
    int threads_a_rank = (p->threads + e->transport.n_local - 1) / e->transport.n_local;

    e->setup.slots = cache_slots_for(p->ranks, context, e->sessions);
    e->limits.extents = e->setup.max_extents = cache_extents(e->setup.slots, e->sessions);
    size_t kv = shard_need(c->n_layers, c->n_kv_heads, c->head_dim, e->setup.slots, e->setup.kv_type);
    size_t activations = transformer_memory(c, &e->setup);
    transformer_hops(c, &e->setup, e->transport.hop_bytes);
    size_t transport = placement_shared_bytes(&e->placement, &e->transport),
           endpoint = placement_endpoint_bytes(&e->placement, &e->transport), host = host_bytes(m, e);
    const size_t most = INT64_MAX / 8, most_a_rank = most / LARIAT_RANKS_MAX; /* seven of the largest can be added up */
    if (kv > most_a_rank || activations > most_a_rank || endpoint > most_a_rank || transport > most || host > most) {
        return INT64_MAX;
    }
    p->context = context;
    p->slots_per_rank = e->setup.slots;
    p->kv_bytes_per_rank = (int64_t)kv;
    p->activation_bytes_per_rank = (int64_t)(activations + endpoint + placement_device_bytes(&e->placement, threads_a_rank));
    p->shared_bytes = (int64_t)(transport + host);
    int64_t a_rank = p->kv_bytes_per_rank + p->activation_bytes_per_rank;
    p->total_bytes = p->weight_bytes + (on_cards(&e->placement) ? most_ranks_on_a_card(p) * a_rank
                                                                : e->transport.n_local * a_rank + p->shared_bytes);
    return p->total_bytes;
}

/* The largest context that fits into the machine's memory, and on GPUs its host's as well. */
static int64_t largest_context(const model *m, const engine_plan *plan)
{
    int64_t low = 0, high = LARIAT_CONTEXT_MAX;

    while (low < high) {
        engine_plan trial = *plan;
        int64_t middle = low + (high - low + 1) / 2;
        if (add_up(m, &trial, middle) <= plan->shown.available_bytes && trial.shown.shared_bytes <= plan->host_free) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* AUTO can choose it wherever keys are not read in place: pass_q_from tells of full chunks only. */
static bool queries_may_travel(const engine_plan *e, const lariat_options *o)
{
    return e->shown.ranks > 1 && (o->side == LARIAT_SIDE_Q || (o->side == LARIAT_SIDE_AUTO && e->costs.hop_bytes_per_s > 0));
}

/* As options name it. */
static const char *type_text(dtype type)
{
    return type == DTYPE_F32 ? "f32" : type == DTYPE_BF16 ? "bf16" : type == DTYPE_I8 ? "q8" : "f16";
}

/* CPUs and threads, and the nodes that ranks are bound to. Processes that may use the same CPUs have them by their ranks. */
static void plan_threads(const lariat_options *o, engine_plan *out)
{
    lariat_plan *p = &out->shown;
    rank_threads *t = &out->threads;
    const int32_t n = out->transport.n_local;
    host_share share = out->placement.others ? o->processes->share : (host_share){.sharing = 1, .ranks = n};
    int32_t node[LARIAT_RANKS_MAX], end = share.first + n;
    cpu_set nodes = {0};
    cpus c;

    cpus_read("", &c);
    int64_t all = o->threads ? (int64_t)o->threads * share.sharing : cpus_default_threads(&c);
    int64_t own = o->threads ? o->threads : all * end / share.ranks - all * share.first / share.ranks;
    p->cpus = c.granted;
    p->threads = own < n ? n : (int32_t)own;
    *t = (rank_threads){.threads = p->threads, .bind = !o->no_bind, .sharing = share.ranks, .first = share.first,
                        .of_all = (int32_t)(all < share.ranks ? share.ranks : all)};
    placement_nodes(&out->placement, &c, t->sharing, t->of_all, node);
    for (int32_t r = share.first; t->bind && r < end; r++) {
        p->nodes += node[r] != CPU_NODE_ANY && cpu_set_add(&nodes, node[r]);
    }
}

static const process_info *info_of(const lariat_processes *p)
{
    return processes_of(p->others, processes_number(p->others));
}

/* The ring, and the ranks of it that are this process's. */
static lariat_status plan_ring(const lariat_options *o, engine_plan *out)
{
    lariat_plan *p = &out->shown;
    const placement *on = &out->placement;

    int32_t unsaid = on_cards(on) ? on->n_cards : o->processes ? info_of(o->processes)->n_ranks : 1;

    p->ranks = out->transport.n_ranks = out->transport.n_local = o->ranks ? o->ranks : unsaid;
    if (!o->processes || processes_count(o->processes->others) == 1) {
        return LARIAT_OK;
    }
    processes *others = o->processes->others;
    const process_info *own = info_of(o->processes), *last = processes_of(others, processes_count(others) - 1);
    if (on_cards(on)) {
        return fail(LARIAT_UNSUPPORTED,
                    "device: a ring of GPUs is one process so far: leave the launcher out, or use --device cpu");
    }
    if (o->ranks && o->ranks != own->n_ranks) {
        return fail(LARIAT_BAD_ARGUMENT, "ranks: %d, but this process was started for %d: give the same number", o->ranks,
                    own->n_ranks);
    }
    out->placement.others = others;
    out->transport.first = own->first_rank;
    out->transport.n_local = own->n_ranks;
    p->ranks = out->transport.n_ranks = last->first_rank + last->n_ranks;
    return LARIAT_OK;
}

lariat_status engine_plan_ranks(const lariat_options *o, engine_plan *out)
{
    TRY(plan_ring(o, out));
    plan_threads(o, out);
    return LARIAT_OK;
}

/* Weights in files are in the page cache of a host once; all else each of its processes has for itself. */
static int64_t memory_of_process(const lariat_options *o, int64_t weights, int64_t available)
{
    int32_t n = o->processes ? o->processes->share.processes : 1;

    return available > weights ? weights + (available - weights) / n : available;
}

/* Decided by the machine: the ranks' devices, and the free memory of the fullest one. */
static lariat_status plan_machine(const model *m, const lariat_options *o, engine_plan *out)
{
    lariat_plan *p = &out->shown;
    const placement *on = &out->placement;

    TRY(placement_choose(o, m->weight_type, &out->placement));
    out->host_free = memory_available();
    p->device = on->kind;
    snprintf(p->device_name, sizeof p->device_name, "%s", on->name);
    p->cards = on->n_cards;
    memcpy(p->card, on->cards, sizeof p->card);
    p->through_host = on->through_host;
    p->dtype = type_text(on->act);
    p->kv = type_text(kv_type_of(o->kv, on));
    TRY(engine_plan_ranks(o, out));
    p->chunk = o->chunk ? o->chunk : (on_cards(on) ? GPU_ROWS : CHUNK_ROWS) * p->ranks;
    p->available_bytes = on_cards(on) ? on->card_free[0] : out->host_free;
    for (int32_t i = 1; i < on->n_cards; i++) {
        p->available_bytes = on->card_free[i] < p->available_bytes ? on->card_free[i] : p->available_bytes;
    }
    size_t weights = on_cards(on) ? device_weights_bytes(m, on->act) : (size_t)m->weight_bytes;
    if (weights > INT64_MAX / 8) {
        return fail(LARIAT_NO_MEMORY, "%s: its weights are more than memory can address: use a smaller model or type", m->path);
    }
    p->weight_bytes = (int64_t)weights;
    p->available_bytes = on_cards(on) ? p->available_bytes : memory_of_process(o, p->weight_bytes, p->available_bytes);
    return LARIAT_OK;
}

/* Which passes go by slices, and which side travels in the others. */
static void plan_layouts(const lariat_options *o, int64_t context, engine_plan *out)
{
    lariat_plan *p = &out->shown;
    int64_t few = on_cards(&out->placement) ? GPU_SLICES_MOST : SLICES_MOST;
    int64_t most = o->layout == LARIAT_LAYOUT_SLICES ? p->chunk : o->layout == LARIAT_LAYOUT_TOKENS ? 0 : few;

    most = most < p->chunk ? most : p->chunk;
    p->slices_up_to = (int32_t)(o->layout == LARIAT_LAYOUT_AUTO ? plan_slices_up_to(&out->costs, most) : most);
    p->side = p->ranks == 1 ? LARIAT_SIDE_KV : o->side;
    p->pass_q_from = p->side == LARIAT_SIDE_Q    ? 0
                     : p->side == LARIAT_SIDE_KV ? -1
                                                 : plan_q_from(&out->costs, p->chunk, context);
}

/* Memory pinned by ranks on GPUs cannot be taken back: a machine that lacks it would give it by ending programs. */
static lariat_status check_host(const model *m, const lariat_options *o, const engine_plan *e)
{
    const lariat_plan *p = &e->shown;
    double need = (double)p->shared_bytes / 1e9, have = (double)e->host_free / 1e9;

    if (!on_cards(&e->placement) || p->shared_bytes <= e->host_free) {
        return LARIAT_OK;
    }
    const char *others = !p->through_host             ? ""
                         : o->hops == LARIAT_HOPS_HOST ? ", a shorter context (-c), or leave --via host out"
                                                       : " or a shorter context (-c)";
    return fail(LARIAT_NO_MEMORY,
                "%s: %d rank%s on GPUs pin %.2f GB of the host's memory, of which %.2f GB are free; use "
                "fewer ranks%s",
                m->path, p->ranks, p->ranks == 1 ? "" : "s", need, have, others);
}

/* Rows times heads are counted in 32 bits: attention stacks the queries of all heads that read one KV head. */
static lariat_status check_rows(const model *m, const engine_plan *e)
{
    int64_t rows = e->setup.max_rows > e->setup.max_slices ? e->setup.max_rows : e->setup.max_slices;
    int32_t most = INT32_MAX / m->config.n_heads;

    if (rows <= most) {
        return LARIAT_OK;
    }
    /* By slices a rank has all tokens of a pass, otherwise its share and UNEVEN_ROWS. */
    int64_t largest = e->shown.ranks == 1 || e->setup.max_slices > most ? most
                                                                        : (int64_t)e->shown.ranks * (most - UNEVEN_ROWS);
    return fail(LARIAT_BAD_ARGUMENT, "chunk: %d is out of range for the %d heads of %s, use 1 to %lld", e->shown.chunk,
                m->config.n_heads, m->path, (long long)largest);
}

lariat_status engine_plan_make(const model *m, const lariat_options *o, engine_plan *out)
{
    *out = (engine_plan){.sessions = o->sessions ? o->sessions : 1, .vocab = m->config.vocab};
    lariat_plan *p = &out->shown;
    int64_t context = o->context ? o->context : m->config.trained_context;

    TRY(engine_check_options(o));
    if (m->config.window && context > m->config.window) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: attends to the last %lld positions only, and Lariat to all: use a context (-c) of at most that",
                    m->path, (long long)m->config.window);
    }
    TRY(plan_machine(m, o, out));
    dtype kv = kv_type_of(o->kv, &out->placement);
    out->costs = costs_of(m, &out->placement, p, kv);
    plan_layouts(o, context, out);
    int64_t rows = (p->chunk + p->ranks - 1) / p->ranks + (p->ranks > 1 ? UNEVEN_ROWS : 0);
    out->setup = (transformer_setup){.n_ranks = p->ranks, .max_rows = rows < p->chunk ? rows : p->chunk,
                                     .max_slices = p->slices_up_to, .ffn_rows = on_cards(&out->placement) ? GPU_ROWS : FFN_ROWS,
                                     .kv_type = kv, .act = out->placement.act, .pass_q = queries_may_travel(out, o)};
    TRY(check_rows(m, out));
    out->limits = (pass_limits){.runs = p->chunk, .parts = out->sessions < p->chunk ? out->sessions : p->chunk};
    out->setup.max_parts = out->limits.parts;
    out->transport.message_bytes = transformer_message(&m->config, &out->setup);
    if (add_up(m, out, context) == INT64_MAX) {
        return fail(LARIAT_NO_MEMORY,
                    "%s: a context of %lld tokens in chunks of %d is more than memory can address; use a smaller -c "
                    "or --chunk",
                    m->path, (long long)context, p->chunk);
    }
    TRY(check_host(m, o, out));
    p->fits_context = largest_context(m, out);
    return LARIAT_OK;
}

lariat_status lariat_plan_make(const char *path, const lariat_options *options, lariat_plan *out)
{
    model *m;
    engine_plan plan;

    TRY(model_describe(path, &m));
    lariat_status status = engine_plan_make(m, options, &plan);
    model_close(m);
    *out = plan.shown;
    return status;
}
