/* Attention on the CPU: the interface between the op (cpu_attention.c) and its kernels (attention_scalar.c,
   attention_simd.h).
   Rests on device.h. Read on in cpu_attention.c, which divides the work into tasks.

   The queries of one item that read KV head g are stacked: row r is query r / group of head g * group + r % group, so that a
   key is converted once for all heads that share it. A task is a range of these rows over a range of the item's keys. */
#pragma once

#include "device/cpu/cpu_device.h"

enum {
    KEY_RANGE = 256,      /* keys of a kernel call: few rows stream all its K first, then all its V */
    KEY_TILE = 64, /* keys converted at once: at head_dim 64 K and V take 32 KB, which fit the second-level cache */
    ROWS_MAX = 192,       /* rows of a task: converting a tile is then 3 % of its work; a multiple of the kernels' 6 rows */
    ROW_GRAIN = 6,
    HEAD_DIM_MAX = 512,   /* of configurations and ring_attention.h */
    LANES_MAX = 16,       /* floats of the widest vector */
    FEW_ROWS = 4,         /* rows whose sums fit into registers beside an unconverted key */
    SCORES_MAX = FEW_ROWS * KEY_RANGE, /* more than ROW_GRAIN * KEY_TILE */
    ALIGN_ROW = 16        /* rows of scratch are padded to a multiple of so many floats */
};

/* A task's rows in a thread's scratch. */
struct attention_block {
    int32_t rows, head_dim;
    int32_t ld;         /* floats from one row of q, o and v to the next: head_dim padded with zeros to ALIGN_ROW */
    int32_t first_row;  /* of the stack: row i here is query (first_row + i) / group */
    int32_t group;
    dtype kv_type;
    float *q;           /* [rows, ld], times the scale */
    float *o;           /* [rows, ld] */
    float *m;           /* [rows] */
    float *l;           /* [rows, LANES_MAX]; a row's l is the sum of its lanes */
    float *k;           /* [head_dim, KEY_TILE]: a tile's keys, transposed */
    float *v;           /* [KEY_TILE, ld] */
    float *p;           /* [SCORES_MAX]: scores, then their exponentials */
};

/* Up to KEY_RANGE keys of one segment. Causal bound: query i of the item sees keys [0, visible + i), clipped to [0, count). */
struct key_range {
    const void *k, *v; /* row of the first key */
    const float *k_scales, *v_scales; /* of I8 */
    int32_t count;     /* keys that the block's last row sees; no others are read */
    int64_t visible;
};

/* Accumulate a range of keys into the block's o, m and l. */
void attend_keys_scalar(const attention_block *b, const key_range *t);
void attend_keys_avx2(const attention_block *b, const key_range *t);
void attend_keys_avx512(const attention_block *b, const key_range *t);

/* Keys of the range that a row of the block sees. */
static inline int32_t keys_seen(const attention_block *b, const key_range *t, int32_t row)
{
    int64_t seen = t->visible + (b->first_row + row) / b->group;

    return seen < 0 ? 0 : seen < t->count ? (int32_t)seen : t->count;
}

/* Bytes of a thread's scratch, and of a device's tasks and partial results. */
size_t cpu_attention_scratch(void);
size_t cpu_attention_tasks_bytes(void);
size_t cpu_attention_partials_bytes(void);

void cpu_attention(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[], int n_items,
                   const carry *c, const attention_ends *ends);
