/* A model's weights, bound by name to mapped files, or to memory for random models.
   Rests on format/. open.c recognises the kind of model, weights.c binds, fingerprint.c hashes, random.c makes models of a
   named shape. Read on in transformer.c. */
#pragma once

#include "base/arena.h"
#include "format/gguf.h"
#include "format/tensors.h"
#include "model/config.h"

/* Norms that the member does not have are NULL. */
typedef struct layer_weights {
    const float *attn_norm, *ffn_norm;           /* [d_model]: of the input */
    const float *attn_post_norm, *ffn_post_norm; /* [d_model]: of the output, before it is added to the residual */
    const float *q_norm, *k_norm;                /* [head_dim], or [heads of the side * head_dim] */
    matrix q, k, v,
        o; /* q [n_heads * head_dim, d_model], k and v [n_kv_heads * head_dim, d_model], o [d_model, n_heads * head_dim] */
    matrix gate, up, down;                          /* [d_ff, d_model] twice, [d_model, d_ff] */
    const float *bias_q, *bias_k, *bias_v, *bias_o; /* [rows of its matrix], or NULL */
    const float *bias_gate, *bias_up, *bias_down;
} layer_weights;

typedef struct model_weights {
    matrix embedding, head;  /* [vocab, d_model]; the same matrix where the head is tied */
    const float *final_norm; /* [d_model], divided by the logits' divisor */
    layer_weights *layers;   /* [n_layers] */
} model_weights;

typedef struct model {
    char *path; /* as given */
    model_config config;
    model_weights weights; /* after model_describe norms and biases are NULL, and random matrices have no data */
    const tensors *table;  /* every tensor of the model, sorted by name */
    int64_t parameters;    /* elements of all bound tensors, a tied head once */
    int64_t weight_bytes;  /* bytes of these tensors */
    dtype weight_type;     /* of most of these bytes */
    uint64_t fingerprint;  /* of configuration, tensor table (names, types, shapes) and samples of every tensor's values */

    tensors own_table; /* of a checkpoint or random model; a gguf owns its own */
    gguf *file;        /* NULL: not a GGUF file */
    arena floats;      /* norms and biases in float32 */
    arena random;      /* the weights of a random model */
} model;

/* `path`: a Hugging Face directory, a .safetensors file beside its config.json, a .gguf file (of a split set: the first), or
   "random:NAME[:TYPE]". Reads the description and checks every tensor's presence, shape and type. Of the values it reads
   only rope_freqs and the fingerprint's samples. */
lariat_status model_describe(const char *path, model **out);

/* Loads the values of a described model, once: converts norms and biases and checks that they are finite; generates random
   weights with all CPUs; copies files that are small beside the free memory into huge pages, which CPUs read faster: so do
   `processes` of this host. With `device_makes` files stay mapped, and a random model's matrices have no data: the device
   generates them. After a failure the model can only be closed. */
lariat_status model_load(model *m, bool device_makes, int32_t processes);

/* Hashes of the values of each tensor in the table, [n], every byte of them; of a random model, whose name determines them, 0.
   Before model_load: reads the mapped files, with so many threads. */
lariat_status model_hash(const model *m, int threads, uint64_t out[]);

/* NULL is allowed. */
void model_close(model *m);

/* Elements of a layer's norm; 0: the member has no norm of that role. */
int64_t layer_norm_size(const model_config *c, role r);

/* Bytes of a model's norms and biases in float32. */
size_t weights_float_bytes(const model_config *c);

/* For open.c: weights_bind fills weights, parameters, weight_bytes, weight_type and fingerprint from config and table, with
   Hugging Face's or GGUF's tensor names; weights_load converts norms and biases from the table's data. */
lariat_status weights_bind(model *m);
lariat_status weights_load(model *m);
uint64_t model_fingerprint(const model *m);
