/* The transformer on one rank: its buffers (transformer_memory.c), and one pass through all layers (transformer.c) and the head
   (head.h).
   Rests on weights.h, linear.h and ring/attention.h; which device the rank has is not its business. */
#pragma once

#include "trace/spans.h"
#include "model/linear.h"
#include "model/logprob.h"
#include "model/weights.h"
#include "ring/attention.h"

/* Sizes of a transformer. */
typedef struct transformer_setup {
    int32_t n_ranks;
    int64_t max_rows;    /* of a rank, by tokens */
    int64_t max_slices;  /* tokens of a pass by slices */
    int64_t slots;       /* of a rank's shard */
    int64_t max_parts;   /* sequences of a pass */
    int64_t max_extents; /* spans of a rank's slots in a pass: cache_extents */
    /* of a block of the feed-forward: bounds the memory of g and u; on CPUs each block unpacks all matrices once */
    int64_t ffn_rows;
    dtype kv_type;
    dtype act;           /* of the device's activations */
    bool pass_q;
} transformer_setup;

/* One row of the result that somebody wants: it leaves the last layer on `rank` as row `row` (by slices on all ranks). */
typedef struct pass_output {
    int32_t rank;
    int64_t row;
    float *logits; /* [vocab], the host's, written by rank 0. NULL where a token is chosen */
} pass_output;

typedef struct pass_input {
    const pass *plan;
    const int32_t *tokens; /* [plan->n_tokens], flat; -1 - i: the token of output i of the last pass that chose tokens */
    const pass_output *outputs; /* [n_outputs], by rank */
    int64_t n_outputs;
    /* Where tokens are chosen: how (by the device's op `sample`), NULL where logits are wanted; and the host's place for them,
       written by rank 0. There are no more of them than sequences. */
    const sample_setting *settings; /* [n_outputs] */
    int32_t *chosen;                /* [n_outputs] */
    /* Where the host reads the logits of some of them, otherwise NULL: the purpose, and its results, filled by rank 0 before
       its pass ends; host memory for a row of logits; and how the host chooses a token. Rows are copied to the host by these
       fields alone, and a pass that has them is not replayed. */
    pass_logprob *logprobs; /* [n_outputs] */
    float *row;             /* [vocab] */
    int32_t (*choose)(lariat_sampler *s, const float *row, const sample_setting *setting);
    /* Ranks are in several processes: they wait for one another first. So a pass that ends cancelled ends nothing of the one
       before, in which another process may have been longer. */
    bool meets;
    bool (*cancelled)(const void *engine); /* looked at before every layer: true ends the pass */
    const void *engine;
} pass_input;

/* Whether a rank's rows go on behind keys and values of the last layer, which later tokens need of all rows: only ranks with
   rows whose outputs are wanted do, or all of them where queries travel and some output is wanted. By slices always. */
bool pass_goes_on(const pass_input *in, int32_t rank);

typedef struct transformer {
    const model_config *config;
    const model_weights *weights; /* as the device has them */
    device *dev;
    comm *comm;
    ring_rank ring;
    linear_context linear;
    trace *trace; /* NULL: off */
    int64_t ffn_rows;
    arena memory, lists; /* the device's; the host's */
    /* On the device: the residual, angles and logits in F32, activations in its own type. */
    float *x;            /* [rows, d_model]: the residual */
    void *h;             /* [rows, at least HEAD_ROWS, d_model]: the normalised residual, or a result to be normalised */
    void *qkv;           /* [rows, (n_heads + 2 * n_kv_heads) * head_dim] */
    void *o;             /* [rows, n_heads * head_dim] */
    void *g, *u;         /* [rows of a block, d_ff] */
    float *inv_freq;     /* [rotary_dims]: see model_config */
    float *cos, *sin;    /* [rows, rotary_dims / 2] */
    float *logits;       /* [HEAD_ROWS, this rank's slice of the vocabulary], or [HEAD_GATHERED, vocab] */
    int32_t *chosen;     /* [parts]: the tokens that were chosen last */
    sample_setting *settings; /* [parts] */
    int32_t *tokens;     /* [rows] */
    int64_t *positions;  /* [rows], of a long sequence -1 - position: see the op rope_angles */
    int32_t *host_tokens; /* [rows]: on the host, to be uploaded */
    int64_t *host_positions;
    bool *goes_on; /* [n_ranks]: pass_goes_on of the pass */
} transformer;

/* Bytes of one rank: activations and carries, without the shard; the rows of its largest all-gather; and its largest hop of
   each region. SIZE_MAX on overflow. */
size_t transformer_memory(const model_config *c, const transformer_setup *s);
size_t transformer_message(const model_config *c, const transformer_setup *s);
void transformer_hops(const model_config *c, const transformer_setup *s, size_t bytes[COMM_REGIONS]);

/* q, k and v of a token side by side: elements of a row. */
int64_t transformer_qkv(const model_config *c);

/* Configuration, weights, device and endpoint stay the caller's. transformer_close is safe on a zeroed one. */
lariat_status transformer_open(transformer *t, const model_config *config, const model_weights *weights, device *dev, comm *c,
                               const transformer_setup *s);
void transformer_close(transformer *t);

/* From the next pass on, this rank's spans are recorded in `where`; NULL: nowhere. */
void transformer_trace(transformer *t, trace *where);

/* Takes the tokens of a pass through the model. Collective: all ranks call it with the same input. A device with streams is
   left with a mark behind the pass. */
lariat_status transformer_pass(transformer *t, const pass_input *in);
