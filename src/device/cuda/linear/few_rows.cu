// Matrices applied to rows of x: a few rows at the rate of memory, on tensor cores; and any shape and type by plain
// multiply-adds, of which a few rows are again read at the rate of memory. Rests on matrix_unit.cuh. Prefill's products are
// cublasLt's: gemm.c.
//
// Budget of a few rows: the matrix is read once (4096 x 4096 in bf16: 33.6 MB, 8.0 us of an H200's 4.2 TB/s), x and y are
// small. Tensor cores are far from busy (one mma of 2,048 multiply-adds for 512 bytes of weights); they are used since 16 rows
// of x would need 8 multiply-adds a byte, which is all that plain ones give beside the conversions. Decisive are bytes in
// flight: 64 KB and more a multiprocessor; 128 KB here, in shared memory.
// With 64 KB in registers an H200 reached, one row, bf16, launches in a row, of the 4.3 TB/s of a copy: 66 % at 4096 x 4096 (a
// launch's start and end were 4 of its 12 us), 84 % at 4096 x 14336, 91 % at 28672 x 4096, 98 % at 128256 x 4096. What decoding
// gained since: docs/dev/kernels.md.
//
// Order of sums: a row's units of 128 weights are dealt to the 8 warps of a block in turn, each sums its own in order, and the
// 8 sums are added in order. That depends on the number of columns only: not on the row, the slice, the other jobs, or the rows
// of x.
#include "device/cuda/linear/norm_input.cuh"
#include "device/cuda/runtime/copies.cuh"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/matrix_unit.cuh"
#include "device/cuda/runtime/overlap.cuh"
#include "device/cuda/runtime/packets.cuh"

namespace
{

// --- a few rows ---

constexpr int WARPS = 8, TILE_ROWS = 16; // of the matrix, a block
constexpr int CHUNK = 32, CHUNKS = 4;    // weights of a row that four lanes read at once, 16 bytes each; chunks of a unit
constexpr int UNIT = CHUNK * CHUNKS;
constexpr int STAGES = 3; // units of a warp in shared memory: one is multiplied, two are on their way
constexpr int JOBS = 8; // of one launch

// What is made of the rows of a product whose results are heads to be rotated and stored.
enum small_side : uint8_t { ANY, QUERIES, KEYS, VALUES };

// Where such results go, as in the op rope_store. `across`: rows of a matrix between the two of a pair.
struct small_rotation {
    const float *cos, *sin; // [n, half]
    const int64_t *slots;
    void *k, *v;
    int64_t head_stride;
    int half, across;
    dtype type;
};

// With `up`, a matrix of the same shape, the result is silu(w x) * (up x): a tile has eight rows of each then. Of heads whose
// pairs are half a head apart it has eight rows of either half.
struct small_job {
    const uint16_t *w, *up;
    const float *bias, *up_bias;
    void *y;
    int64_t ldw, ldy;
    int rows, first_tile;
    dtype type;
    bool add;
    small_side side;
};

struct small_jobs {
    small_job job[JOBS];
    int n;
};

// The kernel for them is a form of its own, so that other products have no register and no parameter more.
struct rotated_jobs : small_jobs {
    small_rotation rotation;
};

// Of a ring: a rank's blocks have some of the tiles, and exchange their results with those of the others.
struct exchanged_heads : rotated_jobs {
    packet_heads heads;
};

// So is the one for a job whose results are a rank's part of sums: its blocks exchange them with the other ranks.
struct summed_jobs : small_jobs {
    packet_sums sums;
};

template <typename JOBS> constexpr bool rotates = std::is_base_of_v<rotated_jobs, JOBS>;
template <typename JOBS> constexpr bool exchanges_heads = std::is_same_v<JOBS, exchanged_heads>;
template <typename JOBS> constexpr bool exchanges = std::is_same_v<JOBS, summed_jobs>;

// A lane's part of a unit: of two rows of the matrix, and of every chunk, 16 bytes. Lane 4 g + q has rows g and g + 8, and of
// every chunk the weights [8 q, 8 q + 8). The product's k index is free as long as both sides agree on it, so that eight
// neighbours in memory serve as the two pairs of two products, and no lane has to shuffle: each reads its own copies
// itself.
struct unit {
    uint4 low[CHUNKS][32], high[CHUNKS][32];
};

struct ring {
    unit of[WARPS][STAGES];
};

// Columns from k on, which a lane counts from its own first: those at or behind `end` become 0.
__device__ inline void copy_unit(unit &to, const uint16_t *low, const uint16_t *high, int k, int end, int lane)
{
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        bool inside = k + c * CHUNK < end;
        copy_16(shared_address(&to.low[c][lane]), low + k + c * CHUNK, inside);
        copy_16(shared_address(&to.high[c][lane]), high + k + c * CHUNK, inside);
    }
}

