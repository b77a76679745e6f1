/* The interface of a device: one table of operations, used by the model and the ring.
   Rests on base/. cpu/ has the scalar version of each op, which is its definition, and SIMD versions beside it; a test holds
   every version against the scalar one.

   Activations are rows of elements of the device's activation type, `act` (F32 on the CPU; that of lariat_dtype on a GPU),
   row t at x + t * ld elements; the residual and the logits are F32 everywhere. Every buffer of an op is in the device's
   memory; its lists (jobs, items, segments) are in the host's and are read before the call returns. On a device with
   streams calls return when the work is queued, in order; on the CPU when it is done. Queued work reports its failure in
   finish(). All memory is allocated when the engine opens, except CUDA's graphs and cublasLt's descriptors, which are
   allocated on first use and not planned. */
#pragma once

#include "base/arena.h"
#include "base/dtype.h"
#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct device device;

/* One matrix (or some of its rows) to apply: y[t, r] = sum_c w[row0 + r, c] * x[t, c] + bias[row0 + r], for r in [0, rows);
   with `add` the result is added to y. Sums are fp32, in an order that depends on the shapes only, never on threads or
   timing; on the CPU the order of one y[t, r] does not depend on row0, rows or the other jobs either. */
typedef struct linear_job {
    const matrix *w;
    int64_t row0, rows;
    /* cols not 0: columns [col0, col0 + cols) of w and of x alone, a multiple of 16, of blocks of 256. Only on a device that
       divides sums (below); the only job of its call then. */
    int64_t col0, cols;
    const float *bias; /* [w->rows] or NULL */
    dtype type;        /* of y: the device's activation type, or F32 */
    void *y;           /* [n, rows], row t at y + t * ldy elements */
    int64_t ldy;
    bool add;          /* only where y is F32 */
} linear_job;

/* The layout of rotary pairs in a head: (i, i + head_dim/2), as Hugging Face stores q and k, or (2i, 2i+1), as GGUF does. */
typedef enum rope_style { ROPE_HALVES, ROPE_PAIRS } rope_style;

/* Heads to rotate: the first `heads` of rows of [heads + others, head_dim], row t at x + t * ld; angles [n, dims / 2]. The last
   kv_heads of them are keys. Before that they may be normalised: each head by itself, or all queries and all keys together. */
typedef struct rotation {
    void *x;
    int64_t ld;
    int32_t heads, kv_heads;
    int32_t dims;                /* of a head so many first dimensions are rotated, as a head of that size; even */
    const float *cos, *sin;      /* NULL: nothing is rotated */
    rope_style style;
    const float *q_norm, *k_norm; /* [head_dim] or, with `whole`, [heads of the side * head_dim]; NULL: no norm */
    float eps;
    bool whole;
} rotation;

typedef struct attention_shape {
    /* n_heads is a multiple of n_kv_heads: head h reads KV head h / (n_heads / n_kv_heads) */
    int32_t n_heads, n_kv_heads, head_dim;
    float scale;                           /* scores are scale * (q . k) */
    dtype kv_type;                         /* F32, F16, BF16, or I8: codes with scales, see kv_store */
    /* I8 on a device of 16-bit activations: its memory for the keys and values of so many slots in that type, for operations
       that cannot read codes; undefined after a call. NULL and 0 elsewhere. */
    void *expanded;
    int64_t expanded_slots;
} attention_shape;

/* Keys and values of `count` consecutive slots of a shard. KV head g, slot s is at k + (g * head_stride + s) * head_dim
   elements of kv_type, and its scale at k_scales + g * head_stride + s. Slots may be copies in a staging buffer. */
typedef struct kv_segment {
    const void *k, *v;
    const float *k_scales, *v_scales; /* of I8; NULL otherwise */
    int64_t head_stride; /* slots from one KV head to the next */
    int32_t count;
    int64_t first; /* position of slot 0, slot s has first + s; KV_ALL_VISIBLE: every query of the item sees all slots, which
                      were stored before the pass: the device may read them ahead of operations queued before this one */
} kv_segment;

#define KV_ALL_VISIBLE INT64_MIN

/* I8: the code of the largest magnitude of a row, which is of one head and slot; and the magnitude below which a row is
   stored as zeros, since the quotient of the two must be finite. */
#define KV_CODE_MOST 127
#define KV_MAGNITUDE_LEAST 1e-30f

/* A run of queries, rows [row, row + count) of q, at positions first, first + 1, ..., against a list of segments: query i
   sees a key at position p if p <= first + i. Segments without a visible key are allowed and cost nothing. Rows times heads
   are at most INT32_MAX; the plan has checked it. */
