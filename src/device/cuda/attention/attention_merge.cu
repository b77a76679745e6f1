// Partial results of attention whose keys were split, merged in the order of the keys.
// Rests on attention_tile.cuh; attention_decode.cu and attention_hopper.cu leave the pieces.
//
// Budget: each piece is read once. A call for one token is all latency: the sums of many pieces are loaded before the first is
// used. A call for many rows is bound by memory. A warp takes 64 columns of a row, two a lane.
#include "device/cuda/attention/attention_tile.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int COLUMNS = 64;              // of a row, a warp
constexpr int WARPS = 4;                 // of a block, or one row's, if those are more
constexpr int THREADS_MOST = 256;        // head_dim 512
constexpr int AHEAD = 16;                // pieces that are loaded before the first is used
constexpr int WEIGHTS = PIECES_MAX / 32; // of pieces, a lane

// Where a row's pieces and its carry lie.
struct merged_row {
    const float *o, *m, *l; // of the first piece
    int64_t stride;         // floats from one piece to the next
    int pieces;             // 0: there is nothing to merge
    int64_t at;             // of the carry
};

__device__ __forceinline__ merged_row find_row(const attention_launch &a, const attention_lists &lists, int row)
{
    int n = 0;

    while (n < lists.n_parts && row >= lists.parts[n].stack * a.n_kv_heads) {
        row -= lists.parts[n++].stack * a.n_kv_heads;
    }
    if (n == lists.n_parts || lists.parts[n].pieces == 1) {
        return {nullptr, nullptr, nullptr, 0, 0, 0};
    }
    const attention_part &p = lists.parts[n];
    const int kv_head = row / p.stack, stacked = row % p.stack, tile = stacked / a.tile_rows, in_tile = stacked % a.tile_rows;
    const int n_tiles = (p.stack + a.tile_rows - 1) / a.tile_rows, query = stacked / a.group;
    const int64_t stride = partial_floats(p.rows, a.head_dim);
    const float *first = a.partials + p.partial0 + ((int64_t)(n_tiles - 1 - tile) * a.n_kv_heads + kv_head) * p.pieces * stride;

    return {first + in_tile * a.head_dim,
            first + p.rows * a.head_dim + in_tile,
            first + p.rows * (a.head_dim + 1) + in_tile,
            stride,
            p.pieces,
            (int64_t)(p.row + query) * (a.n_kv_heads * a.group) + kv_head * a.group + stacked % a.group};
}

// o of AHEAD pieces from i on; for all, so that no load waits for a weight.
__device__ __forceinline__ void load_pieces(const merged_row &r, int i, int column, float2 (&x)[AHEAD])
{
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
        const float *o = r.o + min(i + j, r.pieces - 1) * r.stride + column;
        x[j] = make_float2(o[0], o[1]);
    }
}

// sum += the pieces' o, each times its weight; a piece that saw nothing has an o that was never written. x: of the first ones.
__device__ __forceinline__ void add_pieces(const merged_row &r, const float (&weight)[WEIGHTS], int column, float2 (&x)[AHEAD],
                                           float2 &sum)
{
#pragma unroll
    for (int w = 0; w < WEIGHTS; w++) {
        for (int i = 32 * w; i < min(32 * w + 32, r.pieces); i += AHEAD) {
            float share[AHEAD];
            if (i > 0) {
                load_pieces(r, i, column, x);
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                share[j] = __shfl_sync(0xffffffff, weight[w], (i + j) % 32); // 0 behind the last piece
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                sum.x = share[j] > 0 ? fmaf(share[j], x[j].x, sum.x) : sum.x;
                sum.y = share[j] > 0 ? fmaf(share[j], x[j].y, sum.y) : sum.y;
            }
        }
    }
}

// Maxima become weights; l, which the carry brings in, grows by the pieces' parts in the order of the keys.
__device__ __forceinline__ float weigh(const merged_row &r, float m, float l, float (&weight)[WEIGHTS], float (&part)[WEIGHTS])
{
#pragma unroll
    for (int w = 0; w < WEIGHTS; w++) {
        weight[w] = weight[w] == -INFINITY ? 0 : expf(weight[w] - m);
        part[w] *= weight[w];
        for (int j = 0; j < min(32, r.pieces - 32 * w); j++) {
            l += __shfl_sync(0xffffffff, part[w], j);
        }
    }
    return l;
}