// A lane's factors of a unit, of rows g, g + 8, ... of x.
template <int TILES> struct unit_of_x {
    uint4 b[CHUNKS][TILES];
};

template <int TILES> __device__ inline void read_x(unit_of_x<TILES> &to, const uint16_t *const (&x)[TILES], int k, int end)
{
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            bool inside = x[t] && k + c * CHUNK < end;
            to.b[c][t] = inside ? *reinterpret_cast<const uint4 *>(x[t] + k + c * CHUNK) : make_uint4(0, 0, 0, 0);
        }
    }
}

template <bool BF16, int TILES>
__device__ inline void multiply_unit(float (&sum)[TILES][4], const unit &u, const unit_of_x<TILES> &x, int lane)
{
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        uint4 low = u.low[c][lane], high = u.high[c][lane];
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            const uint4 &b = x.b[c][t];
            matrix_unit_of<BF16>::multiply(sum[t], {low.x, high.x, low.y, high.y}, b.x, b.y);
            matrix_unit_of<BF16>::multiply(sum[t], {low.z, high.z, low.w, high.w}, b.z, b.w);
        }
    }
}

struct small_tile {
    const small_job &job;
    int row0;
};

template <typename JOBS> __device__ inline small_tile tile_of(const JOBS &jobs, int block)
{
    int j = 0;

    while (j + 1 < jobs.n && block >= jobs.job[j + 1].first_tile) {
        j++;
    }
    const small_job &job = jobs.job[j];
    const int at = (block - job.first_tile) * (TILE_ROWS / 2);
    if constexpr (rotates<JOBS>) {
        const int half = jobs.rotation.half;
        return {job, jobs.rotation.across > 1 ? at / half * 2 * half + at % half : 2 * at};
    }
    return {job, job.up ? at : 2 * at};
}

// Row r of a tile. Rows behind the last read the last: their sums are not stored.
template <typename JOBS> __device__ inline const uint16_t *row_of(const JOBS &jobs, const small_tile &t, int r)
{
    if constexpr (rotates<JOBS>) {
        bool second = r >= TILE_ROWS / 2 && jobs.rotation.across > 1;
        return t.job.w + (t.row0 + r + (second ? jobs.rotation.half - TILE_ROWS / 2 : 0)) * t.job.ldw;
    }
    bool second = t.job.up && r >= TILE_ROWS / 2;

    return (second ? t.job.up : t.job.w) + min(t.row0 + (second ? r - TILE_ROWS / 2 : r), t.job.rows - 1) * t.job.ldw;
}

// Results of row r of a tile and of row r + 8, which is up's, from sums of row t of x: the bits that silu_mul makes of both,
// rounded.
__device__ inline void put_gated(const small_job &job, int t, int r, float gate, float up)
{
    float a = element_rounded(job.type, gate + (job.bias ? job.bias[r] : 0.0f));
    float b = element_rounded(job.type, up + (job.up_bias ? job.up_bias[r] : 0.0f));

    element_store(job.type, job.y, t * job.ldy + r, silu_times(a, b));
}

// A pair of a head: the bits that rope_store_rows makes of both results, rounded.
struct small_pair {
    int row;        // of the matrix, of its first number
    float cos, sin;
    int64_t slot;
};

// The angle and the place of pair i of a tile, for row t of x.
__device__ inline small_pair pair_of(const rotated_jobs &jobs, const small_tile &tile, int i, int t)
{
    const small_rotation &to = jobs.rotation;
    small_pair p = {tile.row0 + (to.across > 1 ? i : 2 * i), 1, 0, 0};
    const int64_t at = (int64_t)t * to.half + p.row % (2 * to.half) / (to.across > 1 ? 1 : 2);

    if (tile.job.side != VALUES) {
        p.cos = to.cos[at];
        p.sin = to.sin[at];
    }
    if (tile.job.side != QUERIES) {
        p.slot = to.slots[t];
    }
    return p;
}

__device__ inline float2 rotated(const small_job &job, const small_rotation &to, const small_pair &p, float a, float b)
{
    a = element_rounded(job.type, a + (job.bias ? job.bias[p.row] : 0.0f));
    b = element_rounded(job.type, b + (job.bias ? job.bias[p.row + to.across] : 0.0f));
    if (job.side == VALUES) {
        return {a, b};
    }
    return {element_rounded(job.type, a * p.cos - b * p.sin), element_rounded(job.type, b * p.cos + a * p.sin)};
}

