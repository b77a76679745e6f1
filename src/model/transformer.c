/* The transformer, once, in model order.
   Rests on linear.h (which knows the layout of a pass), ring/attention.h and device/device.h. See transformer.h. */
#include "model/transformer.h"

enum {
    /* Rows whose logits are computed at once: unpacking the head is spread over so many. */
    LOGIT_ROWS = 128,
    /* Rows from which tokens are chosen at once: every rank has all of their logits then. */
    SAMPLE_ROWS = 16
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t qkv_width(const model_config *c)
{
    return (int64_t)(c->n_heads + 2 * c->n_kv_heads) * c->head_dim;
}

static ring_setup ring_setup_of(const model_config *c, const transformer_setup *s)
{
    return (ring_setup){.n_layers = c->n_layers,
                        .shape = {.n_heads = c->n_heads, .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim,
                                  .scale = c->attention_scale, .kv_type = s->kv_type},
                        .slots = s->slots, .max_rows = s->max_rows, .max_slices = s->max_slices,
                        .max_runs = most(s->max_rows, s->max_slices), .max_parts = s->max_parts,
                        .max_extents = s->max_extents, .pass_q = s->pass_q,
                        .q_row_bytes = qkv_width(c) * (int64_t)dtype_block_bytes(s->act)};
}

size_t transformer_message(const model_config *c, const transformer_setup *s)
{
    ring_setup ring = ring_setup_of(c, s);
    int64_t widest = most(most(qkv_width(c), c->d_ff), c->d_model);
    size_t slices = bytes_of(s->max_slices, linear_slice_width(widest, s->n_ranks), sizeof(float));
    size_t rows = bytes_of(LOGIT_ROWS, c->d_model, sizeof(float)), partial = ring_message(&ring);
    size_t logits = bytes_of(SAMPLE_ROWS, linear_slice_width(c->vocab, s->n_ranks), s->n_ranks > 1 ? sizeof(float) : 0);
    size_t larger = slices > rows ? slices : rows;

    larger = larger > logits ? larger : logits;

    return larger > partial ? larger : partial;
}

size_t transformer_hop(const model_config *c, const transformer_setup *s)
{
    ring_setup ring = ring_setup_of(c, s);

    return ring_hop(&ring);
}

/* The pieces of a rank's memory, in one place for adding up and for handing out. */
typedef struct transformer_sizes {
    size_t x, h, qkv, o, ffn, inv_freq, angles, last, logits, choice, made, settings, tokens, positions, slice;
    size_t theirs, parts; /* on the host, as are tokens and positions once more */
} transformer_sizes;

static transformer_sizes sizes_of(const model_config *c, const transformer_setup *s)
{
    int64_t rows = most(s->max_rows, s->max_slices), width = (int64_t)c->n_heads * c->head_dim;
    int64_t block = least(rows, s->ffn_rows);
    size_t act = dtype_block_bytes(s->act);

    return (transformer_sizes){
        .x = bytes_of(rows, c->d_model, sizeof(float)),
        .h = bytes_of(most(rows, LOGIT_ROWS), c->d_model, act),
        .qkv = bytes_of(rows, qkv_width(c), act),
        .o = bytes_of(rows, width, act),
        .ffn = bytes_of(block, c->d_ff, act),
        .inv_freq = bytes_of(1, c->head_dim / 2, sizeof(float)),
        .angles = bytes_of(rows, c->head_dim / 2, sizeof(float)),
        .last = bytes_of(LOGIT_ROWS, c->d_model, sizeof(float)),
        .logits = bytes_of(LOGIT_ROWS, linear_slice_width(c->vocab, s->n_ranks), sizeof(float)),
        .choice = s->n_ranks > 1 ? bytes_of(SAMPLE_ROWS, c->vocab, sizeof(float)) : 0,
        .made = bytes_of(s->max_parts, 1, sizeof(int32_t)),
        .settings = bytes_of(s->max_parts, 1, sizeof(sample_setting)),
        .tokens = bytes_of(rows, 1, sizeof(int32_t)),
        .positions = bytes_of(rows, 1, sizeof(int64_t)),
        .slice = transformer_message(c, s),
        .theirs = bytes_of(s->n_ranks, 1, sizeof(void *)),
        .parts = bytes_of(s->n_ranks, 1, sizeof(place_part)),
    };
}

static size_t device_bytes(const transformer_sizes *z)
{
    const size_t pieces[] = {z->x, z->h, z->qkv, z->o, z->ffn, z->ffn, z->inv_freq, z->angles, z->angles, z->last, z->logits,
                             z->choice, z->made, z->settings, z->tokens, z->positions, z->slice};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

static size_t host_bytes(const transformer_sizes *z)
{
    const size_t pieces[] = {z->tokens, z->positions, z->theirs, z->parts};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

size_t transformer_memory(const model_config *c, const transformer_setup *s)
{
    transformer_sizes z = sizes_of(c, s);
    ring_setup ring = ring_setup_of(c, s);
    const size_t pieces[] = {device_bytes(&z), host_bytes(&z), ring_memory(&ring, s->n_ranks)};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

static void take_pieces(transformer *t, const transformer_sizes *z)
{
    arena *a = &t->memory, *lists = &t->lists;

    t->x = arena_take(a, z->x);
    t->h = arena_take(a, z->h);
    t->qkv = arena_take(a, z->qkv);
    t->o = arena_take(a, z->o);
    t->g = arena_take(a, z->ffn);
    t->u = arena_take(a, z->ffn);
    t->inv_freq = arena_take(a, z->inv_freq);
    t->cos = arena_take(a, z->angles);
    t->sin = arena_take(a, z->angles);
    t->last = arena_take(a, z->last);
    t->logits = arena_take(a, z->logits);
    t->choice = arena_take(a, z->choice);
    t->made = arena_take(a, z->made);
    t->settings = arena_take(a, z->settings);
    t->tokens = arena_take(a, z->tokens);
    t->positions = arena_take(a, z->positions);
    t->linear = (linear_context){.dev = t->dev, .comm = t->comm, .slice = arena_take(a, z->slice)};
    t->host_tokens = arena_take(lists, z->tokens);
    t->host_positions = arena_take(lists, z->positions);
    t->linear.theirs = arena_take(lists, z->theirs);
    t->linear.parts = arena_take(lists, z->parts);
}

lariat_status transformer_open(transformer *t, const model_config *config, const model_weights *weights, device *dev, comm *c,
                               const transformer_setup *s, const _Atomic bool *cancel)
{
    transformer_sizes z = sizes_of(config, s);
    ring_setup ring = ring_setup_of(config, s);

    *t = (transformer){.config = config, .weights = weights, .dev = dev, .comm = c,
                       .ffn_rows = s->ffn_rows, .cancel = cancel};
    TRY(ring_open(&t->ring, dev, c, &ring));
    TRY(device_arena_open(dev, &t->memory, device_bytes(&z), "activations"));
    TRY(arena_open(&t->lists, host_bytes(&z), "lists of a pass"));
    take_pieces(t, &z);
    dev->ops->upload(dev, t->inv_freq, config->inv_freq, z.inv_freq);
    if (s->pass_q) {
        ring_expose_queries(&t->ring, t->qkv, qkv_width(config));
    }
    return dev->ops->finish(dev);
}

void transformer_close(transformer *t)
{
    if (t->dev) {
        ring_close(&t->ring);
        device_arena_close(t->dev, &t->memory);
    }
    arena_close(&t->lists);
    *t = (transformer){0};
}

void transformer_trace(transformer *t, trace *where)
{
    t->trace = where;
    t->ring.trace = where;
    comm_trace(t->comm, where);
}

/* Lists this rank's rows: their tokens and positions. Returns how many. */
static int64_t list_rows(transformer *t, const pass_input *in)
{
    const pass *p = in->plan;
    int rank = comm_rank(t->comm);
    int64_t rows = 0;

    if (p->layout == PASS_BY_SLICES) {
        for (int32_t i = 0; i < p->n_parts; i++) {
            for (int64_t k = 0; k < p->parts[i].count; k++) {
                t->host_tokens[rows] = in->tokens[p->parts[i].token + k];
                t->host_positions[rows++] = p->parts[i].first + k;
            }
        }
        return rows;
    }
    for (int32_t i = p->run_begin[rank]; i < p->run_begin[rank + 1]; i++) {
        const pass_run *run = &p->runs[i];
        const pass_part *part = &p->parts[run->part];
        for (int64_t k = 0; k < run->count; k++) {
            t->host_tokens[rows] = in->tokens[part->token + run->first - part->first + k];
            t->host_positions[rows++] = run->first + k;
        }
    }
    return rows;
}

bool pass_goes_on(const pass_input *in, int32_t rank)
{
    bool all = in->plan->layout == PASS_BY_SLICES;

    for (int64_t i = 0; i < in->n_outputs && !all; i++) {
        all = in->plan->side == PASS_Q || in->outputs[i].rank == rank;
    }
    return all;
}

/* Keys and values of rows of x, into the shard; and their queries, if anything is asked. */
static lariat_status project(transformer *t, int32_t l, int64_t rows, bool queries)
{
    const model_config *c = t->config;
    const layer_weights *w = &t->weights->layers[l];
    const int64_t ld = qkv_width(c), q_width = (int64_t)c->n_heads * c->head_dim, kv_width = (int64_t)c->n_kv_heads * c->head_dim;
    /* [rows, heads, head_dim] each, ld apart */
    void *q = t->qkv, *k = act_at(t->dev, q, q_width), *v = act_at(t->dev, k, kv_width);
    const projection qkv[] = {{&w->q, w->bias_q}, {&w->k, w->bias_k}, {&w->v, w->bias_v}};
    int64_t span = trace_begin(t->trace, LARIAT_SPAN_PROJECTIONS);

    t->dev->ops->rms_norm(t->dev, t->h, t->x, w->attn_norm, c->rms_eps, rows, c->d_model);
    TRY(queries ? linear(&t->linear, q, ld, t->h, rows, qkv, 3) : linear(&t->linear, k, ld, t->h, rows, qkv + 1, 2));
    t->dev->ops->rope(t->dev, queries ? q : k, ld, rows, (queries ? c->n_heads : 0) + c->n_kv_heads, c->head_dim, t->cos, t->sin,
                      c->rope); /* k lies behind q */
    ring_append(&t->ring, l, k, v, ld);
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* x [rows, d] += attention of its normalised rows, over the ring. */
static lariat_status attention_block(transformer *t, int32_t l, int64_t rows)
{
    const model_config *c = t->config;
    const layer_weights *w = &t->weights->layers[l];
    const projection o = {&w->o, w->bias_o};

    TRY(project(t, l, rows, true));
    TRY(ring_attend(&t->ring, l, t->qkv, qkv_width(c), t->o, (int64_t)c->n_heads * c->head_dim));
    int64_t span = trace_begin(t->trace, LARIAT_SPAN_PROJECTIONS);
    TRY(linear_add(&t->linear, t->x, t->o, rows, o));
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* x [rows, d] += feed-forward of its normalised rows, block by block (Liu & Abbeel 2023, "Blockwise Parallel Transformer"). */
static lariat_status feed_forward(transformer *t, int32_t l, int64_t rows)
{
    const model_config *c = t->config;
    const layer_weights *w = &t->weights->layers[l];
    const projection gate = {&w->gate, w->bias_gate}, up = {&w->up, w->bias_up}, down = {&w->down, w->bias_down};
    int64_t blocks = (rows + t->ffn_rows - 1) / t->ffn_rows, span = trace_begin(t->trace, LARIAT_SPAN_FEED_FORWARD);

    for (int64_t b = 0; b < blocks; b++) {
        int64_t begin = rows * b / blocks, n = rows * (b + 1) / blocks - begin;
        float *x = t->x + begin * c->d_model;

        t->dev->ops->rms_norm(t->dev, t->h, x, w->ffn_norm, c->rms_eps, n, c->d_model);
        TRY(linear_gated(&t->linear, t->g, t->u, t->h, n, gate, up)); /* g [n, d_ff] */
        TRY(linear_add(&t->linear, x, t->g, n, down));
    }
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* Brings the rows of some outputs to every rank: last [n, d]. By slices every rank has them. */
static lariat_status gather_outputs(transformer *t, const pass_output out[], int64_t n, bool by_slices)
{
    const device_ops *ops = t->dev->ops;
    int64_t d = t->config->d_model, mine = 0, row = 0;
    int rank = comm_rank(t->comm);

    for (int64_t i = 0; i < n;) { /* neighbours together */
        int64_t count = 1;
        while (i + count < n && out[i + count].rank == out[i].rank && out[i + count].row == out[i].row + count) {
            count++;
        }
        if (by_slices || out[i].rank == rank) {
            place_part rows = {.from = t->x + out[i].row * d, .width = d};
            ops->place(t->dev, DTYPE_F32, t->last + mine * d, d, &rows, 1, count, false);
            mine += count;
        }
        i += count;
    }
    if (by_slices) {
        return LARIAT_OK;
    }
    TRY(comm_all_gather(t->comm, t->last, (size_t)(mine * d) * sizeof(float), t->linear.theirs));
    for (int r = 0; r < comm_size(t->comm); r++) { /* outputs are listed by rank */
        int64_t count = 0;
        while (row + count < n && out[row + count].rank == r) {
            count++;
        }
        place_part rows = {.from = t->linear.theirs[r], .width = d};
        ops->place(t->dev, DTYPE_F32, t->last + row * d, d, &rows, 1, count, false);
        row += count;
    }
    return LARIAT_OK;
}

/* Tokens of outputs [at, at + n) from their logits, of which this rank has its slice. Every rank chooses alike, and has the
   tokens for the next pass. */
static lariat_status sample(transformer *t, int64_t at, int64_t n)
{
    const float *logits = t->logits;
    int64_t vocab = t->config->vocab;

    if (comm_size(t->comm) > 1) {
        TRY(linear_gather(&t->linear, t->logits, &(linear_target){.type = DTYPE_F32, .y = t->choice, .ld = vocab}, n, vocab));
        logits = t->choice;
    }
    t->dev->ops->sample(t->dev, t->made + at, logits, vocab, n, vocab, t->settings + at);
    return LARIAT_OK;
}

/* Logits of n of the rows that are wanted, every rank its slice of the vocabulary, in either layout; and the tokens, where they
   are chosen. */
static lariat_status head(transformer *t, const pass_input *in, int64_t at, int64_t n)
{
    const model_config *c = t->config;
    const model_weights *w = t->weights;
    int64_t begin, end, span = trace_begin(t->trace, LARIAT_SPAN_HEAD);

    linear_slice(c->vocab, comm_rank(t->comm), comm_size(t->comm), &begin, &end);
    linear_job job = {.w = &w->head, .row0 = begin, .rows = end - begin, .type = DTYPE_F32, .y = t->logits, .ldy = end - begin};
    TRY(gather_outputs(t, in->outputs + at, n, in->plan->layout == PASS_BY_SLICES));
    t->dev->ops->rms_norm(t->dev, t->h, t->last, w->final_norm, c->rms_eps, n, c->d_model); /* h [n, d] */
    t->dev->ops->linear(t->dev, t->h, c->d_model, n, &job, end > begin);                    /* logits [n, slice] */
    TRY(in->settings ? sample(t, at, n) : LARIAT_OK);
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* Brings this rank's slice of n rows of logits to the host. */
static void deliver(transformer *t, const pass_output out[], int64_t n)
{
    int64_t begin, end;

    linear_slice(t->config->vocab, comm_rank(t->comm), comm_size(t->comm), &begin, &end);
    for (int64_t i = 0; i < n; i++) {
        t->dev->ops->download(t->dev, out[i].logits + begin, t->logits + i * (end - begin), (size_t)(end - begin) * sizeof(float));
    }
}

/* Outputs whose logits are there at once. */
static int64_t block_rows(const pass_input *in, int64_t at)
{
    return least(in->n_outputs - at, in->settings ? SAMPLE_ROWS : LOGIT_ROWS);
}

/* The pass from tokens to the first logits, or to the tokens chosen from them: on the device from end to end. */
static lariat_status compute(transformer *t, const pass_input *in, int64_t rows)
{
    const model_config *c = t->config;
    const device_ops *ops = t->dev->ops;

    int64_t span = trace_begin(t->trace, LARIAT_SPAN_EMBEDDING);
    ops->embed(t->dev, t->x, &t->weights->embedding, t->tokens, t->made, rows); /* x [rows, d] */
    ops->rope_angles(t->dev, t->cos, t->sin, t->positions, rows, t->inv_freq, c->head_dim / 2, c->rope_factor);
    trace_end(t->trace, span);
    for (int32_t l = 0; l < c->n_layers; l++) {
        if (atomic_load_explicit(t->cancel, memory_order_relaxed)) {
            return fail(LARIAT_CANCELLED, "stopped");
        }
        trace_layer(t->trace, l);
        span = trace_begin(t->trace, LARIAT_SPAN_LAYER);
        if (l == c->n_layers - 1 && !pass_goes_on(in, comm_rank(t->comm))) {
            TRY(project(t, l, rows, false));
        } else {
            TRY(attention_block(t, l, rows));
            TRY(feed_forward(t, l, rows));
        }
        trace_end(t->trace, span);
    }
    trace_layer(t->trace, -1);
    return in->n_outputs ? head(t, in, 0, block_rows(in, 0)) : LARIAT_OK;
}

lariat_status transformer_pass(transformer *t, const pass_input *in)
{
    const device_ops *ops = t->dev->ops;
    bool by_slices = in->plan->layout == PASS_BY_SLICES, repeats = by_slices && comm_repeats(t->comm);
    int64_t span = trace_pass(t->trace, in->plan->number), rows = list_rows(t, in);

    t->linear.by_slices = by_slices && comm_size(t->comm) > 1;
    ring_begin(&t->ring, in->plan);
    ops->upload(t->dev, t->tokens, t->host_tokens, (size_t)rows * sizeof *t->tokens);
    ops->upload(t->dev, t->positions, t->host_positions, (size_t)rows * sizeof *t->positions);
    if (in->settings) {
        ops->upload(t->dev, t->settings, in->settings, (size_t)in->n_outputs * sizeof *t->settings);
    }
    do {
        if (repeats) {
            ops->listen(t->dev);
        }
        comm_begin(t->comm, repeats);
        TRY(compute(t, in, rows));
    } while (repeats && ops->again(t->dev));
    for (int64_t at = 0, n; at < in->n_outputs; at += n) {
        n = block_rows(in, at);
        if (at > 0) {
            TRY(head(t, in, at, n));
        }
        if (!in->settings) {
            deliver(t, in->outputs + at, n);
        }
    }
    if (in->settings && comm_rank(t->comm) == 0) {
        ops->download(t->dev, in->made, t->made, (size_t)in->n_outputs * sizeof *in->made);
    }
    trace_settle(t->trace); /* of what was queued before: while the device is busy */
    trace_end(t->trace, span);
    TRY(in->ahead ? ops->mark(t->dev) : ops->finish(t->dev));
    trace_pass_end(t->trace);
    return LARIAT_OK;
}
