/* Binds tensors to the graph by name; refuses missing and left-over tensors, wrong shapes and types.
   Rests on format/tensors.h. See weights.h. */
#include "model/weights.h"

#include "base/strings.h"
#include "model/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names --- */

typedef struct binder {
    model *m;
    const tensor_names *names;
    const char *path;
    bool values; /* convert norms and biases */
    bool *used;  /* [table->n]; NULL: not counted */
    int64_t bytes_of[DTYPE_COUNT];
} binder;

enum { NAME_SIZE = 96 }; /* longer than any tensor name here */

static void name_of(const binder *b, int32_t layer, role r, const char *kind, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s.%d.%s.%s", b->names->layer, layer, b->names->role[r], kind);
}

/* --- one tensor --- */

static void shape_text(const tensor *x, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int32_t i = 0; i < x->n_dims; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? ", " : "", (long long)x->dims[i]);
    }
    snprintf(text + at, size - at, "]");
}

/* Of the types that GGUF files of one model are published in, the supported one nearest to an unsupported type. */
static const char *nearest_type(const char *type)
{
    static const struct {
        const char *begins, *nearest;
    } table[] = { { "IQ1", "Q2_K" },   { "IQ2", "Q2_K" },     { "IQ3", "Q3_K_M" }, { "IQ4", "Q4_K_M or IQ4_NL" },
                  { "TQ", "Q2_K" },    { "MXFP4", "Q4_K_M" }, { "Q8", "Q8_0" } };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strncmp(type, table[i].begins, strlen(table[i].begins)) == 0) {
            return table[i].nearest;
        }
    }
    return "F16";
}

/* The tensor of that name, of shape [rows, cols] or, if rows is 0, [cols]. */
static lariat_status find(binder *b, const char *name, int64_t rows, int64_t cols, const tensor **out)
{
    const tensor *x = tensors_find(b->m->table, name);
    char shape[TENSOR_MAX_DIMS * 24];
    char wanted[64];

    if (!x && strcmp(name, b->names->head) == 0 && !b->m->file) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: tensor %s is missing and the configuration does not tie it to the embedding: if the model has no "
                    "head of its own, say \"tie_word_embeddings\": true in config.json, otherwise fetch the checkpoint again",
                    b->path, name);
    }
    if (!x) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: tensor %s is missing: the checkpoint is not whole, or not of this configuration, fetch it again",
                    b->path, name);
    }
    bool fits = rows ? x->n_dims == 2 && x->dims[0] == rows && x->dims[1] == cols : x->n_dims == 1 && x->dims[0] == cols;
    if (!fits) {
        shape_text(x, shape, sizeof shape);
        if (rows) {
            snprintf(wanted, sizeof wanted, "[%lld, %lld]", (long long)rows, (long long)cols);
        } else {
            snprintf(wanted, sizeof wanted, "[%lld]", (long long)cols);
        }
        return fail(
            LARIAT_BAD_MODEL,
            "%s: tensor %s has the shape %s, wanted %s by its configuration: fetch the checkpoint and its configuration again",
            b->path, name, shape, wanted);
    }
    bool plain = x->type == DTYPE_F32 || x->type == DTYPE_F16 || x->type == DTYPE_BF16;
    if (rows ? x->type > DTYPE_IQ4_NL : !plain) {
        bool other = b->m->file && rows; /* GGUF files of one model are published in many types */
        return fail(LARIAT_UNSUPPORTED, "%s: tensor %s has the type %s, which Lariat does not compute with%s: %s %s", b->path,
                    name, x->type_name, rows ? "" : " in a norm or a bias", other ? "fetch the same model as" : "convert it to",
                    other ? nearest_type(x->type_name) : "F32, F16 or BF16");
    }
    if (b->used && !b->used[x - b->m->table->list]) {
        b->used[x - b->m->table->list] = true;
        b->m->parameters += rows ? rows * cols : cols;
        b->m->weight_bytes += (int64_t)x->bytes;
        b->bytes_of[x->type] += (int64_t)x->bytes;
    }
    *out = x;
    return LARIAT_OK;
}

