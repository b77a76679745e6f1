// Attention for a few rows on the matrix unit: keys streamed once.
// Rests on attention_merge.cuh. attention_prefill.cu has the form for many rows.
//
// Budget of a tile of 64 keys at head_dim 128: 32 KB, for up to 16 rows (all heads of a KV head) 256 matrix instructions.
// At 4.2 TB/s and 132 multiprocessors a tile comes every 1,000 ns; its arithmetic takes a third of that. So only bytes in
// flight count: each warp has its own keys and its own ring of stages, and waits for no other warp until the end. Keys from
// before the pass are asked for before the kernel waits for the queries. The block of a KV head that ends last merges the
// pieces of all: a kernel of its own would cost its beginning and its end.
#include "device/cuda/attention/attention_merge.cuh"
#include "device/cuda/attention/head_dims.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int KEYS = KEYS_TILE / WARPS; // of a tile, a warp

template <int D> struct decode {
    static constexpr int STAGES = D == 64 ? 4 : D < 256 ? 3 : 2;
    static constexpr int BLOCKS = D < 128 ? 3 : D == 128 ? 2 : 1; // a multiprocessor
    static constexpr int HALF_BYTES = KEYS * 2 * D;               // K, and V behind it
    static constexpr int STAGE_BYTES = 2 * HALF_BYTES;
    static constexpr int ROW = D + 4; // floats of a row of sums in shared memory
    static constexpr int RING_BYTES = WARPS * STAGES * STAGE_BYTES;
    static constexpr int SUMS_BYTES = WARPS * DECODE_ROWS * ROW * 4;
    static constexpr int SHARED = RING_BYTES > SUMS_BYTES ? RING_BYTES : SUMS_BYTES;
};

// A warp's tile: its count and visible are those of its own keys.
struct warp_tile {
    int count, visible;
};

// A warp's sums: of rows lane / 4 and lane / 4 + 8 the columns 8 n + 2 (lane % 4) + {0, 1}.
template <int D> struct sums {
    float o[D / 8][4];
    float m[2], l[2]; // as in prefill
};

// Q as the left side of products, straight from memory; rows that are not there are 0.
template <int D>
__device__ __forceinline__ void load_q(const attention_launch &a, const block_task &t, uint32_t (&q)[D / 16][4])
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = half * 8 + lane / 4;
        bool real = row < t.rows;
        const uint16_t *from = (const uint16_t *)a.q + q_offset(a, t, real ? row : 0) + lane % 4 * 2;
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            q[d][half] = real ? *(const uint32_t *)(from + d * 16) : 0;
            q[d][half + 2] = real ? *(const uint32_t *)(from + d * 16 + 8) : 0;
        }
    }
}

// INT32_MIN: the walk is over.
__device__ __forceinline__ warp_tile warp_tile_of(const key_tile &tile, int warp)
{
    return {tile.count ? tile.count - warp * KEYS : INT32_MIN, tile.visible - warp * KEYS};
}

// The warp's keys and values of a tile; what it says of them comes back. Slots beyond the count become zeros.
template <int D> __device__ __forceinline__ warp_tile load_tile(const key_tile &tile, int warp, uint32_t to)
{
    constexpr int CHUNKS = D / 8;
    const warp_tile mine = warp_tile_of(tile, warp);
    int lane = (int)threadIdx.x % 32;

    asm volatile("" : "+r"(lane)); // the places are cheaper to form again than to keep in registers over the loop
    if (mine.count > 0) {
        const int64_t offset = (warp * KEYS * CHUNKS + lane) * 16;
#pragma unroll
        for (int i = 0; i < KEYS * CHUNKS / 32; i++) {
            int at = i * 32 + lane;
            uint32_t place = to + swizzled<D>::chunk(at / CHUNKS, at % CHUNKS);
            bool real = at / CHUNKS < mine.count;
            copy_16(place, tile.k + offset + i * 512, real);
            copy_16(place + decode<D>::HALF_BYTES, tile.v + offset + i * 512, real);
        }
    }
    return mine;
}

