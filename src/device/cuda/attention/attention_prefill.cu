// Attention for many rows on the matrix unit: a tile of queries past its keys, the sums in registers over all segments.
// Rests on attention_tile.cuh. attention_decode.cu has the form for a few rows, attention_plain.cu that for all other types.
//
// Budget of a block of 128 rows and a tile of 64 keys at head_dim 128: 4.2 million operations, 1024 matrix instructions, 8192
// exponentials, 40 KB read from shared memory by each of 4 warps, 32 KB from the second-level cache. Two blocks share a
// multiprocessor: while one forms exponentials the other multiplies.
#include "device/cuda/attention/attention_tile.cuh"
#include "device/cuda/attention/head_dims.cuh"

namespace
{

template <int D> struct prefill {
    // 32 rows a warp, so that what is read of K and V from shared memory serves two matrix instructions; at 256 the sums of 16
    // rows are all that fits into registers.
    static constexpr int ROW_TILES = D <= 128 ? 2 : 1; // of 16 rows, a warp
    static constexpr int WARPS = PREFILL_ROWS / (16 * ROW_TILES);
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int BLOCKS = D <= 128 ? 2 : 1; // a multiprocessor
    static constexpr bool Q_STAYS = D <= 64;        // in registers
    static constexpr int Q_BYTES = PREFILL_ROWS * 2 * D;
    static constexpr int TILE_BYTES = KEYS_TILE * 2 * D;
    static constexpr int STAGES = 2;
    static constexpr int SHARED = Q_BYTES + STAGES * 2 * TILE_BYTES; // Q, then K and V of each stage
};

// What a thread keeps over all keys: of rows lane / 4 and lane / 4 + 8 of each row tile the columns 8 n + 2 (lane % 4) + {0,
// 1}.
template <int D> struct sums {
    float o[prefill<D>::ROW_TILES][D / 8][4];
    float m[prefill<D>::ROW_TILES][2]; // largest score before the scale
    float l[prefill<D>::ROW_TILES][2]; // this thread's share
};

template <int D> __device__ __forceinline__ void load_q(const attention_launch &a, const block_task &t, uint32_t to)
{
    const uint16_t *q = (const uint16_t *)a.q;

    for (int i = (int)threadIdx.x; i < PREFILL_ROWS * (D / 8); i += prefill<D>::THREADS) {
        int row = i / (D / 8), chunk = i % (D / 8);
        bool real = row < t.rows;
        copy_16(to + swizzled<D>::chunk(row, chunk), q + q_offset(a, t, real ? row : 0) + chunk * 8, real);
    }
}

// K and V of a tile; slots beyond its count become zeros, whatever memory holds there.
template <int D> __device__ __forceinline__ void load_tile(const key_tile &tile, uint32_t to)
{
    using P = prefill<D>;
    constexpr int CHUNKS = D / 8;
    // Where the threads take whole rows, eight or a multiple at once, the swizzle of a thread's chunks is one and the same.
    constexpr bool EVEN = P::THREADS % (8 * CHUNKS) == 0;
    const unsigned char *k = tile.k + threadIdx.x * 16, *v = tile.v + threadIdx.x * 16;
    const int count = tile.count, row = (int)threadIdx.x / CHUNKS, left = count - row;
    const uint32_t place = to + swizzled<D>::chunk(row, (int)threadIdx.x % CHUNKS);

#pragma unroll
    for (int i = 0; i < KEYS_TILE * CHUNKS / P::THREADS; i++) {
        const int step = i * P::THREADS, at = step + (int)threadIdx.x;
        const bool real = EVEN ? step / CHUNKS < left : at / CHUNKS < count;
        const uint32_t here = EVEN ? place + step * 16 : to + swizzled<D>::chunk(at / CHUNKS, at % CHUNKS);
        copy_16(here, k + step * 16, real);
        copy_16(here + P::TILE_BYTES, v + step * 16, real);
    }
}

template <int D>
__device__ __forceinline__ void load_carry(const attention_launch &a, const block_task &t, int warp_row, sums<D> &s)
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = warp_row + r * 16 + half * 8 + lane / 4;
            bool real = !t.partial && row < t.rows;
            int64_t at = real ? head_row(a, t, row) : 0;
            s.m[r][half] = real ? unscaled(a.c.m[at], a.scale) : -INFINITY;
            s.l[r][half] = real && lane % 4 == 0 ? a.c.l[at] : 0;
            // Where nothing has been seen o is 0 and need not be read.
            const float *o = s.m[r][half] > -INFINITY ? a.c.o + at * D + lane % 4 * 2 : nullptr;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                float2 x = o ? *(const float2 *)(o + n * 8) : make_float2(0, 0);
                s.o[r][n][2 * half] = x.x;
                s.o[r][n][2 * half + 1] = x.y;
            }
        }
    }
}

