// Attention of any head_dim and type in fp32: fused multiply-adds and the accurate exponential, no rounding below fp32
// anywhere. Rests on attention_tile.cuh. attention_prefill.cu is the fast form of common head_dims in 16-bit types.
//
// Budget: a thread multiplies 4 rows by 2 keys from 6 loads of 4 floats, 32 multiply-adds, then 4 rows by 4 columns of V from
// as many: a third of the card's fp32 rate is the most to hope for. It is here to be right: runs in F32 are held to the
// numerical contract.
#include "device/cuda/attention/attention_tile.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int THREADS = 128;
constexpr int LINE = 16; // threads that share rows
constexpr int STEP = PLAIN_KEYS;
constexpr int STEP_LD = STEP + 4;

// For head_dim up to D.
template <int D> struct plain {
    static constexpr int ROWS = D <= 256 ? 4 : 2; // a thread
    static constexpr int TILE_ROWS = ROWS * THREADS / LINE;
    static constexpr int LD = D + 4;         // rows that lie one after the other begin in other banks
    static constexpr int COLUMNS = D / LINE; // of o, a thread: 4 c + {0..3} of every 64
    static constexpr int SHARED = (TILE_ROWS * LD + STEP * LD + TILE_ROWS * STEP_LD) * 4; // q, keys or values, scores
};

__device__ __forceinline__ float element(const void *base, dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F16:
        return __half2float(((const __half *)base)[i]);
    case DTYPE_BF16:
        return __bfloat162float(((const __nv_bfloat16 *)base)[i]);
    case DTYPE_I8:
        return (float)((const int8_t *)base)[i];
    default:
        return ((const float *)base)[i];
    }
}

// `count` keys or values, the rest of the step and of the columns zeros. scales: theirs, read where the type is I8.
template <int D>
__device__ __forceinline__ void load_slots(const attention_launch &a, const void *from, const float *scales, int count,
                                           float *to)
{
    for (int i = (int)threadIdx.x; i < STEP * D; i += THREADS) {
        int row = i / D, column = i % D;
        bool real = row < count && column < a.head_dim;
        float x = real ? element(from, a.kv_type, (int64_t)row * a.head_dim + column) : 0;
        to[row * plain<D>::LD + column] = real && a.kv_type == DTYPE_I8 ? x * scales[row] : x;
    }
}

template <int D> __device__ __forceinline__ void load_q(const attention_launch &a, const block_task &t, float *to)
{
    for (int i = (int)threadIdx.x; i < plain<D>::TILE_ROWS * D; i += THREADS) {
        int row = i / D, column = i % D;
        bool real = row < t.rows && column < a.head_dim;
        to[row * plain<D>::LD + column] = real ? a.scale * element(a.q, a.act, q_offset(a, t, row) + column) : 0;
    }
}

// A thread's rows line * ROWS + {0..}, its columns 64 j + 4 place + {0..3}.
template <int D> struct sums {
    float o[plain<D>::ROWS][plain<D>::COLUMNS];
    float m[plain<D>::ROWS], l[plain<D>::ROWS]; // the same in all threads of a line
};

template <int D>
__device__ __forceinline__ void score_keys(const block_task &t, const attention_launch &a, const float *q, const float *k,
                                           float *scores, int count, int visible)
{
    const int line = (int)threadIdx.x / LINE, place = (int)threadIdx.x % LINE;
    float s[plain<D>::ROWS][2] = {};

    for (int d = 0; d < D; d += 4) {
        float4 x = *(const float4 *)(k + place * plain<D>::LD + d),
               y = *(const float4 *)(k + (place + LINE) * plain<D>::LD + d);
#pragma unroll
        for (int r = 0; r < plain<D>::ROWS; r++) {
            float4 z = *(const float4 *)(q + (line * plain<D>::ROWS + r) * plain<D>::LD + d);
            s[r][0] = fmaf(z.w, x.w, fmaf(z.z, x.z, fmaf(z.y, x.y, fmaf(z.x, x.x, s[r][0]))));
            s[r][1] = fmaf(z.w, y.w, fmaf(z.z, y.z, fmaf(z.y, y.y, fmaf(z.x, y.x, s[r][1]))));
        }
    }
#pragma unroll
    for (int r = 0; r < plain<D>::ROWS; r++) {
        int row = line * plain<D>::ROWS + r, query = (t.first_row + row) / a.group - t.query0,
            seen = min(visible + query, count);
        scores[row * STEP_LD + place] = place < seen ? s[r][0] : -INFINITY;
        scores[row * STEP_LD + place + LINE] = place + LINE < seen ? s[r][1] : -INFINITY;
    }
}

