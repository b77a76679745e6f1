// Partial results of attention whose keys were split, merged in the order of the keys: one row, by one warp.
// Rests on attention_tile.cuh. attention_decode.cu merges in the block that ends last, attention_merge.cu in a kernel.
//
// Budget: each piece is read once. A call for one token is all latency: the sums of some pieces are loaded before the first is
// used, and the code is small (its loops are not unrolled), since it comes from the second-level cache every time.
#pragma once

#include "device/cuda/attention/attention_tile.cuh"

constexpr int MERGE_AHEAD = 16; // pieces that are loaded before the first is used

// Where a row's pieces and its carry lie.
struct merged_row {
    const float *o, *m, *l; // of the first piece
    int stride;             // floats from one piece to the next
    int pieces;
    int at; // of the carry
};

// Row i of a part's pieces, the first of which lies at `first`.
static __device__ __forceinline__ merged_row row_of_pieces(const attention_part &p, int32_t head_dim, const float *first, int i,
                                                           int at)
{
    return {first + i * head_dim,
            first + p.rows * head_dim + i,
            first + p.rows * (head_dim + 1) + i,
            (int)partial_floats(p.rows, head_dim),
            p.pieces,
            at};
}

// A lane has V columns of a row: 4, where head_dim is a multiple of 4, or 1. Past the first-level cache: blocks of this very
// kernel may have written them.
template <int V> static __device__ __forceinline__ numbers<V> load_columns(const float *from)
{
    if constexpr (V == 4) {
        float4 x = __ldcg((const float4 *)from);
        return {{x.x, x.y, x.z, x.w}};
    } else {
        return {{__ldcg(from)}};
    }
}

// o of MERGE_AHEAD pieces from i on; for all, so that no load waits for a weight.
template <int V>
static __device__ __forceinline__ void load_pieces(const merged_row &r, int i, int column, numbers<V> (&x)[MERGE_AHEAD])
{
#pragma unroll
    for (int n = 0; n < MERGE_AHEAD; n++) {
        x[n] = load_columns<V>(r.o + min(i + n, r.pieces - 1) * r.stride + column);
    }
}

static __device__ __forceinline__ float largest_of_lanes(float x)
{
#pragma unroll
    for (int i = 16; i; i /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, i));
    }
    return x;
}

// Maxima become weights in `weights` [PIECES_MAX], zeros behind the last; l, which the carry brings in, grows by the pieces'
// parts in the order of the keys. m: of all pieces and the carry.
static __device__ __forceinline__ float weigh_pieces(const merged_row &r, float m, float l, float *weights)
{
    const int lane = (int)threadIdx.x % 32;

#pragma unroll 1
    for (int i = 0; i < r.pieces; i += 32) {
        const bool real = i + lane < r.pieces;
        const float at = real ? __ldcg(r.m + (i + lane) * r.stride) : -INFINITY;
        const float weight = at == -INFINITY ? 0 : expf(at - m), part = real ? weight * __ldcg(r.l + (i + lane) * r.stride) : 0;
        weights[i + lane] = weight;
#pragma unroll 1
        for (int j = 0; j < min(32, r.pieces - i); j++) {
            l += __shfl_sync(0xffffffff, part, j);
        }
    }
    __syncwarp();
    return l;
}

// What the row's pieces and its carry are multiplied with.
struct merge_weights {
    float m, l, share, inverse; // the result's; share is the carry's weight
};

// The pieces' weights into `weights`.
static __device__ __forceinline__ merge_weights weigh_row(const attention_launch &a, const merged_row &r, float *weights)
{
    const float before_m = a.is_first ? -INFINITY : a.c.m[r.at], before_l = a.is_first ? 0 : a.c.l[r.at];
    merge_weights w = {-INFINITY, 0, 0, 0};

#pragma unroll 1
    for (int i = (int)threadIdx.x % 32; i < r.pieces; i += 32) {
        w.m = fmaxf(w.m, __ldcg(r.m + i * r.stride));
    }
    w.m = fmaxf(largest_of_lanes(w.m), before_m);
    w.share = before_m == -INFINITY ? 0 : expf(before_m - w.m);
    w.l = weigh_pieces(r, w.m, w.share > 0 ? w.share * before_l : 0, weights);
    w.inverse = w.l > 0 ? 1 / w.l : 0;
    return w;
}

// A lane's columns, finished or not.
template <int V>
static __device__ __forceinline__ void put_columns(const attention_launch &a, const merged_row &r, float inverse, int column,
                                                   numbers<V> sum)
{
    if (a.out) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            sum.v[j] *= inverse;
        }
        store_numbers<V>(a.act, a.out, finished_at(a, r.at) + column, sum);
    } else {
        store_numbers<V>(DTYPE_F32, a.c.o, (int64_t)r.at * a.head_dim + column, sum);
    }
}

// A whole warp: the row into its carry, or finished. weights: [PIECES_MAX] of the warp's in shared memory. A piece that saw
// nothing has an o that was never written; a row that saw nothing has weights 0, and the carry's stays.
template <int V>
static __device__ __forceinline__ void merge_row(const attention_launch &a, const merged_row &r, float *weights)
{
    const int lane = (int)threadIdx.x % 32;
    merge_weights w;

#pragma unroll 1
    for (int from = 0; from < a.head_dim; from += 32 * V) {
        const int column = from + lane * V, at = min(column, a.head_dim - V);
        numbers<V> sum = {};
#pragma unroll 1
        for (int i = 0; i < r.pieces; i += MERGE_AHEAD) {
            numbers<V> x[MERGE_AHEAD];
            load_pieces<V>(r, i, at, x);
            if (i == 0 && from == 0) {
                w = weigh_row(a, r, weights);
            }
            if (i == 0 && w.share > 0) {
                const numbers<V> before = load_numbers<V>(DTYPE_F32, a.c.o, (int64_t)r.at * a.head_dim + at);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    sum.v[j] = w.share * before.v[j];
                }
            }
#pragma unroll
            for (int n = 0; n < MERGE_AHEAD; n++) {
                const float weight = weights[i + n];
#pragma unroll
                for (int j = 0; j < V; j++) {
                    sum.v[j] = weight > 0 ? fmaf(weight, x[n].v[j], sum.v[j]) : sum.v[j];
                }
            }
        }
        if (column < a.head_dim) {
            put_columns<V>(a, r, w.inverse, column, sum);
        }
    }
    if (lane == 0) {
        a.c.l[r.at] = w.l;
        a.c.m[r.at] = w.m;
    }
}