typedef struct attention_item {
    int32_t row, count;
    int64_t first;
    const kv_segment *segments;
    int32_t n_segments;
} attention_item;

/* Partial attention of rows of queries, all fp32: O = sum exp(s - m) v, not yet divided; m = largest score seen, -inf for
   none; l = sum exp(s - m). One block of memory, so that it is one message; see carry_bytes. */
typedef struct carry {
    float *o; /* [rows, n_heads, head_dim] */
    float *m; /* [rows, n_heads] */
    float *l; /* [rows, n_heads] */
} carry;

/* Where a call of attention begins and where it ends. Zeros: on from the carry and back into it. */
typedef struct attention_ends {
    bool is_first; /* the first keys of these rows: the carry is not read, as if it had been cleared */
    void *out; /* not NULL: the last keys of these rows; they are finished there, as by carry_finish: [rows, n_heads, head_dim]
                  of the activation type, row t at out + t * ldo. Of the carry m and l are the result's, O is undefined then */
    int64_t ldo;
} attention_ends;

/* Choosing one token from its logits. temperature 0: the largest logit, the lowest id of equals. Otherwise kept are the
   top_k likeliest (0: all); of these the fewest whose weights sum to top_p of the total, at least one; of these those with
   at least min_p of the best weight. Chosen is the first id, in order of ids, at which the running sum of kept weights
   exceeds `uniform` of their total. sampling.h defines the weights. */
typedef struct sample_setting {
    float temperature;
    int32_t top_k;
    float top_p, min_p;
    double uniform; /* in [0, 1): drawn by the caller, one a token */
} sample_setting;

/* GELU by tanh: sqrt(2 / pi), and the factor of the cube. */
#define GELU_ROOT 0.797884561f
#define GELU_CUBE 0.044715f

enum { DEVICE_STAMPS = 16384 }; /* of two traced passes of 126 layers on a ring of 8, where queries travel */