// A line's scores, which its own threads wrote, become exponentials; o and l come to the new m.
template <int D> __device__ __forceinline__ void soften(float *scores, sums<D> &sum)
{
    const int line = (int)threadIdx.x / LINE, place = (int)threadIdx.x % LINE;

#pragma unroll
    for (int r = 0; r < plain<D>::ROWS; r++) {
        float *s = scores + (line * plain<D>::ROWS + r) * STEP_LD + place;
        float m = fmaxf(sum.m[r], fmaxf(s[0], s[LINE])), base, l, shrink;
#pragma unroll
        for (int i = 1; i < LINE; i *= 2) {
            m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, i));
        }
        base = m == -INFINITY ? 0 : m; // -inf - -inf is never formed
        shrink = m == sum.m[r] ? 1 : expf(sum.m[r] - base);
        s[0] = expf(s[0] - base);
        s[LINE] = expf(s[LINE] - base);
        l = s[0] + s[LINE];
#pragma unroll
        for (int i = 1; i < LINE; i *= 2) {
            l += __shfl_xor_sync(0xffffffff, l, i);
        }
        sum.m[r] = m;
        sum.l[r] = fmaf(sum.l[r], shrink, l);
#pragma unroll
        for (int i = 0; i < plain<D>::COLUMNS; i++) {
            sum.o[r][i] *= shrink;
        }
    }
}