// 16 keys into the sums: scores, exponentials, values.
template <typename T, int D>
__device__ __forceinline__ void attend(const attention_launch &a, const block_task &t, const warp_tile &tile,
                                       const uint32_t (&q)[D / 16][4], uint32_t k_lane, uint32_t v_lane, sums<D> &sum)
{
    const int lane = (int)threadIdx.x % 32;
    const float factor = a.scale * LOG2_E;
    float s[2][4] = {}, shrink[2];
    uint32_t p[4];

#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t k[4];
        load_matrices(k, swizzled<D>::further(k_lane, d * 32));
        matrix_unit<T>::multiply(s[0], q[d], k[0], k[1]);
        matrix_unit<T>::multiply(s[1], q[d], k[2], k[3]);
    }
    if (min(tile.visible, tile.count) < KEYS) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = (t.first_row + half * 8 + lane / 4) / a.group - t.query0;
            int seen = min(tile.visible + query, tile.count) - lane % 4 * 2;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float &x = s[i / 2][2 * half + i % 2];
                x = i / 2 * 8 + i % 2 < seen ? x : -INFINITY;
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float *x = &s[0][2 * half], *y = &s[1][2 * half];
        float m = fmaxf(sum.m[half], fmaxf(fmaxf(x[0], x[1]), fmaxf(y[0], y[1])));
        m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 1));
        m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 2));
        float base = m == -INFINITY ? 0 : m * factor;
        shrink[half] = m == sum.m[half] ? 1 : exp2_fast(fmaf(sum.m[half], factor, -base));
        sum.m[half] = m;
        x[0] = exp2_fast(fmaf(x[0], factor, -base));
        x[1] = exp2_fast(fmaf(x[1], factor, -base));
        y[0] = exp2_fast(fmaf(y[0], factor, -base));
        y[1] = exp2_fast(fmaf(y[1], factor, -base));
        sum.l[half] = fmaf(sum.l[half], shrink[half], (x[0] + x[1]) + (y[0] + y[1]));
    }
    if (__any_sync(0xffffffff, shrink[0] != 1 || shrink[1] != 1)) {
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            sum.o[n][0] *= shrink[0];
            sum.o[n][1] *= shrink[0];
            sum.o[n][2] *= shrink[1];
            sum.o[n][3] *= shrink[1];
        }
    }
    p[0] = matrix_unit<T>::pack(s[0][0], s[0][1]);
    p[1] = matrix_unit<T>::pack(s[0][2], s[0][3]);
    p[2] = matrix_unit<T>::pack(s[1][0], s[1][1]);
    p[3] = matrix_unit<T>::pack(s[1][2], s[1][3]);
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t v[4];
        load_matrices_transposed(v, swizzled<D>::further(v_lane, d * 32));
        matrix_unit<T>::multiply(sum.o[2 * d], p, v[0], v[1]);
        matrix_unit<T>::multiply(sum.o[2 * d + 1], p, v[2], v[3]);
    }
}

// The warps' maxima and sums of exponentials, and what each warp's sums are multiplied with.
struct warp_sums {
    float m[WARPS][DECODE_ROWS], l[WARPS][DECODE_ROWS], weight[WARPS + 1][DECODE_ROWS]; // the last weight is the carry's
    float inverse[DECODE_ROWS]; // of l
    int at[DECODE_ROWS];
    int64_t out[DECODE_ROWS]; // where a finished row begins
    bool written[DECODE_ROWS]; // o is
};

template <int D> __device__ __forceinline__ void put_sums(const sums<D> &sum, int warp, float *o, warp_sums &w)
{
    const int lane = (int)threadIdx.x % 32;

    o += warp * DECODE_ROWS * decode<D>::ROW;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = half * 8 + lane / 4;
        float l = sum.l[half];
        l += __shfl_xor_sync(0xffffffff, l, 1);
        l += __shfl_xor_sync(0xffffffff, l, 2);
        if (lane % 4 == 0) {
            w.m[warp][row] = sum.m[half];
            w.l[warp][row] = l;
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            *(float2 *)(o + row * decode<D>::ROW + n * 8 + lane % 4 * 2) =
                make_float2(sum.o[n][2 * half], sum.o[n][2 * half + 1]);
        }
    }
}

