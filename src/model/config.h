/* A model's configuration: the checked numbers of its graph.
   Rests on device/device.h (layout of rotary pairs) and base/. config.c reads Hugging Face's config.json, config_gguf.c the
   metadata of a GGUF file, random.c has a table of named shapes. Read on in weights.h. */
#pragma once

#include "base/json.h"
#include "base/fail.h"
#include "device/device.h"
#include "format/gguf.h"

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
    char architecture[16]; /* "llama", "mistral": the same graph */
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab;
    int64_t trained_context;
    float rms_eps;
    float attention_scale; /* 1 / sqrt(head_dim) */

    char rope_type[16];                      /* "default", "linear", "llama3", "yarn", "factors" */
    rope_style rope;                         /* layout of pairs in the stored q and k */
    float rope_factor;                       /* on cos and sin: yarn's attention factor, otherwise 1 */
    float inv_freq[CONFIG_MAX_HEAD_DIM / 2]; /* [head_dim / 2], scaled */

    bool tied_head; /* the head is the embedding's matrix */
    bool attention_bias, mlp_bias;

    int32_t bos_id; /* -1: none */
    int32_t end_ids[CONFIG_MAX_END_IDS];
    int32_t n_end_ids;
} model_config;

/* From config.json and generation_config.json (NULL: none). `path`s are for messages. */
lariat_status config_from_json(const char *path, const json_t *config, const char *generation_path, const json_t *generation,
                               model_config *out);

/* From the metadata of a GGUF file and its tensor "rope_freqs.weight", if it has one. */
lariat_status config_from_gguf(const gguf *g, model_config *out);

/* Refuses sizes out of range or inconsistent, and sets attention_scale; config_from_* call it. */
lariat_status config_check(const char *path, model_config *c);