// A row that saw no key is left as it was, bit for bit: its o and l have been multiplied by 1 at most, and m is not written.
template <int D>
__device__ __forceinline__ void store_carry(const attention_launch &a, const block_task &t, int warp_row, const sums<D> &s)
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = warp_row + r * 16 + half * 8 + lane / 4;
            float l = s.l[r][half], m = s.m[r][half];
            l += __shfl_xor_sync(0xffffffff, l, 1);
            l += __shfl_xor_sync(0xffffffff, l, 2);
            if (row >= t.rows) {
                continue;
            }
            float *o, *to_m, *to_l;
            if (t.partial) {
                o = t.partial + row * D;
                to_m = t.partial + t.part->rows * D + row;
                to_l = to_m + t.part->rows;
            } else {
                int64_t at = head_row(a, t, row);
                o = a.c.o + at * D;
                to_m = a.c.m + at;
                to_l = a.c.l + at;
            }
            if (lane % 4 == 0) {
                *to_l = l;
                if (t.partial || m != unscaled(*to_m, a.scale)) {
                    *to_m = m * a.scale;
                }
            }
            if (m == -INFINITY) {
                continue;
            }
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                *(float2 *)(o + n * 8 + lane % 4 * 2) = make_float2(s.o[r][n][2 * half], s.o[r][n][2 * half + 1]);
            }
        }
    }
}

// Scores of a row tile: s[n] are those of keys 8 n + 2 (lane % 4) + {0, 1}.
template <int D> using scores = float[prefill<D>::ROW_TILES][KEYS_TILE / 8][4];

template <typename T, int D>
__device__ __forceinline__ void
multiply_keys(scores<D> &s, uint32_t q_lane, uint32_t k_lane,
              const uint32_t (&q_held)[prefill<D>::ROW_TILES][prefill<D>::Q_STAYS ? D / 16 : 1][4])
{
#pragma unroll
    for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
        for (int n = 0; n < KEYS_TILE / 8; n++) {
            s[r][n][0] = s[r][n][1] = s[r][n][2] = s[r][n][3] = 0;
        }
    }
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t q[prefill<D>::ROW_TILES][4];
#pragma unroll
        for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
            if constexpr (prefill<D>::Q_STAYS) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    q[r][i] = q_held[r][d][i];
                }
            } else {
                load_matrices(q[r], swizzled<D>::further(q_lane, d * 32) + r * 16 * swizzled<D>::BYTES);
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS_TILE / 16; n++) {
            uint32_t k[4];
            load_matrices(k, swizzled<D>::further(k_lane, d * 32) + n * 16 * swizzled<D>::BYTES);
#pragma unroll
            for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
                matrix_unit<T>::multiply(s[r][2 * n], q[r], k[0], k[1]);
                matrix_unit<T>::multiply(s[r][2 * n + 1], q[r], k[2], k[3]);
            }
        }
    }
}

// Keys that a row does not see score -inf. Only on a segment's last tile and where the mask's edge passes.
template <int D>
__device__ __forceinline__ void mask_scores(const attention_launch &a, const block_task &t, const key_tile &tile, int warp_row,
                                            scores<D> &s)
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = warp_row + r * 16 + half * 8 + lane / 4;
            int query = (t.first_row + row) / a.group - t.query0;
            int seen = min(tile.visible + query, tile.count) - lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < KEYS_TILE / 8; n++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    if (n * 8 + i >= seen) {
                        s[r][n][2 * half + i] = -INFINITY;
                    }
                }
            }
        }
    }
}

