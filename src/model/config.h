/* A model's configuration: the checked numbers of its graph.
   Rests on family.h (traits, names and defaults of the member) and base/. config.c reads Hugging Face's config.json,
   config_gguf.c the metadata of a GGUF file, random.c has a table of named shapes. Read on in weights.h. */
#pragma once

#include "base/json.h"
#include "base/fail.h"
#include "device/device.h"
#include "format/gguf.h"
#include "model/family.h"

#include <stdbool.h>
#include <stdint.h>

/* Bounds far above published models; products of three of them fit int64_t (checked in config_check). */
enum {
    CONFIG_MAX_LAYERS = 1024,
    CONFIG_MAX_WIDTH = 1 << 20, /* d_model, d_ff, n_heads * head_dim */
    CONFIG_MAX_VOCAB = 1 << 24,
    CONFIG_MAX_HEADS = 4096,
    CONFIG_MAX_HEAD_DIM = 512,
    CONFIG_MAX_END_IDS = 16,
};
#define CONFIG_MAX_CONTEXT (INT64_C(1) << 24) /* largest position that float32 holds exactly */

typedef struct model_config {
    const family *family; /* the member's row */
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab;
    int64_t trained_context;
    int64_t window; /* 0: none; at least the trained context, so that only longer sequences see less than all. Refused there */
    float rms_eps;
    float attention_scale; /* 1 / sqrt(head_dim), or the member's own; 0 until config_check */

    /* The embedding is multiplied, and so are the results of attention and feed-forward before they are added to the residual;
       logits are divided. */
    double embedding_multiplier, residual_multiplier, logits_divisor;
    /* So that this costs nothing in a layer, the residual is kept divided by its multiplier: config_check sets the embedding's
       factor, and the epsilon with which norms of the residual give the same. */
    float embedding_scale, residual_eps;

    char rope_type[16];                      /* "default", "linear", "llama3", "yarn", "longrope", "factors" */
    rope_style rope;                         /* layout of pairs in the stored q and k */
    int32_t rotary_dims;                     /* of a head; 0 until config_check: all */
    float rope_factor;                       /* on cos and sin: attention factor of yarn and longrope, otherwise 1 */
    float inv_freq[CONFIG_MAX_HEAD_DIM];     /* [rotary_dims / 2], scaled; with longrope behind them those of long sequences */
    int64_t long_from;                       /* sequences that may become longer than this have those; 0: none */
    bool no_rope[CONFIG_MAX_LAYERS];

    bool tied_head; /* the head is the embedding's matrix */
    bool qkv_bias, o_bias, mlp_bias;

    int32_t bos_id; /* -1: none */
    int32_t end_ids[CONFIG_MAX_END_IDS];
    int32_t n_end_ids;
} model_config;

/* From config.json and generation_config.json (NULL: none). `path`s are for messages. */
lariat_status config_from_json(const char *path, const json_t *config, const char *generation_path, const json_t *generation,
                               model_config *out);

/* From the metadata of a GGUF file and its tensor "rope_freqs.weight", if it has one. */
lariat_status config_from_gguf(const gguf *g, model_config *out);

/* An empty configuration of this member: multipliers of 1, no ids. */
model_config config_of(const family *f);

/* Refuses sizes out of range or inconsistent, and sets derived fields; config_from_* call it. */
lariat_status config_check(const char *path, model_config *c);

/* Refuses a window (0: none) that a sequence within the trained context would notice, and keeps any other. `what` names it. */
lariat_status config_take_window(const char *path, const char *what, int64_t window, model_config *c);