__device__ __forceinline__ void put(const attention_launch &a, int64_t row, int column, float x)
{
    if (a.out) {
        put_finished(a, row, column, x);
    } else {
        a.c.o[row * a.head_dim + column] = x;
    }
}

__device__ __forceinline__ float largest(float x)
{
#pragma unroll
    for (int i = 16; i; i /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, i));
    }
    return x;
}

// Blocks of threads (lane, 64 columns of a row, row). A row that saw nothing leaves a carry as it is.
__device__ __forceinline__ void merge_pieces(const attention_launch &a, const attention_lists &lists)
{
    overlap_begin();
    const int lane = (int)threadIdx.x;
    const merged_row r = find_row(a, lists, (int)(blockIdx.x * blockDim.z + threadIdx.z));
    float weight[WEIGHTS], part[WEIGHTS], m = -INFINITY;
    const bool carried = r.pieces && !a.is_first;
    const int column = (int)threadIdx.y * COLUMNS + 2 * lane;
    const bool real = column < a.head_dim, both = column + 1 < a.head_dim;
    float2 x[AHEAD] = {};
    overlap_wait(); // of the lists alone anything has been read
    if (r.pieces) {
        load_pieces(r, 0, real ? column : 0, x);
    }
    const float before_m = carried ? a.c.m[r.at] : -INFINITY, before_l = carried ? a.c.l[r.at] : 0;

#pragma unroll
    for (int w = 0; w < WEIGHTS; w++) {
        const int i = 32 * w + lane;
        weight[w] = i < r.pieces ? r.m[i * r.stride] : -INFINITY;
        part[w] = i < r.pieces ? r.l[i * r.stride] : 0;
        m = fmaxf(m, weight[w]);
    }
    m = largest(m);
    __syncthreads(); // all warps of the row have read m and l
    if (!r.pieces || (m == -INFINITY && !a.is_first && !a.out)) {
        return;
    }
    m = fmaxf(m, before_m);
    const float share = before_m == -INFINITY ? 0 : expf(before_m - m);
    const float l = weigh(r, m, share > 0 ? share * before_l : 0, weight, part);
    float *o = a.c.o + r.at * a.head_dim + column;
    float2 sum = {share > 0 && real ? share * o[0] : 0, share > 0 && both ? share * o[1] : 0};

    add_pieces(r, weight, real ? column : 0, x, sum);
    if (a.out) {
        const float inverse = l > 0 ? 1 / l : 0;
        sum = make_float2(sum.x * inverse, sum.y * inverse);
    }
    if (real) {
        put(a, r.at, column, sum.x);
    }
    if (both) {
        put(a, r.at, column + 1, sum.y);
    }
    if (threadIdx.y == 0 && lane == 0) {
        a.c.l[r.at] = l;
        a.c.m[r.at] = m;
    }
}

// By the list of a launch that may be repeated over other keys.
__global__ void __launch_bounds__(THREADS_MOST)
    merge_listed(const __grid_constant__ attention_launch a, const attention_lists *lists)
{
    merge_pieces(a, *lists);
}

__global__ void __launch_bounds__(THREADS_MOST)
    merge_given(const __grid_constant__ attention_launch a, const __grid_constant__ attention_lists lists)
{
    merge_pieces(a, lists);
}

static_assert(sizeof(attention_launch) + sizeof(attention_lists) <= 4096, "what a launch may take by value");

} // namespace

cudaError_t attention_merge_load(void)
{
    cudaFuncAttributes unused;
    cudaError_t status = cudaFuncGetAttributes(&unused, merge_listed);

    return status ? status : cudaFuncGetAttributes(&unused, merge_given);
}

cudaError_t attention_merge_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists, bool on_card,
                                   int32_t rows)
{
    const int warps = (a->head_dim + COLUMNS - 1) / COLUMNS, together = warps < WARPS ? WARPS / warps : 1;

    const dim3 grid((unsigned)((rows + together - 1) / together)), block(32, (unsigned)warps, (unsigned)together);

    if (on_card) {
        return overlap_launch(stream, grid, block, 0, merge_listed, *a, lists);
    }
    return overlap_launch(stream, grid, block, 0, merge_given, *a, *lists);
}