static lariat_status bind_matrix(binder *b, const char *name, int64_t rows, int64_t cols, matrix *out)
{
    const tensor *x = NULL;

    TRY(find(b, name, rows, cols, &x));
    *out = (matrix){.type = x->type, .rows = rows, .cols = cols, .data = x->data, .row_bytes = dtype_row_bytes(x->type, cols)};
    if (random_named(b->path)) {
        out->seed = random_seed(b->m->table, x);
    }
    return LARIAT_OK;
}

/* Element i of a plain tensor, at any alignment. */
static float element(const tensor *x, int64_t i)
{
    uint16_t half;
    float f;

    if (x->type == DTYPE_F32) {
        memcpy(&f, (const char *)x->data + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, (const char *)x->data + 2 * i, sizeof half);
    return x->type == DTYPE_F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

/* Every value v becomes (v + plus) / divisor. */
static lariat_status bind_values(binder *b, const char *name, int64_t size, float plus, double divisor, const float **out)
{
    const tensor *x = NULL;

    TRY(find(b, name, 0, size, &x));
    *out = NULL;
    if (!b->values) {
        return LARIAT_OK;
    }
    float *values = arena_take(&b->m->floats, (size_t)size * sizeof *values);
    for (int64_t i = 0; i < size; i++) {
        values[i] = x->data ? element(x, i) : 1.0f; /* no data: the norm of a random model */
        if (!isfinite(values[i])) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s holds %g at %lld: the checkpoint is damaged, fetch it again", b->path,
                        name, (double)values[i], (long long)i);
        }
        values[i] = (float)((double)(values[i] + (x->data ? plus : 0)) / divisor);
    }
    *out = values;
    return LARIAT_OK;
}

static lariat_status bind_vector(binder *b, const char *name, int64_t size, const float **out)
{
    return bind_values(b, name, size, 0, 1, out);
}

/* The constant that Hugging Face's form leaves out of a norm's weights. */
static float norm_plus(const binder *b)
{
    return b->m->config.family->norm_plus_one && !b->m->file ? 1 : 0;
}

/* --- a layer --- */

/* A matrix with its bias, if the configuration (Hugging Face) or the file (GGUF) has one. */
static lariat_status bind_linear(binder *b, int32_t layer, role r, int64_t rows, int64_t cols, bool announced,
                                 matrix *w, const float **bias)
{
    char name[NAME_SIZE];

    name_of(b, layer, r, "weight", name);
    TRY(bind_matrix(b, name, rows, cols, w));
    name_of(b, layer, r, "bias", name);
    *bias = NULL;
    if (announced || (b->m->file && tensors_find(b->m->table, name))) {
        TRY(bind_vector(b, name, rows, bias));
    }
    return LARIAT_OK;
}

/* Rows [row, row + rows) of a matrix, in place. */
static matrix rows_of(const matrix *all, int64_t row, int64_t rows)
{
    size_t bytes = (size_t)row * all->row_bytes;
    matrix part = *all;

    part.rows = rows;
    part.data = all->data ? (const char *)all->data + bytes : NULL;
    part.seed = all->seed + bytes / 8; /* counts words: random.h */
    return part;
}

/* One of several matrices that a file may store one above the other. */
typedef struct stacked {
    role role;
    int64_t rows;
    matrix *w;
    const float **bias;
} stacked;

/* The matrices by themselves or, where the file has a tensor of the role that fuses them, as parts of it. */
static lariat_status bind_stacked(binder *b, int32_t layer, role fused, const stacked list[], int n, bool announced)
{
    int64_t cols = b->m->config.d_model, rows = 0, at = 0;
    char name[NAME_SIZE] = "";
    const tensor *whole = NULL;
    matrix all;
    const float *bias;

    for (int i = 0; i < n; i++) {
        rows += list[i].rows;
    }
    if (b->names->role[fused]) {
        name_of(b, layer, fused, "weight", name);
        whole = tensors_find(b->m->table, name);
    }
    /* "ffn_up" is the name of a matrix and of a pair: its rows decide. QKV is always fused: other rows are an error. */
    bool is_fused = b->names->role[fused] && (!b->names->role[list[0].role] ||
                                              (whole && (whole->dims[0] == rows || fused == QKV)));
    for (int i = 0; i < n && !is_fused; i++) {
        TRY(bind_linear(b, layer, list[i].role, list[i].rows, cols, announced, list[i].w, list[i].bias));
    }
    if (!is_fused) {
        return LARIAT_OK;
    }
    TRY(bind_linear(b, layer, fused, rows, cols, announced, &all, &bias));
    for (int i = 0; i < n; at += list[i++].rows) {
        *list[i].w = rows_of(&all, at, list[i].rows);
        *list[i].bias = bias ? bias + at : NULL;
    }
    return LARIAT_OK;
}