typedef struct device_ops {
    const char *name; /* "cpu", "cuda" */

    /* --- memory --- */

    /* A block of the device's memory with undefined content; `what` names its purpose in the message of a failure. release:
       NULL is allowed. */
    lariat_status (*reserve)(device *dev, size_t bytes, const char *what, void **out);
    void (*release)(device *dev, void *block, size_t bytes);

    /* Copies from host memory, which has been read when the call returns; and to host memory, which is written when finish()
       returns. */
    void (*upload)(device *dev, void *to, const void *from, size_t bytes);
    void (*download)(device *dev, void *to, const void *from, size_t bytes);

    /* load fills the device matrix `to` with the values of the host matrix `from`, converted to the type of `to`. Blocks stay
       blocks, in as many bytes; the device chooses their order. make_random fills `to` with the values that model/random.h
       defines for a matrix of `type` and this seed. finish() is called before an operation reads them: products read weights
       before earlier queued work is done. NULL where shares_host. */
    lariat_status (*load)(device *dev, const matrix *to, const matrix *from);
    lariat_status (*make_random)(device *dev, const matrix *to, dtype type, uint64_t seed);

    /* Waits until all queued work is done and returns the device's status. */
    lariat_status (*finish)(device *dev);

    /* mark records an event behind all queued work. wait_mark waits for the oldest pending event, after which downloads queued
       before it are in the host's memory, and returns the device's status. At most two events are pending; finish() waits
       for all. NULL on a device without streams. */
    lariat_status (*mark)(device *dev);
    lariat_status (*wait_mark)(device *dev);

    /* From now on fn(arg) is called between pieces of an operation's work, on the thread that calls operations: for a transport
       that makes progress only inside calls. NULL on a device with streams. */
    void (*poll)(device *dev, void (*fn)(void *arg), void *arg);

    /* Replay of passes that issue the same operations again and again; all three NULL on a device without streams.

       Passes of one key are those that issue the same operations with the same arguments. Only two things may differ: contents
       of the device's memory (tokens, positions, slots, settings), and the items and segments of attention. So the key is
       formed of all that arguments depend on, and of the class of the pass's call of attention.

       replay_class: the class of this call. Calls of one class differ in items and segments only, and are carried out alike. 0:
       a pass with this call is not replayed. The device keeps items and segments for the replay_begin that follows: the pass
       calls attention with the same ones in every layer, except that all keys and values are at one and the same offset from
       the first layer's.
       replay_begin: a pass of this key begins, not 0. True: a recording of it has been launched, and nothing is to be issued.
       Otherwise its operations follow (none of the above among them), which the device may record, and then replay_end.
       replay_end: true: the recording failed, and nothing was done; everything is issued once more, from replay_begin on. */
    uint64_t (*replay_class)(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                             int n_items, const carry *c, const attention_ends *ends);
    bool (*replay_begin)(device *dev, uint64_t key);
    bool (*replay_end)(device *dev);

    /* --- timestamps --- */

    /* Queues a timestamp behind all work on `stream` of its card and returns its number, counted up. stream NULL: the
       device's own stream; without work since the last timestamp there, the same number is returned; a transport that has
       queued work there passes the stream. -1: none, during a recording. The op is NULL on a device without streams, where
       the host's clock serves. */
    int64_t (*stamp)(device *dev, void *stream);

    /* Reads a timestamp: seconds on the device's clock, from its opening. False: not yet passed. NAN: overwritten, the
       device keeps the last DEVICE_STAMPS. From any thread while no other is inside a call. */
    bool (*stamped)(device *dev, int64_t number, double *seconds);

    /* --- operations --- */

    /* x[t, :] = scale * table[id, :] for t in [0, n); x is [n, table->cols], dense. The id is tokens[t], or, if negative,
       chosen[-1 - tokens[t]]: one that `sample` chose and the host has not read yet. -1 there (none could be chosen) is read
       as id 0: the result is discarded. Both lists are in the device's memory. */
    void (*embed)(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen, int64_t n,
                  float scale);

    /* out[t, i] = x[t, i] / sqrt(mean_i(x[t, i]^2) + eps) * weight[i]; [n, d], dense. out is of the activation type. */
    void (*rms_norm)(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t d);

    /* As rms_norm, where the next operation is a product (linear or linear_gated) of this out: the device may leave it to
       that. NULL: the device has only rms_norm. */
    void (*rms_norm_ahead)(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t d);

    /* x += the norm of y, as above; y [n, d], dense, is of the activation type. */
    void (*rms_norm_add)(device *dev, float *x, const void *y, const float *weight, float eps, int64_t n, int64_t d);

    /* out[i] = x[i], rounded to the activation type; [count]. NULL: activations are F32, x serves itself. */
    void (*narrow)(device *dev, void *out, const float *x, int64_t count);

    /* All jobs on the same x, row t at x + t * ldx, [n, cols]. n_jobs may be 0: a rank without a slice. */
    void (*linear)(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);

    /* As linear of one F32 job whose results are this rank's part of sums over a ring, which the kernel exchanges with the
       other ranks and adds up itself. exchange: from the ring's transport. False: nothing is queued, as it cannot. The op may
       be NULL. */
    bool (*linear_exchanged)(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *job, const void *exchange);

    /* As linear, where the next operation is rope_store() of these results, a head's queries, keys and values: the device may
       leave the product to that. NULL: the device has only linear. */
    void (*linear_ahead)(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);

    /* silu(gate's result) * up's, where gate's would be: the same bits as linear() on both and then silu_mul(), but for the
       sign of a zero. Where up's matrix is right behind gate's, the device may take the bits of linear() on both as one
       matrix. Both are of one shape and of the activation type, without `add`; up's place is undefined afterwards. NULL: the
       device has only the two. */
    void (*linear_gated)(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *gate, const linear_job *up);

    /* cos[t, i], sin[t, i] = factor * cos, sin of (float)positions[t] * inv_freq[i] (a float32 product, as in Hugging Face's
       code); [n, half]; positions [n] in the device's memory. A negative position is -1 - position, and has the frequencies
       behind the first: inv_freq[half + i]. */
    void (*rope_angles)(device *dev, float *cos, float *sin, const int64_t *positions, int64_t n, const float *inv_freq,
                        int64_t half, float factor);

    /* Normalises and rotates n rows of heads in place. */
    void (*rope)(device *dev, const rotation *rows, int64_t n, int32_t head_dim);

    /* Stores rows of keys (or values) [n, heads, head_dim], row t at x + t * ldx, as slot slots[t] of a shard's layer: KV
       head g, slot s at cache + (g * head_stride + s) * head_dim elements of `type`. A row with a negative slot belongs to
       another rank and is skipped. slots [n] in the device's memory.
       I8: a row of head_dim elements is scale * code, with scale = m / 127 at scales + g * head_stride + s and code =
       x * (127 / m) to nearest even, where m is the row's largest magnitude: the same bits on every device. Scale and codes
       are 0 where m is less than KV_MAGNITUDE_LEAST; where an x is not finite the scale is NaN and the codes are 0. Other
       types: scales is NULL. */
    void (*kv_store)(device *dev, void *cache, float *scales, dtype type, int64_t head_stride, const int64_t *slots,
                     const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim);

    /* rope() of rows of queries (or none), keys and values side by side, and kv_store() of their keys and values, side[0] and
       side[1]: the same bits as these two ops, but that keys need not be rotated in place, nor keys and values be at rows->x
       where linear_ahead came before. Only for whole heads without norms. NULL: the device has only the two. */
    void (*rope_store)(device *dev, const rotation *rows, void *const side[2], float *const scales[2], dtype type,
                       int64_t head_stride, const int64_t *slots, int64_t n, int32_t head_dim);

    /* Sets rows [0, rows) to "no key seen". */
    void (*carry_clear)(device *dev, const carry *c, const attention_shape *s, int64_t rows);

    /* Every item's queries against its segments, taken into the carry of the same rows. q [rows, n_heads, head_dim], row t
       at q + t * ldq. Items name disjoint rows; rows of no item are left as they are. The order of sums depends on the item
       and its segments, not on threads. */
    void (*attention)(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                      int n_items, const carry *c, const attention_ends *ends);

    /* As attention from the first keys of all rows on, whose carries the kernel exchanges with the other ranks of a ring,
       merges and finishes itself; the carry is undefined then. exchange: from the ring's transport. False: nothing is queued,
       as it cannot. The op may be NULL. */
    bool (*attention_exchanged)(device *dev, const attention_shape *s, const void *q, int64_t ldq,
                                const attention_item items[], int n_items, const carry *c, const void *exchange);

    /* Merges the partial result `from` of the same queries into `into`. Never forms exp of a positive number; an empty side
       leaves the other unchanged bit for bit. */
    void (*carry_merge)(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows);

    /* out[t, h, :] = O / l, row t at out + t * ldo; a query that saw no key gives 0. */
    void (*carry_finish)(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo);

    /* g[t, i] = silu(g[t, i]) * u[t, i]; [n, d], rows at g + t * ldg and u + t * ldu. gelu_mul: with GELU by tanh,
       g / (1 + exp(-2 z)) for z = sqrt(2 / pi) (g + 0.044715 g^3). */
    void (*silu_mul)(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d);
    void (*gelu_mul)(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d);

    /* y[t, i] = x[t, i], or += with `add` (F32 only); [n, width] of `type`, rows at y + t * ldy and x + t * ldx, which do not
       overlap. */
    void (*copy)(device *dev, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width, bool add);

    /* tokens[t] = the token chosen from logits [n, vocab], row t at logits + t * ld, by settings[t]; -1 where a logit of the
       row is not finite. Tokens and settings [n] are in the device's memory, so that a replay reads new ones. The same
       logits and settings give the same token on every device. */
    void (*sample)(device *dev, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                   const sample_setting *settings);

    void (*close)(device *dev);

    /* As linear_ahead, of whole matrices, of which each rank of a ring computes its part and its kernel exchanges it with the
       others: for the rope_store of `rows`, of heads of head_dim, into keys and values of kv_type. exchange: from the ring's
       transport. False: nothing is left or queued, as it cannot. The op may be NULL. */
    bool (*linear_ahead_exchanged)(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                                   const rotation *rows, int32_t head_dim, dtype kv_type, const void *exchange);
} device_ops;

