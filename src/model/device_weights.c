/* Copies a model's weights into a device's memory, matrix by matrix in model order.
   Rests on device/device.h: load converts plain types and copies blocks, make_random makes. See device_weights.h.

   The same walk is done twice: with an arena that counts, for the size, and with the device's memory, for the copy. */
#include "model/device_weights.h"

#include <stdlib.h>

typedef struct walk {
    device *dev; /* NULL: the arena counts */
    arena *memory;
    dtype type;
    lariat_status status;
} walk;

dtype device_weights_type(dtype stored, dtype type)
{
    return dtype_block_elements(stored) > 1 ? stored : type;
}

static matrix copy_matrix(walk *w, const matrix *from)
{
    dtype type = device_weights_type(from->type, w->type);
    size_t row_bytes = dtype_row_bytes(type, from->cols);
    matrix to = {.type = type, .rows = from->rows, .cols = from->cols, .row_bytes = row_bytes};

    to.data = arena_take(w->memory, bytes_of(from->rows, 1, row_bytes));
    if (w->dev && w->status == LARIAT_OK) {
        const device_ops *ops = w->dev->ops;
        w->status = from->data ? ops->load(w->dev, &to, from) : ops->make_random(w->dev, &to, from->type, from->seed);
    }
    return to;
}

/* A norm, or an optional bias. Counting precedes loading of the values: each bias that is possible counts. */
static const float *copy_vector(walk *w, const float *from, int64_t size, bool possible)
{
    size_t bytes = (size_t)size * sizeof *from;
    float *to = possible && (from || !w->dev) ? arena_take(w->memory, bytes) : NULL;

    if (w->dev && to && w->status == LARIAT_OK) {
        w->dev->ops->upload(w->dev, to, from, bytes);
    }
    return to;
}

static const float *copy_norm(walk *w, const model_config *c, role r, const float *from)
{
    int64_t size = layer_norm_size(c, r);

    return copy_vector(w, from, size, size > 0);
}

static layer_weights copy_layer(walk *w, const model *m, const layer_weights *l)
{
    const model_config *c = &m->config;
    int64_t heads = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    /* A GGUF file may have any bias: its configuration announces none. */
    bool qkv = c->qkv_bias || m->file, o = c->o_bias || m->file, mlp = c->mlp_bias || m->file;

    return (layer_weights){
        .attn_norm = copy_norm(w, c, ATTN_NORM, l->attn_norm),
        .ffn_norm = copy_norm(w, c, FFN_NORM, l->ffn_norm),
        .attn_post_norm = copy_norm(w, c, ATTN_POST_NORM, l->attn_post_norm),
        .ffn_post_norm = copy_norm(w, c, FFN_POST_NORM, l->ffn_post_norm),
        .q_norm = copy_norm(w, c, Q_NORM, l->q_norm),
        .k_norm = copy_norm(w, c, K_NORM, l->k_norm),
        .q = copy_matrix(w, &l->q),
        .k = copy_matrix(w, &l->k),
        .v = copy_matrix(w, &l->v),
        .o = copy_matrix(w, &l->o),
        .gate = copy_matrix(w, &l->gate),
        .up = copy_matrix(w, &l->up),
        .down = copy_matrix(w, &l->down),
        .bias_q = copy_vector(w, l->bias_q, heads, qkv),
        .bias_k = copy_vector(w, l->bias_k, kv, qkv),
        .bias_v = copy_vector(w, l->bias_v, kv, qkv),
        .bias_o = copy_vector(w, l->bias_o, c->d_model, o),
        .bias_gate = copy_vector(w, l->bias_gate, c->d_ff, mlp),
        .bias_up = copy_vector(w, l->bias_up, c->d_ff, mlp),
        .bias_down = copy_vector(w, l->bias_down, c->d_model, mlp),
    };
}

static void copy_all(walk *w, const model *m, model_weights *out, layer_weights *layers)
{
    const model_config *c = &m->config;

    *out = (model_weights){.layers = layers, .embedding = copy_matrix(w, &m->weights.embedding)};
    out->head = c->tied_head ? out->embedding : copy_matrix(w, &m->weights.head);
    out->final_norm = copy_vector(w, m->weights.final_norm, c->d_model, true);
    for (int32_t l = 0; l < c->n_layers; l++) {
        layer_weights copied = copy_layer(w, m, &m->weights.layers[l]);
        if (layers) {
            layers[l] = copied;
        }
    }
}

size_t device_weights_bytes(const model *m, dtype type)
{
    arena counting;
    walk w = {.memory = &counting, .type = type};
    model_weights unused;

    arena_count(&counting);
    copy_all(&w, m, &unused, NULL);
    return counting.used;
}

lariat_status device_weights_open(device_weights *p, const model *m, device *dev)
{
    *p = (device_weights){.dev = dev};
    if (dev->shares_host) {
        p->weights = m->weights;
        return LARIAT_OK;
    }
    walk w = {.dev = dev, .memory = &p->memory, .type = dev->act};
    TRY(device_arena_open(dev, &p->memory, device_weights_bytes(m, dev->act), "weights"));
    p->layers = calloc((size_t)m->config.n_layers, sizeof *p->layers);
    TRY_MEMORY(p->layers, "%s: no memory for a list of %d layers" FREE_MEMORY, m->path, m->config.n_layers);
    copy_all(&w, m, &p->weights, p->layers);
    TRY(w.status);
    return dev->ops->finish(dev);
}

void device_weights_close(device_weights *p)
{
    if (p->dev) {
        device_arena_close(p->dev, &p->memory);
    }
    free(p->layers);
    *p = (device_weights){0};
}