__device__ inline void put_pair(const small_job &job, const small_rotation &to, int t, const small_pair &p, float2 x)
{
    const int head_dim = 2 * to.half, row = p.row;

    if (job.side == QUERIES) {
        element_store(job.type, job.y, t * job.ldy + row, x.x);
        element_store(job.type, job.y, t * job.ldy + row + to.across, x.y);
    } else if (p.slot >= 0) {
        void *side = job.side == KEYS ? to.k : to.v;
        const int64_t at = (row / head_dim * to.head_stride + p.slot) * head_dim + row % head_dim;
        element_store(to.type, side, at, x.x);
        element_store(to.type, side, at + to.across, x.y);
    }
}

// Pair i of row t of the tiles that this block has: tile k of this rank's, to all others, ...
__device__ inline uint32_t packet_of(int k, int i, int t, int n)
{
    return (uint32_t)((k * (TILE_ROWS / 2) + i) * n + t);
}

// ... and the tiles of the others, as many blocks as there are apart.
__device__ inline void put_others(const exchanged_heads &jobs, int i, int t, int n, uint64_t number)
{
    const packet_links &l = jobs.heads.links;

#pragma unroll 1
    for (int r = 0; r < l.n; r++) {
#pragma unroll 1
        for (int k = jobs.heads.tiles[r] + (int)blockIdx.x; r != l.rank && k < jobs.heads.tiles[r + 1]; k += (int)gridDim.x) {
            const small_tile tile = tile_of(jobs, k);
            const small_pair pair = pair_of(jobs, tile, i, t);
            const uint64_t data = await_packet(l, packet_of(k, i, t, n), number);
            put_pair(tile.job, jobs.rotation, t, pair, {low_of(data), high_of(data)});
        }
    }
}

// A rank's part of y[t, row] goes to the others; with theirs it is added to y, which was `before`.
__device__ inline void put_exchanged(const packet_sums &s, int t, int row, float before, float part, uint64_t number)
{
    const uint32_t at = (uint32_t)(t * s.width + row);

    sums_push(s, number, at, part);
    s.y[t * s.ldy + row] = sums_await(s, number, at, part, before);
}

// A thread's result, from the sums of all warps; `before`: its addend, where there is one.
template <int TILES, typename JOBS>
__device__ inline void put_sums(const JOBS &jobs, const small_tile &tile, const float (*sums)[TILES * 8][TILE_ROWS],
                                int x_row, int row, float before, const small_pair &pair, uint64_t number, int n)
{
    const small_job &job = tile.job;
    auto sum_of = [&](int r) {
        float all = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            all += sums[w][x_row][r];
        }
        return all;
    };
    int r = row - tile.row0;

    if constexpr (rotates<JOBS>) {
        bool apart = jobs.rotation.across > 1;
        const float2 x = rotated(job, jobs.rotation, pair, sum_of(apart ? r : 2 * r),
                                 sum_of(apart ? r + TILE_ROWS / 2 : 2 * r + 1));
        if constexpr (exchanges_heads<JOBS>) {
            const packet_heads &h = jobs.heads;
            push_packet(h.links, packet_of(h.tiles[h.links.rank] + (int)blockIdx.x, r, x_row, n), packed(x.x, x.y), number);
            put_pair(job, jobs.rotation, x_row, pair, x);
            put_others(jobs, r, x_row, n, number);
        } else {
            put_pair(job, jobs.rotation, x_row, pair, x);
        }
    } else if constexpr (exchanges<JOBS>) {
        put_exchanged(jobs.sums, x_row, row, before, sum_of(r) + (job.bias ? job.bias[row] : 0.0f), number);
    } else if (job.up) {
        put_gated(job, x_row, row, sum_of(r), sum_of(r + TILE_ROWS / 2));
    } else if (job.add) {
        float v = sum_of(r) + (job.bias ? job.bias[row] : 0.0f);
        static_cast<float *>(job.y)[x_row * job.ldy + row] = before + v;
    } else {
        put_result(job, x_row, row, sum_of(r));
    }
}

// The first tile of this rank.
template <typename JOBS> __device__ inline int first_tile_of(const JOBS &jobs)
{
    if constexpr (exchanges_heads<JOBS>) {
        return jobs.heads.tiles[jobs.heads.links.rank];
    }
    return 0;
}