/* Every device begins with its table. */
struct device {
    const device_ops *ops;
    dtype act;        /* of activations */
    bool shares_host; /* its memory is the host's: weights are read in place */
    /* Bytes of weights that it reads in the time of an exchange with the other devices of a ring, where that is long: so many
       more are read to save one, and sums over columns are divided. 0: neither. The same of all devices of a ring. */
    size_t exchange_bytes;
    void *stream;     /* of a device with streams: the handle of the stream of all operations, for transports */
};

/* The address of element i of activations. */
static inline void *act_at(const device *dev, const void *x, int64_t i)
{
    return (void *)((uintptr_t)x + (uintptr_t)(i * (int64_t)dtype_block_bytes(dev->act)));
}

/* An arena in the device's memory, with the same alignment. */
lariat_status device_arena_open(device *dev, arena *a, size_t size, const char *what);
void device_arena_close(device *dev, arena *a);

/* Bytes of a carry of `rows` queries, SIZE_MAX on overflow. */
size_t carry_bytes(const attention_shape *s, int64_t rows);
/* Rows [row, ...) of a carry. */
carry carry_from(const carry *c, const attention_shape *s, int64_t row);
/* The next range of consecutive rows of items, from items[*i] on; false: no more. For devices that clear and finish carries
   by separate ops. */
bool attention_stretch(const attention_item items[], int n_items, int *i, int64_t *row, int64_t *count);
/* The carry in such a block: O, then m, then l. */
carry carry_at(void *block, const attention_shape *s, int64_t rows);