// One thread a row: m and l of all warps and the carry, and the weights. A row that saw no key leaves a carry as it is.
__device__ __forceinline__ void weigh_row(const attention_launch &a, const block_task &t, int row, warp_sums &w)
{
    const float factor = a.scale * LOG2_E;
    const int at = head_row(a, t, row);
    float *to_m = t.partial ? t.partial + t.part->rows * a.head_dim + row : a.c.m + at;
    float *to_l = t.partial ? t.partial + t.part->rows * (a.head_dim + 1) + row : a.c.l + at;
    const float before = t.partial || a.is_first ? -INFINITY : unscaled(*to_m, a.scale);
    float m = before, l;

    for (int i = 0; i < WARPS; i++) {
        m = fmaxf(m, w.m[i][row]);
    }
    bool seen = false;
    w.weight[WARPS][row] = before == m ? 1 : before == -INFINITY ? 0 : exp2_fast((before - m) * factor);
    l = t.partial || before == -INFINITY ? 0 : *to_l * w.weight[WARPS][row];
    for (int i = 0; i < WARPS; i++) {
        bool any = w.m[i][row] > -INFINITY;
        seen |= any;
        w.weight[i][row] = any ? exp2_fast((w.m[i][row] - m) * factor) : 0;
        l += w.weight[i][row] * w.l[i][row];
    }
    w.at[row] = at;
    w.out[row] = a.out ? finished_at(a, at) : 0;
    w.inverse[row] = l > 0 ? 1 / l : 0;
    w.written[row] = seen || (!t.partial && (a.is_first || a.out));
    if (t.partial || a.is_first || seen) {
        *to_l = l;
        if (t.partial || a.is_first || m != before) {
            *to_m = m * a.scale;
        }
    }
}

template <int D>
__device__ __forceinline__ void store_sums(const attention_launch &a, const block_task &t, const float *o, const warp_sums &w)
{
    for (int i = (int)threadIdx.x; i < t.rows * D; i += THREADS) {
        int row = i / D, column = i % D;
        if (!w.written[row]) {
            continue;
        }
        float *to = t.partial ? t.partial + i : a.c.o + (int64_t)w.at[row] * D + column;
        float sum = t.partial || a.is_first || w.weight[WARPS][row] == 0 ? 0 : *to * w.weight[WARPS][row];
        for (int j = 0; j < WARPS; j++) {
            sum = fmaf(w.weight[j][row], o[(j * DECODE_ROWS + row) * decode<D>::ROW + column], sum);
        }
        if (a.out && !t.partial) {
            element_store(a.act, a.out, w.out[row] + column, sum * w.inverse[row]);
        } else {
            *to = sum;
        }
    }
}

// Counts the blocks of the pieces of one KV head that have written theirs. True in the last one, which may read all of them.
__device__ __forceinline__ bool is_last_piece(const block_task &t, unsigned *counter)
{
    __shared__ bool last;

    __syncthreads(); // all threads have written
    if (threadIdx.x == 0) {
        unsigned before;
        asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        last = before + 1 == (unsigned)t.part->pieces;
        if (last) {
            *counter = 0; // for the next launch
        }
    }
    __syncthreads();
    return last;
}

// The rows of the block's KV head, from the pieces of all blocks that worked on it.
__device__ __forceinline__ void merge_rows(const attention_launch &a, const block_task &t, float *weights)
{
    const float *first = t.partial - t.piece * partial_floats(t.part->rows, a.head_dim);

#pragma unroll 1
    for (int row = (int)threadIdx.x / 32; row < t.rows; row += WARPS) {
        merge_row<4>(a, row_of_pieces(*t.part, a.head_dim, first, row, head_row(a, t, row)),
                     weights + threadIdx.x / 32 * PIECES_MAX);
    }
}