// What a result is added to, and the number of the kernel's exchange.
template <typename JOBS> __device__ inline float before_of(const JOBS &jobs, const small_job &job, int t, int row)
{
    if constexpr (exchanges<JOBS>) {
        return jobs.sums.y[t * jobs.sums.ldy + row];
    }
    return job.add ? static_cast<const float *>(job.y)[t * job.ldy + row] : 0;
}

template <typename JOBS> __device__ inline uint64_t exchange_of(const JOBS &jobs)
{
    if constexpr (exchanges<JOBS>) {
        return number_of(jobs.sums.links);
    } else if constexpr (exchanges_heads<JOBS>) {
        return number_of(jobs.heads.links);
    }
    return 0;
}

// A block takes 16 rows of one matrix, over all columns; TILES times 8 rows of x. Weights go through shared memory, so that two
// units of a warp are on their way without a register, wherever the first-level cache has no room for them.
template <bool BF16, int TILES, typename JOBS>
__global__ void __launch_bounds__(WARPS * 32, 2)
    small_rows(const __grid_constant__ JOBS jobs, const uint16_t *x, int64_t ldx, int n, int cols,
               const __grid_constant__ cuda_norm_input norm)
{
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ float norm_parts[32];
    auto *normed = reinterpret_cast<uint16_t *>(shared + sizeof(ring)); // where a norm is given
    constexpr int STEP = WARPS * UNIT;
    overlap_begin();
    const small_tile tile = tile_of(jobs, first_tile_of(jobs) + (int)blockIdx.x);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, q = lane % 4, end = cols - q * 8;
    const uint16_t *low = row_of(jobs, tile, g) + q * 8, *high = row_of(jobs, tile, g + 8) + q * 8;
    unit *units = reinterpret_cast<ring *>(shared)->of[warp];
    const uint16_t *rows[TILES];
    float sum[TILES][4] = {};

#pragma unroll 1 // code that runs once has to be fetched
    for (int s = 0; s < STAGES - 1; s++) {
        copy_unit(units[s], low, high, warp * UNIT + s * STEP, end, lane);
        copies_commit();
    }
    norm_input_ahead(norm);
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        rows[t] = t * 8 + g < n ? (norm.x ? normed : x) + (t * 8 + g) * ldx + q * 8 : nullptr;
    }
    static_assert(CUDA_SMALL_ROWS * TILE_ROWS <= WARPS * 32, "a result a thread");
    const int width = rotates<JOBS> || tile.job.up ? TILE_ROWS / 2 : TILE_ROWS, row = tile.row0 + (int)threadIdx.x % width;
    const int x_row = (int)threadIdx.x / width;
    const bool mine = x_row < n && row < tile.job.rows;
    unit_of_x<TILES> x_now, x_next;
    overlap_wait();
    if (norm.x) {
        norm_input_make<BF16>(norm, normed, norm_parts);
    }
    const float before = mine ? before_of(jobs, tile.job, x_row, row) : 0;
    const uint64_t number = exchange_of(jobs);
    small_pair pair = {};
    if constexpr (rotates<JOBS>) {
        pair = mine ? pair_of(jobs, tile, (int)threadIdx.x % width, x_row) : pair;
    }
    read_x<TILES>(x_now, rows, warp * UNIT, end);
    // The loop is the same for all lanes, as the products need all of them.
    for (int k = warp * UNIT, now = 0, free = STAGES - 1; k < cols; k += STEP) {
        copies_wait<STAGES - 2>();
        copy_unit(units[free], low, high, k + (STAGES - 1) * STEP, end, lane);
        copies_commit();
        read_x<TILES>(x_next, rows, k + STEP, end);
        multiply_unit<BF16, TILES>(sum, units[now], x_now, lane);
        x_now = x_next;
        free = now;
        now = now + 1 == STAGES ? 0 : now + 1;
    }
    copies_wait<0>();
    __syncthreads(); // the sums take the place of the weights
    auto *sums = reinterpret_cast<float(*)[TILES * 8][TILE_ROWS]>(shared);
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums[warp][t * 8 + q * 2 + i % 2][g + i / 2 * 8] = sum[t][i];
        }
    }
    __syncthreads();
    if (mine) {
        put_sums<TILES>(jobs, tile, sums, x_row, row, before, pair, number, n);
    }
}

// --- any shape and type ---