int64_t layer_norm_size(const model_config *c, role r)
{
    const family *f = c->family;
    bool whole = f->qk_norms == QK_NORM_WHOLE;

    switch (r) {
    case ATTN_NORM:
    case FFN_NORM:
        return f->norms == NORM_BEHIND ? 0 : c->d_model;
    case ATTN_POST_NORM:
    case FFN_POST_NORM:
        return f->norms == NORM_BEFORE ? 0 : c->d_model;
    case Q_NORM:
    case K_NORM:
        return f->qk_norms == QK_NORM_NONE ? 0
               : whole                     ? (int64_t)(r == Q_NORM ? c->n_heads : c->n_kv_heads) * c->head_dim
                                           : c->head_dim;
    default:
        return 0;
    }
}

static lariat_status bind_norms(binder *b, int32_t l)
{
    layer_weights *w = &b->m->weights.layers[l];
    const float **const norms[] = {[ATTN_NORM] = &w->attn_norm, [ATTN_POST_NORM] = &w->attn_post_norm,
                                   [FFN_NORM] = &w->ffn_norm,   [FFN_POST_NORM] = &w->ffn_post_norm,
                                   [Q_NORM] = &w->q_norm,       [K_NORM] = &w->k_norm};
    char name[NAME_SIZE];

    for (role r = ATTN_NORM; r <= K_NORM; r++) {
        int64_t size = layer_norm_size(&b->m->config, r);
        if (size) {
            name_of(b, l, r, "weight", name);
            TRY(bind_values(b, name, size, norm_plus(b), 1, norms[r]));
        }
    }
    return LARIAT_OK;
}

static lariat_status bind_layer(binder *b, int32_t l)
{
    const model_config *c = &b->m->config;
    layer_weights *w = &b->m->weights.layers[l];
    int64_t heads = (int64_t)c->n_heads * c->head_dim;
    int64_t kv = (int64_t)c->n_kv_heads * c->head_dim;
    const stacked qkv[] = {{Q, heads, &w->q, &w->bias_q}, {K, kv, &w->k, &w->bias_k}, {V, kv, &w->v, &w->bias_v}};
    const stacked gate_up[] = {{GATE, c->d_ff, &w->gate, &w->bias_gate}, {UP, c->d_ff, &w->up, &w->bias_up}};

    TRY(bind_norms(b, l));
    TRY(bind_stacked(b, l, QKV, qkv, 3, c->qkv_bias));
    TRY(bind_linear(b, l, O, c->d_model, heads, c->o_bias, &w->o, &w->bias_o));
    TRY(bind_stacked(b, l, GATE_UP, gate_up, 2, c->mlp_bias));
    return bind_linear(b, l, DOWN, c->d_model, c->d_ff, c->mlp_bias, &w->down, &w->bias_down);
}

/* --- left-over tensors --- */