// The scores become exp(score - m), with m raised to the largest of them and the sums brought to the new m. factor is scale *
// log2(e).
template <int D> __device__ __forceinline__ void soften(scores<D> &s, sums<D> &sum, float factor)
{
    float shrink[prefill<D>::ROW_TILES][2];
    bool shrinks = false;

#pragma unroll
    for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float m = sum.m[r][half];
#pragma unroll
            for (int n = 0; n < KEYS_TILE / 8; n++) {
                m = fmaxf(m, fmaxf(s[r][n][2 * half], s[r][n][2 * half + 1]));
            }
            m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 1));
            m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 2));
            float base = m == -INFINITY ? 0 : m * factor; // -inf - -inf is never formed
            // Exactly 1 where m has not grown: not the rounding of a product against a product.
            shrink[r][half] = m == sum.m[r][half] ? 1 : exp2_fast(fmaf(sum.m[r][half], factor, -base));
            shrinks |= m != sum.m[r][half];
            sum.m[r][half] = m;
            float l = 0;
#pragma unroll
            for (int n = 0; n < KEYS_TILE / 8; n++) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[r][n][i] = exp2_fast(fmaf(s[r][n][i], factor, -base));
                    l += s[r][n][i];
                }
            }
            sum.l[r][half] = fmaf(sum.l[r][half], shrink[r][half], l);
        }
    }
    // After the first tiles most maxima stay as they are.
    if (__any_sync(0xffffffff, shrinks)) {
#pragma unroll
        for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                sum.o[r][n][0] *= shrink[r][0];
                sum.o[r][n][1] *= shrink[r][0];
                sum.o[r][n][2] *= shrink[r][1];
                sum.o[r][n][3] *= shrink[r][1];
            }
        }
    }
}

template <typename T, int D> __device__ __forceinline__ void multiply_values(const scores<D> &p, sums<D> &sum, uint32_t v_lane)
{
#pragma unroll
    for (int n = 0; n < KEYS_TILE / 16; n++) {
        uint32_t left[prefill<D>::ROW_TILES][4];
#pragma unroll
        for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
            left[r][0] = matrix_unit<T>::pack(p[r][2 * n][0], p[r][2 * n][1]);
            left[r][1] = matrix_unit<T>::pack(p[r][2 * n][2], p[r][2 * n][3]);
            left[r][2] = matrix_unit<T>::pack(p[r][2 * n + 1][0], p[r][2 * n + 1][1]);
            left[r][3] = matrix_unit<T>::pack(p[r][2 * n + 1][2], p[r][2 * n + 1][3]);
        }
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            uint32_t v[4];
            load_matrices_transposed(v, swizzled<D>::further(v_lane, d * 32) + n * 16 * swizzled<D>::BYTES);
#pragma unroll
            for (int r = 0; r < prefill<D>::ROW_TILES; r++) {
                matrix_unit<T>::multiply(sum.o[r][2 * d], left[r], v[0], v[1]);
                matrix_unit<T>::multiply(sum.o[r][2 * d + 1], left[r], v[2], v[3]);
            }
        }
    }
}

// What one thread works out for the block. Registers are for the sums.
struct block_walk {
    block_task task;
    key_walk walk;
    key_tile tiles[3]; // the one that is worked on, the one that is loaded, the one that is worked out
};

