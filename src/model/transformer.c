/* The transformer, once, in model order.
   Rests on linear.h (which knows the layout of a pass), ring/attention.h and device/device.h. See transformer.h; the end of
   a pass is head.c. */
#include "base/mixed.h"
#include "model/head.h"

void transformer_trace(transformer *t, trace *where)
{
    t->trace = where;
    t->ring.trace = where;
    comm_trace(t->comm, where);
}

/* Lists a row: its token, and its position as the op rope_angles wants it. Keys are cached after RoPE, so the frequencies are
   those of all that the sequence may become. */
static void list_row(transformer *t, const pass_input *in, int64_t row, const pass_part *part, int64_t position)
{
    bool is_long = t->config->long_from && part->capacity > t->config->long_from;

    t->host_tokens[row] = in->tokens[part->token + position - part->first];
    t->host_positions[row] = is_long ? -1 - position : position;
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
                list_row(t, in, rows++, &p->parts[i], p->parts[i].first + k);
            }
        }
        return rows;
    }
    for (int32_t i = p->run_begin[rank]; i < p->run_begin[rank + 1]; i++) {
        const pass_run *run = &p->runs[i];
        for (int64_t k = 0; k < run->count; k++) {
            list_row(t, in, rows++, &p->parts[run->part], run->first + k);
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

static lariat_status check_cancel(const pass_input *in)
{
    return in->cancelled(in->engine) ? fail(LARIAT_CANCELLED, "session: cancelled") : LARIAT_OK;
}

/* The input of a projection of the residual: its norm, or where the member has none before, the residual itself. */
static const void *projected(transformer *t, const float *x, const float *norm, int64_t rows)
{
    const model_config *c = t->config;
    const device_ops *ops = t->dev->ops;

    if (norm) {
        (ops->rms_norm_ahead ? ops->rms_norm_ahead : ops->rms_norm)(t->dev, t->h, x, norm, c->residual_eps, rows, c->d_model);
    } else if (ops->narrow) {
        ops->narrow(t->dev, t->h, x, rows * c->d_model);
    } else {
        return x;
    }
    return t->h;
}

/* x += the projection of h, or its norm, where the member has one behind. */
static lariat_status add_projection(transformer *t, float *x, const void *h, int64_t rows, projection p, const float *norm,
                                    bool gated)
{
    const model_config *c = t->config;

    if (!norm) {
        return linear_add(&t->linear, x, h, rows, p, gated);
    }
    TRY(linear(&t->linear, t->h, c->d_model, h, rows, &p, 1));
    t->dev->ops->rms_norm_add(t->dev, x, t->h, norm, c->rms_eps, rows, c->d_model);
    return LARIAT_OK;
}

/* Keys and values of rows of x, into the shard; and their queries, if anything is asked. */
static lariat_status project_qkv(transformer *t, int32_t l, int64_t rows, bool queries)
{
    const model_config *c = t->config;
    const layer_weights *w = &t->weights->layers[l];
    const int64_t d = c->head_dim, ld = transformer_qkv(c);
    /* [rows, heads, head_dim] each, ld apart */
    void *q = t->qkv, *k = act_at(t->dev, q, c->n_heads * d), *v = act_at(t->dev, k, c->n_kv_heads * d);
    const projection qkv[] = {{&w->q, w->bias_q}, {&w->k, w->bias_k}, {&w->v, w->bias_v}};
    int64_t span = trace_begin(t->trace, LARIAT_SPAN_PROJECTIONS);

    const void *h = projected(t, t->x, w->attn_norm, rows);
    const rotation rotate = {.x = queries ? q : k, .ld = ld, .heads = (queries ? c->n_heads : 0) + c->n_kv_heads,
                             .kv_heads = c->n_kv_heads, .dims = c->rotary_dims, .cos = c->no_rope[l] ? NULL : t->cos,
                             .sin = t->sin, .style = c->rope, .q_norm = w->q_norm, .k_norm = w->k_norm, .eps = c->rms_eps,
                             .whole = c->family->qk_norms == QK_NORM_WHOLE};
    if (queries && ring_stores_rotated(&t->ring, &rotate)) {
        const linear_next next = {.rows = &rotate, .head_dim = c->head_dim, .kv_type = t->ring.shape.kv_type};
        TRY(linear_ahead(&t->linear, q, ld, h, rows, qkv, &next));
    } else {
        TRY(queries ? linear(&t->linear, q, ld, h, rows, qkv, 3) : linear(&t->linear, k, ld, h, rows, qkv + 1, 2));
    }
    ring_append(&t->ring, l, rotate.cos || rotate.k_norm ? &rotate : NULL, k, v, ld, l == c->n_layers - 1 ? t->goes_on : NULL);
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* x [rows, d] += attention of its normalised rows, over the ring. */
static lariat_status attention_block(transformer *t, int32_t l, int64_t rows)
{
    const model_config *c = t->config;
    const layer_weights *w = &t->weights->layers[l];
    const projection o = {&w->o, w->bias_o};

    TRY(project_qkv(t, l, rows, true));
    TRY(ring_attend(&t->ring, l, t->qkv, transformer_qkv(c), t->o, (int64_t)c->n_heads * c->head_dim));
    int64_t span = trace_begin(t->trace, LARIAT_SPAN_PROJECTIONS);
    TRY(add_projection(t, t->x, t->o, rows, o, w->attn_post_norm, false));
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
        const void *g, *h = projected(t, x, w->ffn_norm, n);

        TRY(linear_gated(&t->linear, c->family->activation, t->g, t->u, h, n, gate, up, w->ffn_post_norm ? NULL : &down, &g));
        TRY(add_projection(t, x, g, n, down, w->ffn_post_norm, true)); /* g [n, d_ff] */
    }
    trace_end(t->trace, span);
    return LARIAT_OK;
}

/* The pass from tokens to the first block of logits, or to all tokens chosen: on the device from end to end. */
static lariat_status compute(transformer *t, const pass_input *in, int64_t rows)
{
    const model_config *c = t->config;
    const device_ops *ops = t->dev->ops;

    int64_t span = trace_begin(t->trace, LARIAT_SPAN_EMBEDDING);
    ops->embed(t->dev, t->x, &t->weights->embedding, t->tokens, t->chosen, rows, c->embedding_scale); /* x [rows, d] */
    ops->rope_angles(t->dev, t->cos, t->sin, t->positions, rows, t->inv_freq, c->rotary_dims / 2, c->rope_factor);
    trace_end(t->trace, span);
    for (int32_t l = 0; l < c->n_layers; l++) {
        TRY(check_cancel(in));
        trace_layer(t->trace, l);
        span = trace_begin(t->trace, LARIAT_SPAN_LAYER);
        if (l == c->n_layers - 1 && !t->goes_on[comm_rank(t->comm)]) {
            TRY(project_qkv(t, l, rows, false));
        } else {
            TRY(attention_block(t, l, rows));
            TRY(feed_forward(t, l, rows));
        }
        trace_end(t->trace, span);
    }
    trace_layer(t->trace, -1);
    /* Where tokens are chosen, all blocks of outputs. Of logits the first block only: transformer_pass brings it to the host
       before it goes on with the next one in the same memory. */
    for (int64_t at = 0; at < in->n_outputs && (at == 0 || in->settings); at += head_rows(in, at)) {
        TRY(head(t, in, at, head_rows(in, at)));
    }
    return LARIAT_OK;
}

/* All that the arguments of compute()'s operations depend on, except contents of the device's memory and attention's items and
   segments: passes with the same key are replays of one another (device.h). 0: the device cannot replay this one. */
static uint64_t replay_key(transformer *t, const pass_input *in, int64_t rows)
{
    const model_config *c = t->config;
    uint64_t key = ring_replay_class(&t->ring, t->qkv, transformer_qkv(c), t->o, (int64_t)c->n_heads * c->head_dim);

    if (key == 0) {
        return 0;
    }
    key = mixed(mixed(key, (uint64_t)rows), (uint64_t)in->n_outputs);
    key = mixed(key, in->settings != NULL);
    for (int64_t i = 0; i < in->n_outputs; i++) {
        key = mixed(key, (uint64_t)in->outputs[i].row);
    }
    return key ? key : 1;
}

lariat_status transformer_pass(transformer *t, const pass_input *in)
{
    const device_ops *ops = t->dev->ops;
    bool by_slices = in->plan->layout == PASS_BY_SLICES, launched;
    /* The same on all ranks; the key is each one's own. Not where head_deliver gathers, behind the recording, nor where rank 0
       waits for logits. */
    bool replays = by_slices && comm_replays(t->comm) && !in->logprobs &&
                   (in->settings || in->n_outputs <= HEAD_GATHERED || comm_size(t->comm) == 1);
    int64_t span = trace_pass(t->trace, in->plan->number), rows = list_rows(t, in);

    for (int32_t r = 0; r < comm_size(t->comm); r++) {
        t->goes_on[r] = pass_goes_on(in, r);
    }
    t->linear.by_slices = by_slices && comm_size(t->comm) > 1;
    ring_begin(&t->ring, in->plan);
    ops->upload(t->dev, t->tokens, t->host_tokens, (size_t)rows * sizeof *t->tokens);
    ops->upload(t->dev, t->positions, t->host_positions, (size_t)rows * sizeof *t->positions);
    if (in->settings) {
        ops->upload(t->dev, t->settings, in->settings, (size_t)in->n_outputs * sizeof *t->settings);
    }
    uint64_t key = replays ? replay_key(t, in, rows) : 0;
    do {
        comm_begin(t->comm, in->plan->number, replays);
        TRY(in->meets ? comm_all_gather(t->comm, &(comm_gather){0}) : LARIAT_OK);
        TRY(check_cancel(in));
        launched = key && ops->replay_begin(t->dev, key);
        TRY(launched ? LARIAT_OK : compute(t, in, rows));
    } while (key && !launched && ops->replay_end(t->dev));
    for (int64_t at = 0, n; at < in->n_outputs && !in->settings; at += n) {
        n = head_rows(in, at);
        TRY(at > 0 ? head(t, in, at, n) : LARIAT_OK);
        TRY(head_deliver(t, in->outputs + at, n));
    }
    if (in->settings && comm_rank(t->comm) == 0) {
        ops->download(t->dev, in->chosen, t->chosen, (size_t)in->n_outputs * sizeof *in->chosen);
    }
    TRY(comm_end(t->comm));
    trace_settle(t->trace); /* of work queued before: while the device is busy */
    trace_end(t->trace, span);
    TRY(ops->mark ? ops->mark(t->dev) : ops->finish(t->dev));
    trace_pass_end(t->trace);
    return LARIAT_OK;
}
