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

enum role { ATTN_NORM, FFN_NORM, Q, K, V, O, GATE, UP, DOWN, ROLES };

typedef struct naming {
    const char *embedding, *head, *final_norm;
    const char *layer; /* prefix of a layer's tensors */
    const char *role[ROLES];
} naming;

static const naming hugging_face = {
    "model.embed_tokens.weight",
    "lm_head.weight",
    "model.norm.weight",
    "model.layers",
    {"input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
     "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
};

static const naming ggml = {
    "token_embd.weight",
    "output.weight",
    "output_norm.weight",
    "blk",
    {"attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"},
};

typedef struct binder {
    model *m;
    const naming *names;
    const char *path;
    bool values; /* convert norms and biases */
    bool *used;  /* [table->n]; NULL: not counted */
    int64_t bytes_of[DTYPE_COUNT];
} binder;

enum { NAME_SIZE = 96 }; /* longer than any tensor name here */

static void name_of(const binder *b, int32_t layer, enum role role, const char *kind, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s.%d.%s.%s", b->names->layer, layer, b->names->role[role], kind);
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

static lariat_status bind_vector(binder *b, const char *name, int64_t size, const float **out)
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
    }
    *out = values;
    return LARIAT_OK;
}

/* --- a layer --- */

/* A matrix with its bias, if the configuration (Hugging Face) or the file (GGUF) has one. */
static lariat_status bind_linear(binder *b, int32_t layer, enum role role, int64_t rows, int64_t cols, bool announced,
                                 matrix *w, const float **bias)
{
    char name[NAME_SIZE];

    name_of(b, layer, role, "weight", name);
    TRY(bind_matrix(b, name, rows, cols, w));
    name_of(b, layer, role, "bias", name);
    *bias = NULL;
    if (announced || (b->m->file && tensors_find(b->m->table, name))) {
        TRY(bind_vector(b, name, rows, bias));
    }
    return LARIAT_OK;
}

static lariat_status bind_layer(binder *b, int32_t l)
{
    const model_config *c = &b->m->config;
    layer_weights *w = &b->m->weights.layers[l];
    int64_t heads = (int64_t)c->n_heads * c->head_dim;
    int64_t kv = (int64_t)c->n_kv_heads * c->head_dim;
    char name[NAME_SIZE];

    name_of(b, l, ATTN_NORM, "weight", name);
    TRY(bind_vector(b, name, c->d_model, &w->attn_norm));
    name_of(b, l, FFN_NORM, "weight", name);
    TRY(bind_vector(b, name, c->d_model, &w->ffn_norm));
    TRY(bind_linear(b, l, Q, heads, c->d_model, c->attention_bias, &w->q, &w->bias_q));
    TRY(bind_linear(b, l, K, kv, c->d_model, c->attention_bias, &w->k, &w->bias_k));
    TRY(bind_linear(b, l, V, kv, c->d_model, c->attention_bias, &w->v, &w->bias_v));
    TRY(bind_linear(b, l, O, c->d_model, heads, c->attention_bias, &w->o, &w->bias_o));
    TRY(bind_linear(b, l, GATE, c->d_ff, c->d_model, c->mlp_bias, &w->gate, &w->bias_gate));
    TRY(bind_linear(b, l, UP, c->d_ff, c->d_model, c->mlp_bias, &w->up, &w->bias_up));
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

    if (ends_with(x->name, "rotary_emb.inv_freq") || strcmp(x->name, "rope_freqs.weight") == 0) {
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
                b->path, x->name, b->m->config.architecture);
}

/* --- the whole --- */

size_t weights_float_bytes(const model_config *c)
{
    size_t norm = arena_need((size_t)c->d_model * sizeof(float));
    size_t heads = arena_need((size_t)c->n_heads * (size_t)c->head_dim * sizeof(float));
    size_t ff = arena_need((size_t)c->d_ff * sizeof(float));
    return norm +
           (size_t)c->n_layers * (4 * norm + 3 * heads + 2 * ff); /* two norms; biases of o and down; of q, k, v; of gate, up */
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
    TRY(bind_vector(b, b->names->final_norm, c->d_model, &w->final_norm));
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
    return (binder){.m = m, .names = m->file ? &ggml : &hugging_face, .path = m->path};
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
