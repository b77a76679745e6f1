// What the attention kernels share: which block does what, the walk over key tiles, and loads for the matrix unit.
// Rests on cuda_attention.h, copies.cuh, matrix_unit.cuh and on PTX of compute capability 8.0. Read on in attention_prefill.cu.
#pragma once

#include "device/cuda/attention/cuda_attention.h"
#include "device/cuda/runtime/copies.cuh"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/matrix_unit.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// --- which block does what ---

struct block_task {
    const attention_part *part;
    const attention_keys *keys; // of the list
    int first_row; // of the stack
    int rows;      // of the stack, from first_row on
    int kv_head;
    int query0, query1; // first and last query of these rows
    int from, to;       // key tiles of the part
    float *partial;     // where the result goes; nullptr: on from the carry and back into it
    int piece;          // of the part's
};

// Part n of the lists, rows from tile * a.tile_rows on, one KV head, one range of the key tiles.
template <typename Lists>
static __device__ __forceinline__ block_task task_of_tile(const attention_launch &a, const Lists &lists, int n, int tile,
                                                          int kv_head, int piece)
{
    const attention_part &p = lists.parts[n];
    const int n_tiles = (p.stack + a.tile_rows - 1) / a.tile_rows;
    // Where the merge looks for it.
    const int64_t block = ((int64_t)(n_tiles - 1 - tile) * a.n_kv_heads + kv_head) * p.pieces + piece;
    block_task t;

    t.part = &p;
    t.keys = lists.keys;
    t.kv_head = kv_head;
    t.first_row = tile * a.tile_rows;
    t.rows = min(a.tile_rows, p.stack - t.first_row);
    t.query0 = t.first_row / a.group;
    t.query1 = (t.first_row + t.rows - 1) / a.group;
    t.piece = piece;
    t.from = p.tiles * piece / p.pieces; // PIECES_MAX times the tiles of any memory fit
    t.to = p.tiles * (piece + 1) / p.pieces;
    t.partial = p.pieces > 1 ? a.partials + p.partial0 + block * partial_floats(p.rows, a.head_dim) : nullptr;
    return t;
}

// Block `block` of the launch, which is one of part n.
template <typename Lists>
static __device__ __forceinline__ block_task task_in_part(const attention_launch &a, const Lists &lists, int n, int block)
{
    const attention_part &p = lists.parts[n];
    block -= p.block0;
    int piece = block % p.pieces, rest = block / p.pieces;
    int n_tiles = (p.stack + a.tile_rows - 1) / a.tile_rows;
    // The last queries see the most keys: their blocks start first.
    return task_of_tile(a, lists, n, n_tiles - 1 - rest / a.n_kv_heads, rest % a.n_kv_heads, piece);
}

// All parts are asked for before the first answer: a list may be long. By all threads of a warp, whose block is one.
static __device__ __forceinline__ block_task task_of_block(const attention_launch &a, const attention_long_lists &lists)
{
    const int lane = (int)threadIdx.x % 32;
    int n = 0, block = (int)blockIdx.x;

    if (lists.n_parts > 1) {
        unsigned before[PARTS_LISTED / 32];
#pragma unroll
        for (int i = 0; i < PARTS_LISTED / 32; i++) {
            const int at = 32 * i + lane;
            before[i] = at > 0 && at < lists.n_parts && lists.parts[at].block0 <= block;
        }
#pragma unroll
        for (int i = 0; i < PARTS_LISTED / 32; i++) {
            n += __popc(__ballot_sync(0xffffffff, before[i]));
        }
    }
    return task_in_part(a, lists, n, block);
}

// By a thread alone.
static __device__ __forceinline__ block_task task_of_block(const attention_launch &a, const attention_lists &lists)
{
    int n = 0, block = (int)blockIdx.x;

    while (n + 1 < lists.n_parts && block >= lists.parts[n + 1].block0) {
        n++;
    }
    return task_in_part(a, lists, n, block);
}
// Row i of a block as an index into [rows, n_heads] of the whole call.
static __device__ __forceinline__ int head_row(const attention_launch &a, const block_task &t, int i)
{
    int r = t.first_row + i, query = r / a.group;

    return (t.part->row + query) * (a.n_kv_heads * a.group) + t.kv_head * a.group + (r - query * a.group);
}

// Where row i of a block begins in q, in elements.
static __device__ __forceinline__ int64_t q_offset(const attention_launch &a, const block_task &t, int i)
{
    int r = t.first_row + i, query = r / a.group;

    return (int64_t)(t.part->row + query) * a.ldq + (int64_t)(t.kv_head * a.group + (r - query * a.group)) * a.head_dim;
}

// --- the walk over the key tiles of a block ---

struct key_tile {
    const unsigned char *k, *v; // the first slot's
    const float *k_scales, *v_scales; // of I8
    int count;                  // slots that the block's last query sees, at most KEYS_TILE; 0: the walk is over
    int visible;                // query0 + i sees visible + i of them, at least 0 and at most count
    bool settled;               // keys from before the pass: no kernel of the pass writes them
};

struct key_walk {
    const unsigned char *k, *v; // slot 0 of the segment that the walk is in
    const float *k_scales, *v_scales;
    int segment;
    int base, n;       // key tiles before it, and its own
    int slot, end;     // the next tile; where the block's tiles end
    int seen, visible; // slots that the last query sees, and that query0 would
    bool settled;
};