// Budget: fp32 multiply-adds, 2 n rows cols of them. Reached on an H200: 13.6 TFLOP/s of 67 at 4096 x 4096 on 4096 rows, enough
// for runs whose purpose is to be exact.
constexpr int SIDE = 64, DEPTH = 16; // a block's tile of y, and columns at a time
constexpr int EACH = 4;              // a thread has EACH x EACH of the tile
constexpr int SPAN = 128; // columns whose products form one sum, before it joins the others: shorter chains of rounding
constexpr int PLAIN_THREADS = SIDE / EACH * (SIDE / EACH);

struct plain_job {
    const void *w;
    const float *bias;
    void *y;
    int64_t ldw, ldy, rows;
    dtype type;
    bool add;
};

template <typename T> __device__ inline float to_float(T v);
template <> __device__ inline float to_float(float v)
{
    return v;
}
template <> __device__ inline float to_float(__half v)
{
    return __half2float(v);
}
template <> __device__ inline float to_float(__nv_bfloat16 v)
{
    return __bfloat162float(v);
}

// Rows [row0, row0 + SIDE) and columns [k, k + DEPTH) of a matrix into a tile, columns first; zeros outside.
template <typename T>
__device__ inline void read_tile(float (&tile)[DEPTH][SIDE + 4], const T *from, int64_t ld, int64_t row0, int64_t rows,
                                 int64_t k, int64_t cols)
{
#pragma unroll
    for (int i = (int)threadIdx.x; i < SIDE * DEPTH; i += PLAIN_THREADS) {
        int r = i / DEPTH, c = i % DEPTH;
        bool inside = row0 + r < rows && k + c < cols;
        tile[c][r] = inside ? to_float(from[(row0 + r) * ld + k + c]) : 0.0f;
    }
}

template <typename T>
__global__ void __launch_bounds__(PLAIN_THREADS)
    plain_rows(const __grid_constant__ plain_job job, const T *x, int64_t ldx, int64_t n, int64_t cols)
{
    __shared__ float w_tile[DEPTH][SIDE + 4], x_tile[DEPTH][SIDE + 4];
    const T *w = static_cast<const T *>(job.w);
    int64_t row0 = (int64_t)blockIdx.x * SIDE, t0 = (int64_t)blockIdx.y * SIDE;
    int r = (int)threadIdx.x % (SIDE / EACH) * EACH, t = (int)threadIdx.x / (SIDE / EACH) * EACH;
    float all[EACH][EACH] = {}, sum[EACH][EACH] = {};

    for (int64_t k = 0; k < cols; k += DEPTH) {
        read_tile(w_tile, w, job.ldw, row0, job.rows, k, cols);
        read_tile(x_tile, x, ldx, t0, n, k, cols);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; c++) {
            float4 a = *reinterpret_cast<const float4 *>(&w_tile[c][r]), b = *reinterpret_cast<const float4 *>(&x_tile[c][t]);
            float aw[EACH] = {a.x, a.y, a.z, a.w}, bx[EACH] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < EACH; i++) {
#pragma unroll
                for (int j = 0; j < EACH; j++) {
                    sum[i][j] = fmaf(bx[i], aw[j], sum[i][j]);
                }
            }
        }
        __syncthreads();
        if ((k + DEPTH) % SPAN == 0 || k + DEPTH >= cols) {
#pragma unroll
            for (int i = 0; i < EACH * EACH; i++) {
                all[i / EACH][i % EACH] += sum[i / EACH][i % EACH];
                sum[i / EACH][i % EACH] = 0;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < EACH * EACH; i++) {
        int64_t row = row0 + r + i % EACH;
        if (row < job.rows && t0 + t + i / EACH < n) {
            put_result(job, t0 + t + i / EACH, row, all[i / EACH][i % EACH]);
        }
    }
}

// A few rows: a warp takes one row of the matrix, and reads it once. Budget: 4 bytes a weight in F32, at memory's
// rate; x is read from the first-level cache. A lane's sum is that of every 32nd (WIDE) weights in order; the 32 sums are added
// as a tree.
constexpr int FEW_WARPS = 8, FEW_UNROLL = 4;

template <typename T, int WIDE> __device__ inline void read_some(float (&to)[WIDE], const T *from)
{
    if constexpr (WIDE == 4) {
        float4 v = *reinterpret_cast<const float4 *>(from);
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
        to[0] = to_float(*from);
    }
}

