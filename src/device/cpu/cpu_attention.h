/* Attention on the CPU: what the op (attention.c) and its kernels (attention_scalar.c, attention_simd.h) agree on.
   Rests on device.h. Read on in attention.c, which cuts the work into tasks.

   The queries of one item that read KV head g are stacked: row r is query r / group of head g * group + r % group, so that
   one expansion of a key serves all heads that share it. A task takes some of these rows past a range of the item's keys. */
#ifndef DEVICE_CPU_CPU_ATTENTION_H
#define DEVICE_CPU_CPU_ATTENTION_H

#include "device/cpu/cpu_device.h"

enum {
    KEY_RUN = 256,        /* keys that a kernel is given at once: a few rows stream first all their K, then all their V */
    KEY_TILE = 64, /* keys expanded at once: at head_dim 64 K and V take 32 KB, which the second-level cache feeds easily */
    ROWS_MAX = 192,       /* rows of a task: expanding a tile is then 3 % of its work; a multiple of the kernels' 6 rows */
    ROW_GRAIN = 6,
    HEAD_DIM_MAX = 512,   /* what configurations and ring_attention.h may ask for */
    LANES_MAX = 16,       /* floats of the widest vector */
    FEW_ROWS = 4,         /* rows whose sums registers hold beside a key as it lies, not expanded */
    SCORES_MAX = FEW_ROWS * KEY_RUN, /* more than ROW_GRAIN * KEY_TILE */
    ALIGN_ROW = 16        /* floats that rows of scratch are padded to */
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
    float *l;           /* [rows, LANES_MAX], a row's sum is that of its lanes */
    float *k;           /* [head_dim, KEY_TILE]: a tile's keys, transposed */
    float *v;           /* [KEY_TILE, ld] */
    float *p;           /* [SCORES_MAX]: scores, then their exponentials */
};

/* Up to KEY_RUN keys of one segment. Query i of the item sees the first visible + i of them, at least 0, at most count. */
struct key_run {
    const void *k, *v; /* row of the first key */
    int32_t count;     /* keys that the block's last row sees: none beyond is touched */
    int64_t visible;
};

/* Take a run of keys into the block's o, m and l. */
void attend_keys_scalar(const attention_block *b, const key_run *t);
void attend_keys_avx2(const attention_block *b, const key_run *t);
void attend_keys_avx512(const attention_block *b, const key_run *t);

/* Keys of the run that a row of the block sees. */
static inline int32_t keys_seen(const attention_block *b, const key_run *t, int32_t row)
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

#endif