// The values of a step have sums of their own before they join the others: thousands of light keys that are added one by one to
// what heavy ones have made large would lose a little each, all in the same direction.
template <int D> __device__ __forceinline__ void add_values(const float *p, const float *v, sums<D> &sum)
{
    const int line = (int)threadIdx.x / LINE, place = (int)threadIdx.x % LINE;
    float step[plain<D>::ROWS][plain<D>::COLUMNS] = {};

    for (int key = 0; key < STEP; key++) {
        float w[plain<D>::ROWS];
#pragma unroll
        for (int r = 0; r < plain<D>::ROWS; r++) {
            w[r] = p[(line * plain<D>::ROWS + r) * STEP_LD + key];
        }
#pragma unroll
        for (int j = 0; j < D / 64; j++) {
            float4 x = *(const float4 *)(v + key * plain<D>::LD + j * 64 + place * 4);
#pragma unroll
            for (int r = 0; r < plain<D>::ROWS; r++) {
                step[r][4 * j] = fmaf(w[r], x.x, step[r][4 * j]);
                step[r][4 * j + 1] = fmaf(w[r], x.y, step[r][4 * j + 1]);
                step[r][4 * j + 2] = fmaf(w[r], x.z, step[r][4 * j + 2]);
                step[r][4 * j + 3] = fmaf(w[r], x.w, step[r][4 * j + 3]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < plain<D>::ROWS * plain<D>::COLUMNS; i++) {
        sum.o[i / plain<D>::COLUMNS][i % plain<D>::COLUMNS] += step[i / plain<D>::COLUMNS][i % plain<D>::COLUMNS];
    }
}

// What a thread's column i is.
__device__ __forceinline__ int column_of(int i)
{
    return i / 4 * 64 + (int)threadIdx.x % LINE * 4 + i % 4;
}

// A piece's sums, to be merged later. An o that has seen nothing is not written.
template <int D>
__device__ __forceinline__ void store_partial(const attention_launch &a, const block_task &t, const sums<D> &sum)
{
    const int line = (int)threadIdx.x / LINE;

#pragma unroll
    for (int r = 0; r < plain<D>::ROWS; r++) {
        int row = line * plain<D>::ROWS + r;
        if (row >= t.rows) {
            continue;
        }
        if (threadIdx.x % LINE == 0) {
            t.partial[t.part->rows * a.head_dim + row] = sum.m[r];
            t.partial[t.part->rows * (a.head_dim + 1) + row] = sum.l[r];
        }
#pragma unroll
        for (int i = 0; i < plain<D>::COLUMNS; i++) {
            if (sum.m[r] > -INFINITY && column_of(i) < a.head_dim) {
                t.partial[row * a.head_dim + column_of(i)] = sum.o[r][i];
            }
        }
    }
}

// Takes the block's sums into the carry, as carry_merge would: all keys of a launch have a sum of their own. What has seen
// nothing is neither read nor written.
template <int D>
__device__ __forceinline__ void merge_into_carry(const attention_launch &a, const block_task &t, const sums<D> &sum)
{
    const int line = (int)threadIdx.x / LINE;

#pragma unroll
    for (int r = 0; r < plain<D>::ROWS; r++) {
        int row = line * plain<D>::ROWS + r;
        bool real = row < t.rows && sum.m[r] > -INFINITY;
        int64_t at = real ? head_row(a, t, row) : 0;
        float before_m = real ? a.c.m[at] : -INFINITY, before_l = real ? a.c.l[at] : 0, m = fmaxf(before_m, sum.m[r]);
        float before = before_m == -INFINITY ? 0 : expf(before_m - m), now = real ? expf(sum.m[r] - m) : 0;
        __syncwarp(); // the line has read m and l
        if (real && threadIdx.x % LINE == 0) {
            a.c.m[at] = m;
            a.c.l[at] = (before > 0 ? before_l * before : 0) + sum.l[r] * now;
        }
#pragma unroll
        for (int i = 0; i < plain<D>::COLUMNS; i++) {
            if (real && column_of(i) < a.head_dim) {
                float *o = a.c.o + at * a.head_dim + column_of(i);
                *o = (before > 0 ? *o * before : 0) + sum.o[r][i] * now;
            }
        }
    }
}

template <int D> __global__ void __launch_bounds__(THREADS)
    attend_plain(const __grid_constant__ attention_launch a, const attention_long_lists *lists)
{
    overlap_begin_and_wait();
    if ((int)blockIdx.x >= lists->n_blocks) {
        return;
    }
    extern __shared__ __align__(16) float floats[];
    float *q = floats, *slots = q + plain<D>::TILE_ROWS * plain<D>::LD, *scores = slots + STEP * plain<D>::LD;
    const block_task t = task_of_block(a, *lists);
    sums<D> sum = {};
    key_walk walk;

    for (int r = 0; r < plain<D>::ROWS; r++) {
        sum.m[r] = -INFINITY;
    }
    walk_start(walk, t);
    walk_skip(walk, t);
    load_q<D>(a, t, q);
    for (key_tile tile = walk_next(walk, a, t); tile.count; tile = walk_next(walk, a, t)) {
        for (int from = 0; from < tile.count; from += STEP) {
            const int64_t offset = (int64_t)from * a.slot_bytes;
            const int count = min(tile.count - from, STEP);
            __syncthreads(); // all have left the values before
            load_slots<D>(a, tile.k + offset, tile.k_scales + from, count, slots);
            __syncthreads();
            score_keys<D>(t, a, q, slots, scores, count, tile.visible - from);
            __syncthreads(); // all have left the keys
            load_slots<D>(a, tile.v + offset, tile.v_scales + from, count, slots);
            soften<D>(scores, sum);
            __syncthreads();
            add_values<D>(scores, slots, sum);
        }
    }
    if (t.partial) {
        store_partial<D>(a, t, sum);
    } else {
        merge_into_carry<D>(a, t, sum);
    }
}

template <int D> cudaError_t load_kernel()
{
    return cudaFuncSetAttribute(attend_plain<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, plain<D>::SHARED);
}

template <int D>
cudaError_t launch_kernel(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, int32_t blocks)
{
    return overlap_launch(stream, (unsigned)blocks, THREADS, plain<D>::SHARED, attend_plain<D>, a, lists);
}

} // namespace

int attention_plain_rows(int32_t head_dim)
{
    return head_dim <= 256 ? plain<256>::TILE_ROWS : plain<512>::TILE_ROWS;
}

int attention_plain_blocks(int32_t head_dim)
{
    return head_dim <= 64 ? 4 : head_dim <= 128 ? 3 : 1; // of 28, 43, 71 or 101 KB of shared memory each
}

cudaError_t attention_plain_load(void)
{
    cudaError_t status = load_kernel<64>();

    status = status ? status : load_kernel<128>();
    status = status ? status : load_kernel<256>();
    return status ? status : load_kernel<512>();
}

cudaError_t attention_plain_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                   int32_t blocks)
{
    if (a->head_dim <= 64) {
        return launch_kernel<64>(stream, *a, lists, blocks);
    }
    if (a->head_dim <= 128) {
        return launch_kernel<128>(stream, *a, lists, blocks);
    }
    return a->head_dim <= 256 ? launch_kernel<256>(stream, *a, lists, blocks) : launch_kernel<512>(stream, *a, lists, blocks);
}
