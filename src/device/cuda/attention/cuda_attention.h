/* Attention on the GPU: what the plan (cuda_attention.c) and the kernels (attention_*.cu) agree on. Rests on cuda_device.h.
   Read on in cuda_attention.c, which cuts a call into launches; attention_tile.cuh has what the kernels share.

   The queries of one item that read KV head g are stacked: row r is query r / group of head g * group + r % group. A block
   takes a tile of these rows past a range of the item's key tiles. So the keys are read once for all heads that share them. */
#pragma once

#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/packets.h"

#include <cuda.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KEYS_TILE = 64,   /* slots of one segment that a block takes at once */
    DECODE_ROWS = 16, /* rows of one matrix instruction */
    PREFILL_ROWS = 128,
    PARTS_MAX = 24, /* with the segments: what a launch can take by value in 5 KB (Hopper's takes its maps as well: 22 KB) */
    SEGMENTS_MAX = 64,
    PARTS_LISTED = 128, /* the same where the list lies on the card: a multiple of 32 */
    SEGMENTS_LISTED = 512,
    PIECES_MAX = 256,
    MERGE_HEADS = 512, /* KV heads, at most, of the kernel for few rows */
    KEYS_ALL = INT32_MAX, /* `visible` of keys that every query sees: those from before the pass */
    PLAIN_KEYS = 32, /* keys of one step of the plain kernel; divides KEYS_TILE */
};

/* A segment as the queries of one item see it. */
typedef struct attention_keys {
    const void *k, *v;
    const float *k_scales, *v_scales; /* of I8 */
    int64_t head_stride;
    int64_t visible; /* slots that query 0 sees, were the segment endless in both directions; query i sees i more */
    int32_t count;
    int32_t tiles; /* of the kernel's slots (KEYS_TILE, or the form's) of which any query sees something; at least 1 */
} attention_keys;

/* Some of an item's segments, and the blocks that work on it: with the fewest keys last, [tile][kv_head][piece]. */
typedef struct attention_part {
    int32_t row;           /* of q and of the carry */
    int32_t stack;         /* queries times group */
    int32_t keys0, n_keys; /* of the launch's list */
    int32_t tiles;         /* of all its segments */
    int32_t pieces;        /* the tiles are cut into so many ranges; 1: straight from the carry and into it */
    int32_t block0;        /* its first block in the launch */
    int32_t rows;          /* of a block's stack, as partial results are stored */
    int64_t partial0; /* floats into `partials`; a block's are o [rows, head_dim], m [rows], l [rows], see partial_floats() */
} attention_part;

/* What a launch works on. Prefill takes it by value. */
typedef struct attention_lists {
    int32_t n_parts, n_keys, n_blocks;
    attention_part parts[PARTS_MAX];
    attention_keys keys[SEGMENTS_MAX];
} attention_lists;

/* The others read it from the card's memory, so that a recorded launch can be repeated over other keys. */
typedef struct attention_long_lists {
    int32_t n_parts, n_keys, n_blocks; /* of the grid, those behind n_blocks have nothing to do */
    attention_part parts[PARTS_LISTED];
    attention_keys keys[SEGMENTS_LISTED];
} attention_long_lists;

typedef struct attention_launch {
    const void *q;
    int64_t ldq;
    carry c;
    float *partials;
    int32_t n_kv_heads, group, head_dim;
    int32_t slot_bytes; /* of a key */
    int32_t tile_rows;  /* of a block */
    int32_t heads_together; /* KV heads whose blocks run before those of the next ones begin: attention_hopper.cu */
    float scale;
    dtype act, kv_type;
    int64_t shift;      /* bytes from the keys and values that the lists name to those of this launch: another layer's */
    int64_t scale_shift; /* floats from the scales to those of this launch */
    bool is_first;      /* the carry holds nothing yet: it is not read, and every row of it is written */
    void *out;          /* of the activation type, [rows, n_heads, head_dim], row t at out + t * ldo: rows are finished there,
                           and of the carry only m and l are written; NULL: the carry is the result */
    int64_t ldo;
} attention_launch;

/* What bulk copies must know of memory: a tensor of three dimensions for the queries (column, head, row), and one for the keys
   and one for the values of each entry of attention_lists.keys (column, slot, KV head). Their sizes end where the slots do, so
   that what lies behind the last one is never read: zeros come instead. */
