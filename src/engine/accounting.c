/* Accounting of the engine's passes: counters of operations and bytes, and those of the ranks' endpoints.
   Rests on comm/comm.h. See engine.h. */
#include "engine/engine.h"

#include <string.h>

/* Bytes of a layer's matrices as cards have them. */
static double layer_bytes(const layer_weights *l, dtype act)
{
    const matrix *const all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    double bytes = 0;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bytes += (double)dtype_row_bytes(device_weights_type(all[i]->type, act), all[i]->cols) * (double)all[i]->rows;
    }
    return bytes;
}

void account_open(lariat_engine *e)
{
    const model_config *c = &e->model->config;
    const model_weights *w = &e->model->weights;
    bool cards = on_cards(&e->plan.placement);
    dtype act = e->plan.placement.act;
    dtype head = cards ? device_weights_type(w->head.type, act) : w->head.type;
    double embedding_bytes = c->tied_head ? 0 : (double)dtype_row_bytes(w->embedding.type, c->d_model) * c->vocab;

    e->head_bytes = (double)dtype_row_bytes(head, c->d_model) * c->vocab;
    e->layers_bytes = cards ? 0 : (double)e->model->weight_bytes - e->head_bytes - embedding_bytes;
    for (int32_t l = 0; l < c->n_layers && cards; l++) {
        e->layers_bytes += layer_bytes(&w->layers[l], act);
    }
}

/* Keys that n queries from a position on see, all of them together. */
static double keys_seen(int64_t first, int64_t n)
{
    return (double)n * (double)first + (double)n * (double)(n + 1) / 2;
}

/* Rows, and the keys that they see, which go no further than their own keys and values in the last layer. */
static void count_ended(const pass_input *in, double *rows, double *keys)
{
    const pass *p = in->plan;

    *rows = *keys = 0;
    for (int32_t r = 0; r < p->n_ranks && p->layout == PASS_BY_TOKENS; r++) {
        if (pass_goes_on(in, r)) {
            continue;
        }
        for (int32_t i = p->run_begin[r]; i < p->run_begin[r + 1]; i++) {
            *rows += (double)p->runs[i].count;
            *keys += keys_seen(p->runs[i].first, p->runs[i].count);
        }
    }
}

void account_pass(lariat_engine *e, const pending_pass *pending)
{
    const pass_input *in = &pending->input;
    const pass *p = in->plan;
    const model_config *c = &e->model->config;
    double head = (double)c->d_model * c->vocab;
    /* elements of a layer: what makes keys and values, and all else */
    double kv = 2.0 * c->d_model * c->head_dim * c->n_kv_heads;
    double others = 2.0 * c->d_model * c->head_dim * c->n_heads + 3.0 * c->d_model * c->d_ff;
    double keys = 0, ended, ended_keys;

    for (int32_t i = 0; i < p->n_parts; i++) {
        keys += keys_seen(p->parts[i].first, p->parts[i].count);
    }
    count_ended(in, &ended, &ended_keys);
    e->stats.flops += 2 * (kv + others) * (double)c->n_layers * (double)p->n_tokens - 2 * others * ended +
                      2 * head * (double)in->n_outputs +
                      4.0 * c->n_heads * c->head_dim * ((double)c->n_layers * keys - ended_keys);
    if (p->layout == PASS_BY_SLICES) {
        e->stats.passes_slices++;
        e->stats.weight_bytes_read += e->layers_bytes + (in->n_outputs ? e->head_bytes : 0);
        return;
    }
    e->stats.passes_tokens++;
    e->stats.passes_kv += p->side == PASS_KV;
    e->stats.passes_q += p->side == PASS_Q;
}

void account_local(const lariat_engine *e, lariat_stats *out)
{
    *out = e->stats;
    for (int32_t i = 0; i < e->ranks.n; i++) {
        comm_counters c = comm_counted(e->ranks.list[i].comm);
        out->hops += c.hops;
        out->hop_bytes = c.hop_bytes > out->hop_bytes ? c.hop_bytes : out->hop_bytes;
        out->wait_s = c.wait_s > out->wait_s ? c.wait_s : out->wait_s;
        out->hop_s += c.hop_s;
        out->hop_wait_s += c.hop_wait_s;
    }
    for (int32_t i = 0; i < e->ranks.n; i++) {
        const transformer *t = &e->local[i].transformer;
        int64_t held = (int64_t)t->ring.shard.memory.size;
        int64_t rest = (int64_t)(t->memory.size + t->lists.size + t->ring.memory.size + t->ring.lists.size +
                                 placement_device_bytes(&e->plan.placement, e->ranks.list[i].threads) +
                                 placement_endpoint_bytes(&e->plan.placement, &e->plan.transport));
        out->shard_bytes = held > out->shard_bytes ? held : out->shard_bytes;
        out->activation_bytes = rest > out->activation_bytes ? rest : out->activation_bytes;
    }
}

/* Adds those of the other processes. None are added where they cannot be asked any more: the next pass will say why. */
static void add_others(const lariat_engine *e, lariat_stats *out)
{
    lariat_engine *own = (lariat_engine *)(uintptr_t)e; /* telling changes nothing that its user sees */
    const lariat_processes *p = e->processes;

    tell(own, &(command){.kind = TOLD_COUNT});
    if (tell_now(own) != LARIAT_OK || processes_collect(p->others, (process_bytes){out, sizeof *out}, p->given) != LARIAT_OK) {
        return;
    }
    for (int32_t i = 1; i < processes_count(p->others) && p->given[i].n == sizeof *out; i++) {
        lariat_stats one;
        memcpy(&one, p->given[i].at, sizeof one);
        out->hops += one.hops;
        out->hop_s += one.hop_s;
        out->hop_wait_s += one.hop_wait_s;
        out->hop_bytes = one.hop_bytes > out->hop_bytes ? one.hop_bytes : out->hop_bytes;
        out->wait_s = one.wait_s > out->wait_s ? one.wait_s : out->wait_s;
        out->shard_bytes = one.shard_bytes > out->shard_bytes ? one.shard_bytes : out->shard_bytes;
        out->activation_bytes = one.activation_bytes > out->activation_bytes ? one.activation_bytes : out->activation_bytes;
    }
}

void lariat_engine_stats(const lariat_engine *e, lariat_stats *out)
{
    account_local(e, out);
    if (is_told(e)) {
        add_others(e, out);
    }
    out->hops_hidden = out->hops == 0 ? -1 : out->hop_s > 0 ? 1 - out->hop_wait_s / out->hop_s : 1;
}