static bool all_zero(const tensor *x)
{
    const unsigned char *bytes = x->data;
    for (size_t i = 0; i < x->bytes; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Refuses an unbound tensor unless it cannot change the result: rotary frequencies, which are computed; a second copy of a
   tied head; a bias of zeros that the configuration does not have. */
static lariat_status check_left_over(const binder *b, const tensor *x)
{
    const tensor *embedding = tensors_find(b->m->table, b->names->embedding);

    bool factors = b->m->config.long_from && strncmp(x->name, "rope_factors_", 13) == 0;
    if (ends_with(x->name, "rotary_emb.inv_freq") || strcmp(x->name, "rope_freqs.weight") == 0 || factors) {
        return LARIAT_OK;
    }
    if (b->m->config.tied_head && strcmp(x->name, b->names->head) == 0) {
        if (x->type == embedding->type && x->bytes == embedding->bytes && memcmp(x->data, embedding->data, x->bytes) == 0) {
            return LARIAT_OK;
        }
        return fail(LARIAT_BAD_MODEL,
                    "%s: the configuration ties the head to the embedding, but tensor %s differs from %s: say "
                    "\"tie_word_embeddings\": false if the head is the one to use",
                    b->path, x->name, embedding->name);
    }
    if (ends_with(x->name, ".bias") && all_zero(x)) {
        return LARIAT_OK;
    }
    return fail(LARIAT_UNSUPPORTED,
                "%s: tensor %s has no place in a %s model of this configuration, and leaving it out could change the result: "
                "use a checkpoint without it",
                b->path, x->name, b->m->config.family->name);
}

/* --- the whole --- */

size_t weights_float_bytes(const model_config *c)
{
    size_t norm = arena_need((size_t)c->d_model * sizeof(float));
    size_t heads = arena_need((size_t)c->n_heads * (size_t)c->head_dim * sizeof(float));
    size_t ff = arena_need((size_t)c->d_ff * sizeof(float));
    size_t layer = 2 * norm + 3 * heads + 2 * ff; /* biases of o and down; of q, k, v; of gate, up */

    for (role r = ATTN_NORM; r <= K_NORM; r++) {
        layer += arena_need((size_t)layer_norm_size(c, r) * sizeof(float));
    }
    return norm + (size_t)c->n_layers * layer;
}

static lariat_status bind_all(binder *b)
{
    model_weights *w = &b->m->weights;
    const model_config *c = &b->m->config;

    TRY(bind_matrix(b, b->names->embedding, c->vocab, c->d_model, &w->embedding));
    w->head = w->embedding;
    if (!c->tied_head) {
        TRY(bind_matrix(b, b->names->head, c->vocab, c->d_model, &w->head));
    }
    TRY(bind_values(b, b->names->final_norm, c->d_model, norm_plus(b), c->logits_divisor, &w->final_norm));
    for (int32_t l = 0; l < c->n_layers; l++) {
        TRY(bind_layer(b, l));
    }
    return LARIAT_OK;
}

static lariat_status bind_and_check(binder *b)
{
    TRY(bind_all(b));
    for (int64_t i = 0; i < b->m->table->n; i++) {
        if (!b->used[i]) {
            TRY(check_left_over(b, &b->m->table->list[i]));
        }
    }
    return LARIAT_OK;
}

static binder binder_of(model *m)
{
    return (binder){.m = m, .names = m->file ? &gguf_names : m->config.family->names, .path = m->path};
}

lariat_status weights_bind(model *m)
{
    binder b = binder_of(m);

    m->weights.layers = calloc((size_t)m->config.n_layers, sizeof *m->weights.layers);
    b.used = calloc((size_t)m->table->n + 1, sizeof *b.used);
    lariat_status status = LARIAT_OK;
    if (!m->weights.layers || !b.used) {
        status = fail(LARIAT_NO_MEMORY, "%s: no memory for a list of %d layers" FREE_MEMORY, m->path, m->config.n_layers);
    }
    NEXT(status, bind_and_check(&b));
    free(b.used);
    for (dtype t = DTYPE_F32; t < DTYPE_COUNT; t++) {
        if (b.bytes_of[t] > b.bytes_of[m->weight_type]) {
            m->weight_type = t;
        }
    }
    m->fingerprint = status == LARIAT_OK ? model_fingerprint(m) : 0;
    return status;
}

/* Allocates only after every tensor has been checked. */
lariat_status weights_load(model *m)
{
    binder b = binder_of(m);

    TRY(arena_open(&m->floats, weights_float_bytes(&m->config), "norms and biases"));
    b.values = true;
    return bind_all(&b);
}