typedef struct attention_maps {
    CUtensorMap q;
    CUtensorMap k[SEGMENTS_MAX], v[SEGMENTS_MAX];
} attention_maps;

/* A tile of the kernel for Hopper: 0 rows where there is none for a head_dim. */
typedef struct hopper_form {
    int32_t rows;   /* at most; a tile has whole queries, so as many of them as a.group divides */
    int32_t keys;
    int32_t panel;  /* columns of a box of a copy */
    int32_t shared; /* bytes of shared memory of a block */
} hopper_form;

/* Floats of one block's partial result. */
static inline
#ifdef __CUDACC__
    __host__ __device__
#endif
        int64_t
        partial_floats(int32_t rows, int32_t head_dim)
{
    return ((int64_t)rows * (head_dim + 2) + 3) / 4 * 4;
}

/* Blocks of a kernel that a multiprocessor holds; 0: the kernel is not for this head_dim, or not for so little shared memory.
 */
int attention_prefill_blocks(int32_t head_dim, int shared_most);
int attention_decode_blocks(int32_t head_dim, bool codes, int shared_most);
int attention_plain_blocks(int32_t head_dim);
/* Rows of the plain kernel's blocks. */
int attention_plain_rows(int32_t head_dim);

/* Bring the kernels onto the card. shared_most: bytes of shared memory that a block may ask for. */
cudaError_t attention_prefill_load(int shared_most);
cudaError_t attention_decode_load(int shared_most);
cudaError_t attention_plain_load(void);
cudaError_t attention_merge_load(void);

/* cuTensorMapEncodeTiled, as the driver has it. */
typedef CUresult (*map_encoder)(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *at, const cuuint64_t *size,
                                const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);
cudaError_t attention_maps_open(map_encoder *out);
/* NULL: the card or the build has not the instructions of compute capability 9.0a. */
map_encoder cuda_map_encoder(const cuda_device *dev);
/* A tensor of three dimensions in a 16-bit type: the first dense, `stride` bytes from one of the others to the next. A box has
   `box` of each. What is outside is read as 0. */
typedef struct tensor {
    const void *at;
    uint64_t size[3], stride[2];
    uint32_t box[3];
} tensor;
cudaError_t tensor_map_make(map_encoder encoder, dtype type, const tensor *t, CUtensorMap *map);
/* Maps of a launch. rows: of q in memory; what a box has beyond them is read as zeros. */
cudaError_t attention_maps_make(map_encoder encoder, const attention_launch *a, const attention_lists *lists, int64_t rows,
                                attention_maps *out);

hopper_form attention_hopper_form(int32_t head_dim);
/* built: false where the module was compiled without sm_90a, so that the kernels are empty. */
cudaError_t attention_hopper_load(int shared_most, bool *built);
/* Lists and maps are the host's. `counters`: two words of the card that are 0, and 0 again when the launch is done. */
cudaError_t attention_hopper_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists,
                                    const attention_maps *maps, int n_sms, unsigned *counters);

/* A segment of I8 as one of 16 bits: keys and values [n_kv_heads, count, head_dim], dense, of type `act`. */
typedef struct attention_expansion {
    kv_segment from;
    void *k, *v;
    dtype act;
    int32_t n_kv_heads, head_dim;
} attention_expansion;

cudaError_t attention_expand_load(void);
cudaError_t attention_expand_launch(cudaStream_t stream, const attention_expansion *e);

/* `lists` is the host's for prefill, the card's where it is a long one: for grids of `blocks` blocks. */
cudaError_t attention_prefill_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists);
/* counters: [PARTS_LISTED, MERGE_HEADS] words of the card that are 0, and 0 again when the launch is done. exchange: what
   becomes of the carry's rows, all of which this launch writes; or NULL. The last blocks of KV heads wait in it: there is room
   for one more than those on the card. */
cudaError_t attention_decode_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                    int32_t blocks, unsigned *counters, const packet_carries *exchange);
cudaError_t attention_plain_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                   int32_t blocks);
/* Takes the partial results of all parts with more than one piece into the carry, in the order of the keys, or finishes them.
   rows: of all parts' stacks, times KV heads. */
cudaError_t attention_merge_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                   int32_t rows);
cudaError_t attention_merge_given(cudaStream_t stream, const attention_launch *a, const attention_lists *lists, int32_t rows);

#ifdef __cplusplus
}
#endif