// All key tiles of the block into the warp's sums. `ring` is the warp's, in shared memory; tiles [STAGES] say what is in it.
//
// The loads of STAGES - 1 tiles come before the first one's products. The walk is a tile ahead of the loads: each of its steps
// may wait for the lists. There is one copy of each piece of code: what runs once a launch has to be fetched.
template <typename T, int D>
__device__ __forceinline__ void attend_keys(const attention_launch &a, const block_task &t, uint32_t ring, warp_tile *tiles,
                                            sums<D> &sum)
{
    constexpr int STAGES = decode<D>::STAGES;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const uint32_t k_lane = ring + swizzled<D>::chunk(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    const uint32_t v_lane = ring + decode<D>::HALF_BYTES + swizzled<D>::chunk(lane % 16, lane / 16);
    uint32_t q[D / 16][4];
    key_walk walk;
    bool waited = false;
    int stage = 0, free = 0; // of the next products, of the next loads

    walk_start(walk, t);
    key_tile ahead = walk_next(walk, a, t);
#pragma unroll 1
    for (int n = 1 - STAGES;; n++) {
        warp_tile tile = {0, 0};
        if (!waited && (n == 0 || !ahead.settled)) {
            overlap_wait(); // until here only lists and keys from before the pass have been read
            waited = true;
        }
        if (n == 0) {
            load_q<D>(a, t, q);
        }
        if (n >= 0) {
            copies_wait<STAGES - 2>();
            __syncwarp(); // the keys are here, and all lanes have left those before them, whose place the next ones take
            tile = tiles[stage];
            if (tile.count == INT32_MIN) {
                break;
            }
        }
        const warp_tile next = load_tile<D>(ahead, warp, ring + free * decode<D>::STAGE_BYTES);
        copies_commit();
        if (lane == 0) {
            tiles[free] = next;
        }
        free = free + 1 == STAGES ? 0 : free + 1;
        if (tile.count > 0) {
            attend<T, D>(a, t, tile, q, k_lane + stage * decode<D>::STAGE_BYTES, v_lane + stage * decode<D>::STAGE_BYTES, sum);
        }
        if (n >= 0) {
            stage = stage + 1 == STAGES ? 0 : stage + 1;
        }
        ahead = walk_next(walk, a, t);
    }
    copies_wait<0>();
}

template <typename T, int D>
__global__ void __launch_bounds__(THREADS, decode<D>::BLOCKS)
    attend_decode(const __grid_constant__ attention_launch a, const attention_long_lists *lists, unsigned *counters)
{
    overlap_begin();
    if ((int)blockIdx.x >= lists->n_blocks) {
        overlap_wait();
        return;
    }
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ warp_sums w;
    __shared__ warp_tile tiles[WARPS][decode<D>::STAGES];
    const block_task t = task_of_block(a, *lists);
    const int warp = (int)threadIdx.x / 32;
    sums<D> sum = {{}, {-INFINITY, -INFINITY}, {}};

    attend_keys<T, D>(a, t, shared_address(shared) + warp * decode<D>::STAGES * decode<D>::STAGE_BYTES, tiles[warp], sum);
    __syncthreads(); // the sums take the place of the keys
    put_sums<D>(sum, warp, (float *)shared, w);
    __syncthreads();
    if ((int)threadIdx.x < t.rows) {
        weigh_row(a, t, (int)threadIdx.x, w);
    }
    __syncthreads();
    store_sums<D>(a, t, (const float *)shared, w);
    if (t.partial && is_last_piece(t, counters + (t.part - lists->parts) * a.n_kv_heads + t.kv_head)) {
        merge_rows(a, t, (float *)shared);
    }
}

template <typename T, int D> cudaError_t load_kernel(int shared_most)
{
    if (decode<D>::SHARED > shared_most) {
        return cudaSuccess; // attention_decode_blocks() says so
    }
    return cudaFuncSetAttribute(attend_decode<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, decode<D>::SHARED);
}

template <typename T, int D>
cudaError_t launch_kernel(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, unsigned blocks,
                          unsigned *counters)
{
    return overlap_launch(stream, blocks, THREADS, decode<D>::SHARED, attend_decode<T, D>, a, lists, counters);
}

template <typename T> cudaError_t load_type(int shared_most)
{
    return for_head_dims([=](auto d) { return load_kernel<T, decltype(d)::value>(shared_most); });
}

template <typename T>
cudaError_t launch_type(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, unsigned blocks,
                        unsigned *counters)
{
    return with_head_dim(a.head_dim,
                         [&](auto d) { return launch_kernel<T, decltype(d)::value>(stream, a, lists, blocks, counters); });
}

} // namespace

int attention_decode_blocks(int32_t head_dim, int shared_most)
{
    return !is_head_dim(head_dim) ? 0 : with_head_dim(head_dim, [=](auto d) {
        return decode<decltype(d)::value>::SHARED <= shared_most ? decode<decltype(d)::value>::BLOCKS : 0;
    });
}

cudaError_t attention_decode_load(int shared_most)
{
    cudaError_t status = load_type<__nv_bfloat16>(shared_most);

    return status ? status : load_type<__half>(shared_most);
}

cudaError_t attention_decode_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                    int32_t blocks, unsigned *counters)
{
    return a->act == DTYPE_BF16 ? launch_type<__nv_bfloat16>(stream, *a, lists, (unsigned)blocks, counters)
                                : launch_type<__half>(stream, *a, lists, (unsigned)blocks, counters);
}