template <typename T, int WIDE, int ROWS>
__global__ void __launch_bounds__(FEW_WARPS * 32)
    few_rows(const __grid_constant__ plain_job job, const T *x, int64_t ldx, int n, int64_t cols)
{
    int64_t row = (int64_t)blockIdx.x * FEW_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;

    overlap_begin_and_wait(); // weights may be what another kernel has made of blocks
    if (row >= job.rows) {
        return;
    }
    const T *w = static_cast<const T *>(job.w) + row * job.ldw;
    float sum[ROWS] = {};

    for (int64_t k = lane * WIDE; k < cols; k += 32 * WIDE * FEW_UNROLL) {
        float a[FEW_UNROLL][WIDE] = {};
#pragma unroll
        for (int u = 0; u < FEW_UNROLL; u++) {
            if (k + u * 32 * WIDE < cols) {
                read_some<T, WIDE>(a[u], w + k + u * 32 * WIDE);
            }
        }
#pragma unroll
        for (int t = 0; t < ROWS; t++) {
            const T *at = x + min(t, n - 1) * ldx + k; // rows behind the last are not stored
#pragma unroll
            for (int u = 0; u < FEW_UNROLL; u++) {
                if (k + u * 32 * WIDE < cols) {
                    float b[WIDE];
                    read_some<T, WIDE>(b, at + u * 32 * WIDE);
#pragma unroll
                    for (int i = 0; i < WIDE; i++) {
                        sum[t] = fmaf(a[u][i], b[i], sum[t]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int t = 0; t < ROWS; t++) {
#pragma unroll
        for (int far = 16; far; far /= 2) {
            sum[t] += __shfl_xor_sync(~0u, sum[t], far);
        }
        if (lane == t && t < n) {
            put_result(job, t, row, sum[t]);
        }
    }
}

int64_t bytes_of_element(dtype type)
{
    return type == DTYPE_F32 ? 4 : 2;
}

template <typename T, int WIDE>
void few_queue(cudaStream_t stream, const plain_job &job, const void *x, int64_t ldx, int64_t n, int64_t cols)
{
    unsigned blocks = (unsigned)ceil_div(job.rows, FEW_WARPS);
    const T *from = static_cast<const T *>(x);

    if (n == 1) {
        overlap_launch(stream, blocks, FEW_WARPS * 32, 0, few_rows<T, WIDE, 1>, job, from, ldx, 1, cols);
    } else if (n <= 4) {
        overlap_launch(stream, blocks, FEW_WARPS * 32, 0, few_rows<T, WIDE, 4>, job, from, ldx, (int)n, cols);
    } else {
        overlap_launch(stream, blocks, FEW_WARPS * 32, 0, few_rows<T, WIDE, CUDA_SMALL_ROWS>, job, from, ldx, (int)n, cols);
    }
}

template <typename T>
void many_queue(cudaStream_t stream, const plain_job &job, const void *x, int64_t ldx, int64_t n, int64_t cols)
{
    dim3 grid((unsigned)ceil_div(job.rows, SIDE), (unsigned)ceil_div(n, SIDE));

    plain_rows<<<grid, PLAIN_THREADS, 0, stream>>>(job, static_cast<const T *>(x), ldx, n, cols);
}

template <typename T>
void plain_queue(cudaStream_t stream, const plain_job &job, const void *x, int64_t ldx, int64_t n, int64_t cols)
{
    bool wide =
        sizeof(T) == 4 && cols % 4 == 0 && job.ldw % 4 == 0 && ldx % 4 == 0 && ((uintptr_t)job.w | (uintptr_t)x) % 16 == 0;

    if (n > CUDA_SMALL_ROWS) {
        many_queue<T>(stream, job, x, ldx, n, cols);
    } else if (wide) {
        few_queue<float, 4>(stream, job, x, ldx, n, cols);
    } else {
        few_queue<T, 1>(stream, job, x, ldx, n, cols);
    }
}

small_job small_of(const linear_job *job)
{
    int64_t ldw = (int64_t)(job->w->row_bytes / 2);

    return {static_cast<const uint16_t *>(job->w->data) + job->row0 * ldw,
            nullptr,
            job->bias ? job->bias + job->row0 : nullptr,
            nullptr,
            job->y,
            ldw,
            job->ldy,
            (int)job->rows,
            0,
            job->type,
            job->add,
            ANY};
}

template <typename JOBS>
void small_queue(cudaStream_t stream, dtype act, const JOBS &jobs, int tiles, const void *x, int64_t ldx, int64_t n,
                 int64_t cols, const cuda_norm_input *norm)
{
    const cuda_norm_input none = {};
    auto *kernel = n <= 8 ? small_rows<false, 1, JOBS> : small_rows<false, 2, JOBS>;

    if (act == DTYPE_BF16) {
        kernel = n <= 8 ? small_rows<true, 1, JOBS> : small_rows<true, 2, JOBS>;
    }
    if (tiles > 0 && n > 0) {
        const size_t normed = norm ? norm->d * sizeof(uint16_t) : 0;
        overlap_launch(stream, (unsigned)tiles, WARPS * 32, sizeof(ring) + normed, kernel, jobs,
                       static_cast<const uint16_t *>(x), ldx, (int)n, (int)cols, norm ? *norm : none);
    }
}

} // namespace

cudaError_t cuda_linear_load(void)
{
    const void *const kernels[] = {(const void *)small_rows<true, 1, small_jobs>,
                                   (const void *)small_rows<true, 2, small_jobs>,
                                   (const void *)small_rows<false, 1, small_jobs>,
                                   (const void *)small_rows<false, 2, small_jobs>,
                                   (const void *)small_rows<true, 1, rotated_jobs>,
                                   (const void *)small_rows<true, 2, rotated_jobs>,
                                   (const void *)small_rows<false, 1, rotated_jobs>,
                                   (const void *)small_rows<false, 2, rotated_jobs>,
                                   (const void *)small_rows<true, 1, exchanged_heads>,
                                   (const void *)small_rows<true, 2, exchanged_heads>,
                                   (const void *)small_rows<false, 1, exchanged_heads>,
                                   (const void *)small_rows<false, 2, exchanged_heads>,
                                   (const void *)small_rows<true, 1, summed_jobs>,
                                   (const void *)small_rows<true, 2, summed_jobs>,
                                   (const void *)small_rows<false, 1, summed_jobs>,
                                   (const void *)small_rows<false, 2, summed_jobs>,
                                   (const void *)plain_rows<float>,        (const void *)plain_rows<__half>,
                                   (const void *)plain_rows<__nv_bfloat16>,
                                   (const void *)few_rows<float, 4, 1>,    (const void *)few_rows<float, 4, 4>,
                                   (const void *)few_rows<float, 4, CUDA_SMALL_ROWS>,
                                   (const void *)few_rows<float, 1, 1>,    (const void *)few_rows<float, 1, 4>,
                                   (const void *)few_rows<float, 1, CUDA_SMALL_ROWS>,
                                   (const void *)few_rows<__half, 1, 1>,   (const void *)few_rows<__half, 1, 4>,
                                   (const void *)few_rows<__half, 1, CUDA_SMALL_ROWS>,
                                   (const void *)few_rows<__nv_bfloat16, 1, 1>,
                                   (const void *)few_rows<__nv_bfloat16, 1, 4>,
                                   (const void *)few_rows<__nv_bfloat16, 1, CUDA_SMALL_ROWS>};

    cudaError_t status = load_kernels(kernels, sizeof kernels / sizeof *kernels);
    for (int i = 0; i < 16 && status == cudaSuccess; i++) { /* small_rows */
        status = cudaFuncSetAttribute(kernels[i], cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      (int)sizeof(ring) + CUDA_NORM_INPUT_MOST * 2);
    }
    return status;
}

bool cuda_linear_small_can(dtype act, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    bool can = act != DTYPE_F32 && n <= CUDA_SMALL_ROWS && ldx % 8 == 0 && (uintptr_t)x % 16 == 0;

    for (int j = 0; j < n_jobs; j++) {
        const matrix *w = jobs[j].w;
        can = can && w->cols % 8 == 0 && w->row_bytes % 16 == 0 && (uintptr_t)w->data % 16 == 0;
    }
    return can;
}

cudaError_t cuda_linear_small(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                              int n_jobs, const cuda_norm_input *norm)
{
    for (int from = 0; from < n_jobs && n > 0;) {
        small_jobs all = {};
        int tiles = 0;
        for (; from < n_jobs && all.n < JOBS; from++) {
            if (jobs[from].rows > 0) {
                all.job[all.n] = small_of(&jobs[from]);
                all.job[all.n++].first_tile = tiles;
                tiles += (int)ceil_div(jobs[from].rows, TILE_ROWS);
            }
        }
        small_queue(stream, act, all, tiles, x, ldx, n, jobs[0].w->cols, norm);
        norm = tiles > 0 ? nullptr : norm; // the first launch leaves it at x
    }
    return cudaGetLastError();
}

cudaError_t cuda_linear_small_gated(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                    const linear_job *gate, const linear_job *up, const cuda_norm_input *norm)
{
    small_jobs all = {};
    small_job second = small_of(up);

    all.job[all.n++] = small_of(gate);
    all.job[0].up = second.w;
    all.job[0].up_bias = second.bias;
    small_queue(stream, act, all, (int)ceil_div(gate->rows, TILE_ROWS / 2), x, ldx, n, gate->w->cols, norm);
    return cudaGetLastError();
}

bool cuda_linear_small_rotates(const rotation *rows, dtype act, int32_t head_dim, const linear_job jobs[])
{
    const int64_t heads[] = {rows->heads - rows->kv_heads, rows->kv_heads, rows->kv_heads};
    int64_t at = 0;
    bool can = head_dim % TILE_ROWS == 0;

    for (int j = 0; j < 3; at += heads[j++] * head_dim) {
        const linear_job *job = &jobs[j];
        can = can && job->rows == heads[j] * head_dim && job->type == act && !job->add && job->ldy == rows->ld &&
              job->y == static_cast<char *>(rows->x) + at * bytes_of_element(act);
    }
    return can;
}

cudaError_t cuda_linear_small_rotated(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                      const linear_job jobs[], const cuda_norm_input *norm, const rotation *rows, void *k,
                                      void *v, dtype type, int64_t head_stride, const int64_t *slots, int32_t head_dim,
                                      const packet_links *links)
{
    static const small_side sides[] = {QUERIES, KEYS, VALUES};
    const int half = head_dim / 2;
    exchanged_heads all = {};
    int tiles = 0;

    all.rotation = {rows->cos, rows->sin, slots, k, v, head_stride, half, rows->style == ROPE_HALVES ? half : 1, type};
    for (; all.n < 3; all.n++) {
        all.job[all.n] = small_of(&jobs[all.n]);
        all.job[all.n].side = sides[all.n];
        all.job[all.n].first_tile = tiles;
        tiles += (int)(jobs[all.n].rows / TILE_ROWS);
    }
    if (links->n == 0) {
        small_queue<rotated_jobs>(stream, act, all, tiles, x, ldx, n, jobs[0].w->cols, norm);
        return cudaGetLastError();
    }
    all.heads.links = *links;
    for (int r = 0; r <= links->n; r++) {
        all.heads.tiles[r] = tiles * r / links->n;
    }
    tiles = all.heads.tiles[links->rank + 1] - all.heads.tiles[links->rank];
    small_queue(stream, act, all, tiles, x, ldx, n, jobs[0].w->cols, norm);
    return cudaGetLastError();
}

bool cuda_linear_small_exchanges(int n_sms, int n_ranks, const linear_job jobs[])
{
    const int64_t rows = jobs[0].rows + jobs[1].rows + jobs[2].rows, tiles = rows / TILE_ROWS;

    return tiles >= n_ranks && cuda_linear_small_resident(n_sms, ceil_div(tiles, n_ranks) * TILE_ROWS);
}

bool cuda_linear_small_resident(int n_sms, int64_t rows)
{
    int blocks = 0;

    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small_rows<true, 2, summed_jobs>, WARPS * 32,
                                                         sizeof(ring)) == cudaSuccess &&
           ceil_div(rows, TILE_ROWS) <= (int64_t)blocks * n_sms;
}

cudaError_t cuda_linear_small_exchanged(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                        const linear_job *job, const packet_sums *sums)
{
    summed_jobs all = {};

    all.job[all.n++] = small_of(job);
    all.sums = *sums;
    small_queue(stream, act, all, (int)ceil_div(job->rows, TILE_ROWS), x, ldx, n, job->w->cols, nullptr);
    return cudaGetLastError();
}

cudaError_t cuda_linear_plain(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n, const linear_job *job)
{
    const matrix *w = job->w;
    int64_t ldw = (int64_t)w->row_bytes / bytes_of_element(act);
    plain_job one = {static_cast<const char *>(w->data) + job->row0 * (int64_t)w->row_bytes,
                     job->bias ? job->bias + job->row0 : nullptr,
                     job->y,
                     ldw,
                     job->ldy,
                     job->rows,
                     job->type,
                     job->add};

    if (n == 0 || job->rows == 0) {
        return cudaSuccess;
    }
    if (act == DTYPE_F32) {
        plain_queue<float>(stream, one, x, ldx, n, w->cols);
    } else if (act == DTYPE_F16) {
        plain_queue<__half>(stream, one, x, ldx, n, w->cols);
    } else {
        plain_queue<__nv_bfloat16>(stream, one, x, ldx, n, w->cols);
    }
    return cudaGetLastError();
}