static __device__ __forceinline__ void walk_start(key_walk &w, const block_task &t)
{
    w = {nullptr, nullptr, nullptr, nullptr, t.part->keys0 - 1, 0, 0, 0, 0, 0, 0, false};
}

// The walk of a whole warp goes straight to the segment of the block's first tile: 32 segments at a time, by the sums of their
// tiles. A short list is walked.
static __device__ __forceinline__ void walk_skip(key_walk &w, const block_task &t)
{
    constexpr int SHORT = 8;
    const int lane = (int)threadIdx.x % 32, end = t.part->keys0 + t.part->n_keys;

    if (t.from == 0 || t.part->n_keys <= SHORT) {
        return;
    }
#pragma unroll 1
    for (int first = t.part->keys0, skipped = 32; skipped == 32 && first < end; first += 32) {
        int sum = first + lane < end ? t.keys[first + lane].tiles : 0; // with those of the lanes below
#pragma unroll
        for (int i = 1; i < 32; i *= 2) {
            const int below = __shfl_up_sync(0xffffffffu, sum, i);
            sum += lane >= i ? below : 0;
        }
        skipped = __popc(__ballot_sync(0xffffffffu, w.base + sum <= t.from));
        const int tiles = __shfl_sync(0xffffffffu, sum, max(skipped - 1, 0));
        w.base += skipped ? tiles : 0;
        w.segment += skipped;
    }
}

static __device__ __forceinline__ void walk_enter(key_walk &w, const attention_launch &a, const block_task &t)
{
    const attention_keys &s = t.keys[w.segment];
    int64_t head = t.kv_head * s.head_stride * a.slot_bytes + a.shift;

    w.n = s.tiles;
    w.seen = (int)min(max(s.visible + t.query1, (int64_t)0), (int64_t)s.count);
    w.visible = (int)max(min(s.visible + t.query0, (int64_t)s.count), -(int64_t)(1 << 30));
    w.settled = s.visible == KEYS_ALL;
    w.slot = max(t.from - w.base, 0) * KEYS_TILE;
    w.end = (int)min((int64_t)min(t.to - w.base, w.n) * KEYS_TILE, (int64_t)w.seen);
    w.k = (const unsigned char *)s.k + head;
    w.v = (const unsigned char *)s.v + head;
    w.k_scales = s.k_scales + t.kv_head * s.head_stride + a.scale_shift;
    w.v_scales = s.v_scales + t.kv_head * s.head_stride + a.scale_shift;
}

static __device__ __forceinline__ key_tile walk_next(key_walk &w, const attention_launch &a, const block_task &t)
{
    while (w.slot >= w.end) {
        w.base += w.n;
        w.segment++;
        if (w.segment >= t.part->keys0 + t.part->n_keys || w.base >= t.to) {
            w.segment--; // and stays there
            w.n = 0;
            return {nullptr, nullptr, nullptr, nullptr, 0, 0, true};
        }
        walk_enter(w, a, t);
    }
    int64_t offset = (int64_t)w.slot * a.slot_bytes;
    key_tile out = {w.k + offset,          w.v + offset, w.k_scales + w.slot, w.v_scales + w.slot,
                    min(w.seen - w.slot, (int)KEYS_TILE), w.visible - w.slot, w.settled};
    w.slot += KEYS_TILE;
    return out;
}

// --- instructions ---

static __device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

static __device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

static __device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// --- rows in shared memory, 16-byte chunks swizzled so that eight rows of a matrix load meet all banks ---

template <int ROW_BYTES> struct swizzled_row {
    static constexpr int BYTES = ROW_BYTES;
    static constexpr int CHUNKS = BYTES / 16;
    // Rows of 64 or 192 bytes come back to the same banks two by two, rows of 96 four by four.
    static constexpr int SHIFT = BYTES % 128 == 0 ? 0 : BYTES % 64 == 0 ? 1 : 2;
    static constexpr int MASK = 127 >> SHIFT; // bits of a byte offset in a row that are swizzled

    static __device__ __forceinline__ uint32_t flip(int row)
    {
        return (uint32_t)((row >> SHIFT) & (MASK >> 4)) << 4;
    }
    static __device__ __forceinline__ uint32_t chunk(int row, int c)
    {
        return (uint32_t)(row * BYTES) + ((uint32_t)(c * 16) ^ flip(row));
    }
    // From a lane's address of chunk 0 or 1 of a row to the one `bytes` further, a multiple of 32.
    static __device__ __forceinline__ uint32_t further(uint32_t lane, int bytes)
    {
        return (lane ^ (uint32_t)(bytes & MASK)) + (uint32_t)(bytes & ~MASK);
    }
};

// Of D 16-bit elements.
template <int D> using swizzled = swizzled_row<2 * D>;

// --- the carry ---

// Where a finished row of the carry begins in `out`. Rows times heads fit 32 bits, and divisions of 64 bits are long.
static __device__ __forceinline__ int64_t finished_at(const attention_launch &a, int row)
{
    const int heads = a.n_kv_heads * a.group;

    return row / heads * a.ldo + row % heads * a.head_dim;
}

// The largest score as the kernels of the matrix unit keep it: before the scale.
static __device__ __forceinline__ float unscaled(float m, float scale)
{
    return m == -INFINITY ? m : m / scale;
}
