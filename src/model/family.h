/* The family: graphs near LLaMA's, one row of traits each. The transformer's one text reads the traits; readers and binder read
   names and defaults.
   Rests on device/device.h. A new member is a row in family.c: docs/dev/adding-a-model.md. Read on in config.h. */
#pragma once

#include "base/fail.h"
#include "device/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- traits --- */

/* Where attention and feed-forward have RMS norms: of their input, of their output before the residual is added, or both. */
typedef enum norm_place { NORM_BEFORE, NORM_BEHIND, NORM_BOTH } norm_place;

/* RMS norm of queries and keys before RoPE: of every head by itself, or of all heads together. */
typedef enum qk_norm { QK_NORM_NONE, QK_NORM_HEADS, QK_NORM_WHOLE } qk_norm;

/* In Hugging Face's form. In GGUF's a bias is there where its tensor is. */
typedef enum bias_rule { BIAS_NEVER, BIAS_BY_FIELD, BIAS_ALWAYS } bias_rule;

typedef enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH } activation;

/* When "sliding_window" of config.json is a window: unless "use_sliding_window" is false (the class reads neither field:
   another tool wrote them), always, or only where "use_sliding_window" is true: then layers without RoPE have it, in a row
   without such layers the last ones. */
typedef enum window_rule { WINDOW_UNLESS_OFF, WINDOW_ALWAYS, WINDOW_SWITCHED } window_rule;

/* --- names --- */

typedef enum role {
    ATTN_NORM, ATTN_POST_NORM, FFN_NORM, FFN_POST_NORM, Q_NORM, K_NORM, /* vectors */
    Q, K, V, O, GATE, UP, DOWN, QKV, GATE_UP,                           /* matrices; the last two fuse others */
    ROLES
} role;

/* NULL: this form has no tensor of that role. */
typedef struct tensor_names {
    const char *embedding, *head, *final_norm;
    const char *layer; /* prefix of a layer's tensors */
    const char *role[ROLES];
} tensor_names;

extern const tensor_names gguf_names;

enum { FAMILY_FIELDS = 6, FAMILY_ENDS = 3 };

typedef struct family {
    const char *name;  /* "model_type" of config.json */
    const char *class; /* the one of "architectures" */
    const char *gguf;  /* general.architecture, and prefix of its keys. NULL: another row's */
    const tensor_names *names;

    norm_place norms;
    bool norm_plus_one; /* Hugging Face stores weight - 1; GGUF has the weight */
    qk_norm qk_norms;
    bias_rule qkv_bias, o_bias, mlp_bias;
    activation activation;
    rope_style rope, gguf_rope; /* pairs of q and k in Hugging Face's form and in a GGUF file */
    bool su_is_longrope;        /* "su" and "yarn" are older names of the rotary type longrope */
    bool embedding_by_width;    /* the embedding is multiplied by sqrt(hidden size) */
    const char *reads[FAMILY_FIELDS]; /* fields of config.json that other rows refuse where they have an effect */

    /* defaults of fields */
    int32_t n_kv_heads; /* 0: as many as heads. null means that in every class */
    int32_t head_dim;   /* 0: hidden size / heads */
    int64_t context;
    int64_t original_context; /* 0: that of the rotary object, or the trained context; otherwise the object's is not read */
    double rms_eps, theta;
    double attention_scale; /* 0: 1 / sqrt(head_dim) */
    double rotary_fraction; /* of a head; 0: all */
    bool tied_head, attention_bias;
    int32_t bos_id, end_ids[FAMILY_ENDS]; /* 0: none */
    window_rule window;
    int32_t missing_window;   /* "sliding_window" where the field is missing; 0: none */
    int32_t full_layers;      /* "max_window_layers" where the field is missing: first layers without a window; 0: not read */
    int32_t no_rope_interval; /* every so many layers one has no RoPE; 0: all have it */
} family;

/* The row of that "model_type" or, if type is NULL, of that class; NULL: none. */
const family *family_by_type(const char *type, const char *class);
const family *family_by_gguf(const char *text, size_t size);

/* Does the row read this field? */
bool family_reads(const family *f, const char *field);

/* Refuses an architecture that no row has: names the missing feature and the nearest that works, or lists all rows. */
lariat_status family_refuse(const char *path, const char *architecture, size_t size);