template <typename T, int D>
__global__ void __launch_bounds__(prefill<D>::THREADS, prefill<D>::BLOCKS)
    attend_prefill(const __grid_constant__ attention_launch a, const __grid_constant__ attention_lists lists)
{
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ block_walk b;
    using P = prefill<D>;
    const block_task &t = b.task;
    const uint32_t q_at = shared_address(shared), kv_at = q_at + P::Q_BYTES;
    const int lane = (int)threadIdx.x % 32, warp_row = (int)threadIdx.x / 32 * (16 * P::ROW_TILES);
    // Row and chunk that a lane names: in Q and V the rows of two matrices, in K the chunks of two.
    const uint32_t q_lane = q_at + swizzled<D>::chunk(warp_row + lane % 16, lane / 16);
    uint32_t k_lane = kv_at + swizzled<D>::chunk(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    uint32_t v_lane = kv_at + P::TILE_BYTES + swizzled<D>::chunk(lane % 16, lane / 16);
    sums<D> sum;
    uint32_t q_held[P::ROW_TILES][P::Q_STAYS ? D / 16 : 1][4];

    if (threadIdx.x == 0) {
        b.task = task_of_block(a, lists);
        walk_start(b.walk, t);
        b.tiles[0] = walk_next(b.walk, a, t);
        b.tiles[1] = walk_next(b.walk, a, t);
    }
    __syncthreads();
    load_q<D>(a, t, q_at);
    load_tile<D>(b.tiles[0], kv_at);
    copies_commit();
    load_carry<D>(a, t, warp_row, sum);
    if constexpr (P::Q_STAYS) {
        copies_wait<0>();
        __syncthreads();
#pragma unroll
        for (int r = 0; r < P::ROW_TILES; r++) {
#pragma unroll
            for (int d = 0; d < D / 16; d++) {
                load_matrices(q_held[r][d], swizzled<D>::further(q_lane, d * 32) + r * 16 * swizzled<D>::BYTES);
            }
        }
    }
    constexpr int STAGE = 2 * P::TILE_BYTES;
    for (int i = 0; b.tiles[i % 3].count; i++) {
        const uint32_t stage = (i & 1) * STAGE;
        copies_wait<0>();
        __syncthreads(); // the tile is here, and all have left the one before it, whose places the next ones take
        if (b.tiles[(i + 1) % 3].count) {
            load_tile<D>(b.tiles[(i + 1) % 3], kv_at + STAGE - stage);
        }
        copies_commit();
        if (threadIdx.x == 0) {
            b.tiles[(i + 2) % 3] = walk_next(b.walk, a, t);
        }
        if (warp_row < t.rows) {
            const key_tile &tile = b.tiles[i % 3];
            scores<D> s;
            multiply_keys<T, D>(s, q_lane, k_lane + stage, q_held);
            if (min(tile.visible, tile.count) < KEYS_TILE) {
                mask_scores<D>(a, t, tile, warp_row, s);
            }
            soften<D>(s, sum, a.scale * LOG2_E);
            multiply_values<T, D>(s, sum, v_lane + stage);
        }
    }
    store_carry<D>(a, t, warp_row, sum);
}

template <typename T, int D> cudaError_t load_kernel(int shared_most)
{
    if (prefill<D>::SHARED > shared_most) {
        return cudaSuccess; // attention_prefill_blocks() says so
    }
    return cudaFuncSetAttribute(attend_prefill<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, prefill<D>::SHARED);
}

template <typename T, int D>
cudaError_t launch_kernel(cudaStream_t stream, const attention_launch &a, const attention_lists &lists)
{
    attend_prefill<T, D><<<(unsigned)lists.n_blocks, prefill<D>::THREADS, prefill<D>::SHARED, stream>>>(a, lists);
    return cudaGetLastError();
}

template <typename T> cudaError_t load_type(int shared_most)
{
    return for_head_dims([=](auto d) { return load_kernel<T, decltype(d)::value>(shared_most); });
}

template <typename T> cudaError_t launch_type(cudaStream_t stream, const attention_launch &a, const attention_lists &lists)
{
    return with_head_dim(a.head_dim, [&](auto d) { return launch_kernel<T, decltype(d)::value>(stream, a, lists); });
}

} // namespace

int attention_prefill_blocks(int32_t head_dim, int shared_most)
{
    return !is_head_dim(head_dim) ? 0 : with_head_dim(head_dim, [=](auto d) {
        return prefill<decltype(d)::value>::SHARED <= shared_most ? prefill<decltype(d)::value>::BLOCKS : 0;
    });
}

cudaError_t attention_prefill_load(int shared_most)
{
    cudaError_t status = load_type<__nv_bfloat16>(shared_most);

    return status ? status : load_type<__half>(shared_most);
}

cudaError_t attention_prefill_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists)
{
    return a->act == DTYPE_BF16 ? launch_type<__nv_bfloat16>(stream, *a, *lists) : launch_type<__half>(stream, *a, *lists);
}
