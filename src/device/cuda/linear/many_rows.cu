// 17 to 128 rows of x through matrices of stored blocks, on Hopper: blocks are read once, as they lie, while tensor cores
// multiply. Rests on hopper.cuh and blocks.cuh. Fewer rows: blocks.cu; more, and other cards: block_rows.cu and gemm.c.
//
// A block of threads has 128 rows of matrices and all rows of x. A producer warp asks for blocks and x by bulk copies, a stage
// of 256 columns at a time. Two warpgroups multiply 64 rows each, weights as the left side: each warp forms the elements of its
// tile of 16 rows, rounded to the run's type as in prefill, in registers. A quarter's eight neighbours in memory are the k
// indices of two products (few_rows.cu tells why): the columns of x are put in that order beforehand.
//
// Budget of Q4_K: 5.7 instructions a weight, of which an H200 issues 3.8 in the time of reading it at 4.2 TB/s; at 64 rows of x
// products take as long as 4 of them, at 128 as 8. x comes from the second-level cache.
//
// Where tiles are fewer than multiprocessors the columns are divided among the 2, 4 or 8 blocks of a cluster, which add up
// their sums from each other's shared memory. Order of sums: the columns in order within a block, the blocks in order. How many
// blocks follows from the rows of all jobs and the card.
#include "device/cuda/attention/cuda_attention.h"
#include "device/cuda/attention/hopper.cuh"
#include "device/cuda/linear/blocks.cuh"
#include "device/cuda/runtime/copies.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/matrix_unit.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

using namespace blocks;

constexpr int JOBS = 4;                           // of one launch
constexpr int TILE = 64;                          // rows of a warpgroup
constexpr int PANEL = 64; // columns of x that one box of a copy brings
[[maybe_unused]] constexpr int PANEL_ROW = 2 * PANEL; // bytes; unused where the kernel is empty
constexpr int WARPGROUPS = 2, WARPS = 4 * WARPGROUPS, ROWS = TILE * WARPGROUPS; // of a block
constexpr int THREADS = 32 * WARPS + 32;          // with the producer
constexpr int SHARED_MOST = 224 << 10, SHARED_HALF = 112 << 10, BARRIER_BYTES = 1024; // of a multiprocessor's 228 KB

struct many_job {
    const unsigned char *w;
    const float *bias;
    void *y;
    int64_t ldy;
    int all_rows, row0, rows, start, first_tile; // of the matrix; the slice; where its tiles begin; tiles of jobs before it
    dtype type;
    bool add;
};

struct many_launch {
    CUtensorMap x;
    many_job job[JOBS];
    int64_t row_bytes;
    int n_jobs, tiles, n, cols, stages, split; // of all jobs; rows of x; columns; stages of them; blocks of a cluster
    bool gated; // of two jobs of one shape: silu(the first's result) * the second's
};

constexpr int least(int a, int b)
{
    return a < b ? a : b;
}

// How a block of threads works on N rows of x.
template <typename F, int N> struct form {
    static constexpr int TILE_BYTES = 512 * (F::LOW + F::HIGH) + TILE_ROWS * (F::SCALE + F::SUPER); // 16 rows of a unit
    static constexpr int X_BYTES = N * 2 * UNIT;                                                    // of a stage
    static constexpr int COPIED = X_BYTES + WARPS * TILE_BYTES, STAGE = (COPIED + 1023) / 1024 * 1024;
    static constexpr int LD = ROWS + 4, SUMS = N * LD * 4; // floats of a row of sums, so that stores meet all banks
    static constexpr bool TWO = 2 * STAGE + BARRIER_BYTES <= SHARED_HALF && SUMS <= SHARED_HALF; // blocks a multiprocessor
    static constexpr int RESIDENT = TWO && N < 128 ? 2 : 1;
    static constexpr int STAGES = least(((RESIDENT == 2 ? SHARED_HALF : SHARED_MOST) - BARRIER_BYTES) / STAGE, 8);
    static constexpr int BARRIERS = STAGES * STAGE > SUMS ? STAGES * STAGE : (SUMS + 1023) / 1024 * 1024;
    static constexpr int SHARED = BARRIERS + BARRIER_BYTES;
    static_assert(STAGES >= 2 && SHARED <= SHARED_MOST, "fits");
};

constexpr int CLUSTER = 8, LEAST = 2; // blocks at most; stages of a block at least

#if HOPPER_CODE

// The 64 rows of a warpgroup.
struct place {
    const many_job *job;
    int row;   // of the matrix
    bool real; // otherwise a repetition of the last one, whose results nobody stores

    __device__ static place of(const many_launch &l, int block, int warpgroup)
    {
        const int number = l.gated ? block * (WARPGROUPS / 2) + warpgroup / 2 : block * WARPGROUPS + warpgroup;
        const int tile = min(number, l.tiles - 1);
        int j = 0;

        if (l.gated) {
            j = warpgroup % 2;
        } else {
            while (j + 1 < l.n_jobs && tile >= l.job[j + 1].first_tile) {
                j++;
            }
        }
        const many_job &job = l.job[j];
        return {&job, job.start + (tile - (l.gated ? 0 : job.first_tile)) * TILE, number < l.tiles};
    }
};

// What all threads of a block know.
struct here {
    uint32_t shared, full, empty; // where the stages begin, and the barriers of each
    int block, rank, begin, count; // of the grid's clusters; of the cluster; the stages of columns that are the block's
    int warp, lane;

    __device__ uint32_t at(uint32_t barriers, int i) const
    {
        return barriers + (uint32_t)i * 8;
    }
};

// --- the producer: a warp ---

template <typename F, int N> struct producer {
    using S = form<F, N>;
    const many_launch &l;
    const here &h;
    place to;            // of the lane, which asks for a warp's tile
    uint64_t keep, pass; // x is read by all blocks, weights by one

    __device__ producer(const many_launch &launch, const here &all)
        : l(launch), h(all), to(place::of(launch, all.block, min(all.lane / 4, WARPGROUPS - 1))),
          keep(hopper::policy_keep()), pass(hopper::policy_pass())
    {
    }

    __device__ uint32_t stage(int i) const
    {
        return h.shared + (uint32_t)(i % S::STAGES * S::STAGE);
    }

    __device__ void weights(int i) const
    {
        const uint32_t full = h.at(h.full, i % S::STAGES), at = stage(i) + S::X_BYTES;

        if (h.lane == 0) {
            hopper::arrive_expecting(full, S::COPIED);
        }
        if (h.lane < WARPS) {
            const int unit = h.begin + i, tiles = to.job->all_rows / TILE_ROWS;
            const tile<F> t(to.job->w, l.row_bytes, to.job->all_rows, l.cols, min(to.row / TILE_ROWS + h.lane % 4, tiles - 1));
            uint32_t into = at + (uint32_t)(h.lane * S::TILE_BYTES);
            auto plane = [&](const unsigned char *from, int bytes) {
                hopper::copy_bytes(into, from + unit * bytes, (uint32_t)bytes, full, pass);
                into += (uint32_t)bytes;
            };
            plane(t.base, 512 * F::LOW);
            if constexpr (F::HIGH > 0) {
                plane(t.base + t.high_at(), 512 * F::HIGH);
            }
            plane(t.base + t.scale_at(), TILE_ROWS * F::SCALE);
            if constexpr (F::SUPER > 0) {
                plane(t.base + t.super_at(), TILE_ROWS * F::SUPER);
            }
        }
    }

    __device__ void x(int i) const
    {
        if (h.lane < UNIT / PANEL) {
            hopper::copy_box(stage(i) + (uint32_t)(h.lane * N * PANEL_ROW), &l.x, h.at(h.full, i % S::STAGES),
                             (h.begin + i) * UNIT + h.lane * PANEL, 0, 0, keep);
        }
    }

    // Weights before the wait, x after it.
    __device__ void run() const
    {
        const int ahead = min(S::STAGES, h.count);

        for (int i = 0; i < ahead; i++) {
            weights(i);
        }
        overlap_wait();
        for (int i = 0; i < ahead; i++) {
            x(i);
        }
        for (int i = ahead; i < h.count; i++) {
            hopper::wait(h.at(h.empty, i % S::STAGES), (uint32_t)(i / S::STAGES - 1) & 1);
            weights(i);
            x(i);
        }
    }
};

// --- a consumer: a warpgroup ---

// The same in all threads of a warp: descriptors are formed by the unit that works once a warp.
__device__ __forceinline__ uint32_t uniform(uint32_t x)
{
    return __shfl_sync(0xffffffff, x, 0);
}

template <int WORDS> __device__ inline void read_words(uint32_t *to, const unsigned char *from)
{
    if constexpr (WORDS % 4 == 0) {
#pragma unroll
        for (int w = 0; w < WORDS; w += 4) {
            const uint4 v = *reinterpret_cast<const uint4 *>(from + 4 * w);
            to[w] = v.x, to[w + 1] = v.y, to[w + 2] = v.z, to[w + 3] = v.w;
        }
    } else {
#pragma unroll
        for (int w = 0; w < WORDS; w++) {
            to[w] = *reinterpret_cast<const uint32_t *>(from + 4 * w);
        }
    }
}

// Quarter q of a row of a unit, from its planes one behind the other.
template <typename F>
__device__ inline void read_quarter(quarter<F, false> &r, const unsigned char *unit, int row, int q)
{
    const unsigned char *scales = unit + 512 * (F::LOW + F::HIGH) + row * F::SCALE;

#pragma unroll
    for (int p = 0; p < F::LOW / 2; p++) {
        read_words<4>(r.low + 4 * p, unit + ((p * TILE_ROWS + row) * 4 + q) * 16);
    }
    if constexpr (F::HIGH > 0) {
        read_words<2 * F::HIGH>(r.high, unit + 512 * F::LOW + (row * 4 + q) * 8 * F::HIGH);
    }
    read_words<quarter<F, false>::WORDS>(r.scale, scales);
    if constexpr (F::SUPER > 0) {
        const unsigned char *d = unit + 512 * (F::LOW + F::HIGH) + TILE_ROWS * F::SCALE + row * F::SUPER;
        r.super = F::SUPER == 4 ? *reinterpret_cast<const uint32_t *>(d) : read_half(d);
    }
}

template <typename F, bool BF16, int N> struct consumer {
    using S = form<F, N>;
    using T = std::conditional_t<BF16, __nv_bfloat16, __half>;
    static constexpr int DONE = 1; // the barrier of all consumers
    const many_launch &l;
    const here &h;
    unsigned char *shared;

    __device__ void leave(int i) const
    {
        if (h.lane == 0) {
            hopper::arrive(h.at(h.empty, i % S::STAGES));
        }
    }

    __device__ void stage(float (&sum)[N / 2], uint32_t at, int i) const
    {
        using unit_of = matrix_unit_of<BF16>;
        const hopper::descriptor b = hopper::describe_rows<PANEL>(uniform(at));
        const unsigned char *unit = shared + (i % S::STAGES * S::STAGE + S::X_BYTES + h.warp * S::TILE_BYTES);
        quarter<F, false> r[2];

        read_quarter(r[0], unit, h.lane / 4, h.lane % 4);
        read_quarter(r[1], unit, h.lane / 4 + 8, h.lane % 4);
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            const int s = g / 2, j = group_of<F>(s, g % 2), from = j / 2 * N * PANEL_ROW + j % 2 * 64;
            float low[8], high[8];
            elements_of(low, r[0], share_of(r[0], s), j);
            elements_of(high, r[1], share_of(r[1], s), j);
            const uint32_t first[4] = {unit_of::pack(low[0], low[1]), unit_of::pack(high[0], high[1]),
                                       unit_of::pack(low[2], low[3]), unit_of::pack(high[2], high[3])};
            const uint32_t second[4] = {unit_of::pack(low[4], low[5]), unit_of::pack(high[4], high[5]),
                                        unit_of::pack(low[6], low[7]), unit_of::pack(high[6], high[7])};
            hopper::products_begin();
            hopper::product<T, N>::registers(sum, first, b.at(from));
            hopper::product<T, N>::registers(sum, second, b.at(from + 32));
            hopper::products_commit();
            hopper::products_wait<1>();
        }
        hopper::products_wait<0>();
        leave(i);
    }

    __device__ void run() const
    {
        float sum[N / 2] = {};

        overlap_wait();
        for (int i = 0; i < h.count; i++) {
            hopper::wait(h.at(h.full, i % S::STAGES), (uint32_t)(i / S::STAGES) & 1);
            const uint32_t at = h.shared + (uint32_t)(i % S::STAGES * S::STAGE);
            stage(sum, at, i);
        }
        hopper::products_wait<0>();
        hopper::pin(sum);
        hopper::turn_wait(DONE, 32 * WARPS); // the sums take the place of the stages
        float *to = reinterpret_cast<float *>(shared) + h.lane % 4 * 2 * S::LD + h.warp * TILE_ROWS + h.lane / 4;
#pragma unroll
        for (int j = 0; j < N / 2; j++) {
            to[(j / 4 * 8 + j % 2) * S::LD + j % 4 / 2 * 8] = sum[j];
        }
    }
};

// --- the end: sums of all blocks of the cluster, each block for some rows of x, each thread for four rows of the matrix ---

constexpr int EACH = 4;

template <typename F, int N> struct ending {
    using S = form<F, N>;
    const many_launch &l;
    const here &h;
    const float *sums; // the block's own

    __device__ numbers<EACH> sum_of(int t, int row) const
    {
        const int at = t * S::LD + row;
        float4 part[CLUSTER], all;

        if (l.split == 1) {
            all = *reinterpret_cast<const float4 *>(sums + at);
            return {{all.x, all.y, all.z, all.w}};
        }
#pragma unroll
        for (int rank = 0; rank < CLUSTER; rank++) {
            part[rank] = rank < l.split ? hopper::load_of_block(h.shared + (uint32_t)at * 4, rank) : float4{};
        }
        all = part[0];
#pragma unroll
        for (int rank = 1; rank < CLUSTER; rank++) {
            all = {all.x + part[rank].x, all.y + part[rank].y, all.z + part[rank].z, all.w + part[rank].w};
        }
        return {{all.x, all.y, all.z, all.w}};
    }

    // Results r to r + 3 of row t of x; those outside of the slice are nobody's.
    __device__ static void put(const many_job &job, int t, int r, numbers<EACH> sum)
    {
        const int64_t at = t * job.ldy + r;
        const uintptr_t apart = job.type == DTYPE_F32 ? 16 : 8, first = (uintptr_t)job.y + (uintptr_t)at * (apart / EACH);

        if (r < 0 || r + EACH > job.rows || first % apart != 0) {
            for (int i = 0; i < EACH; i++) {
                if (r + i >= 0 && r + i < job.rows) {
                    put_result(job, t, r + i, sum.v[i]);
                }
            }
            return;
        }
        const numbers<EACH> before = job.add ? load_numbers<EACH>(DTYPE_F32, job.y, at) : numbers<EACH>{};
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            sum.v[i] += job.bias ? job.bias[r + i] : 0.0f;
            sum.v[i] = job.add ? before.v[i] + sum.v[i] : sum.v[i];
        }
        store_numbers<EACH>(job.type, job.y, at, sum);
    }

    // Of a pair of tiles: the bits that silu_mul makes of both results, rounded.
    __device__ numbers<EACH> gated(const many_job &gate, const many_job &up, int t, int row, int r) const
    {
        numbers<EACH> a = sum_of(t, row), b = sum_of(t, row + TILE);

#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const bool real = r + i >= 0 && r + i < gate.rows;
            a.v[i] = element_rounded(gate.type, a.v[i] + (gate.bias && real ? gate.bias[r + i] : 0.0f));
            b.v[i] = element_rounded(up.type, b.v[i] + (up.bias && real ? up.bias[r + i] : 0.0f));
            a.v[i] = silu_times(a.v[i], b.v[i]);
        }
        return a;
    }

    __device__ void run() const
    {
        const int begin = l.n * h.rank / l.split, n = l.n * (h.rank + 1) / l.split - begin;
        const int wide = (l.gated ? ROWS / 2 : ROWS) / EACH;

        for (int i = (int)threadIdx.x; i < n * wide; i += THREADS) {
            const int t = begin + i / wide, at = i % wide * EACH;
            const int row = l.gated ? at / TILE * 2 * TILE + at % TILE : at;
            const place p = place::of(l, h.block, row / TILE);
            const int r = p.row + row % TILE - p.job->row0;
            if (!p.real) {
                continue;
            }
            if (l.gated) {
                many_job gate = *p.job;
                const numbers<EACH> made = gated(gate, l.job[1], t, row, r);
                gate.bias = nullptr; // is in
                put(gate, t, r, made);
            } else {
                put(*p.job, t, r, sum_of(t, row));
            }
        }
    }
};

#endif

template <typename F, bool BF16, int N>
__global__ void __launch_bounds__(THREADS, form<F, N>::RESIDENT)
    many_rows(const __grid_constant__ many_launch l)
{
#if HOPPER_CODE
    using S = form<F, N>;
    extern __shared__ __align__(1024) unsigned char shared[];
    const uint32_t at = shared_address(shared), full = at + S::BARRIERS;
    const int rank = (int)blockIdx.x % l.split, begin = l.stages * rank / l.split;
    const here h = {at, full, full + S::STAGES * 8, (int)blockIdx.x / l.split, rank, begin,
                    l.stages * (rank + 1) / l.split - begin, (int)threadIdx.x / 32, (int)threadIdx.x % 32};

    overlap_begin();
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            hopper::barrier_init(h.at(h.full, i), 1);
            hopper::barrier_init(h.at(h.empty, i), WARPS);
        }
        hopper::barriers_ready();
    }
    __syncthreads();
    if (h.warp == WARPS) {
        producer<F, N>(l, h).run();
        __syncwarp();
    } else {
        consumer<F, BF16, N>{l, h, shared}.run();
    }
    hopper::cluster_wait(); // all sums are there
    ending<F, N>{l, h, reinterpret_cast<const float *>(shared)}.run();
    __syncwarp();
    hopper::cluster_wait(); // and have been read
#endif
}

// --- the columns of x in the order of a quarter's ---

constexpr int ORDER_THREADS = 256;

// A thread takes what a quarter of a group of 32 has: columns 2 i and 2 i + 1 of its eight become 8 i + 2 q and the next.
template <int GROUP>
__global__ void __launch_bounds__(ORDER_THREADS) order_columns(uint16_t *to, const uint16_t *x, int64_t ldx, int cols)
{
    const int at = (int)(blockIdx.x * ORDER_THREADS + threadIdx.x), group = at / 4, q = at % 4, t = (int)blockIdx.y;

    overlap_begin_and_wait();
    if (at * 8 >= cols) {
        return;
    }
    const uint16_t *from = x + t * ldx + group * 32;
    uint2 a, b;
    if (GROUP == 32) {
        const uint4 all = *reinterpret_cast<const uint4 *>(from + 8 * q);
        a = make_uint2(all.x, all.y), b = make_uint2(all.z, all.w);
    } else {
        a = *reinterpret_cast<const uint2 *>(from + 4 * q), b = *reinterpret_cast<const uint2 *>(from + 16 + 4 * q);
    }
    uint32_t *out = reinterpret_cast<uint32_t *>(to + (int64_t)t * cols + group * 32) + q;
    out[0] = a.x, out[4] = a.y, out[8] = b.x, out[12] = b.y;
}

// --- launches ---

template <typename F, bool BF16, int N> cudaError_t load_one(void)
{
    const void *kernel = (const void *)many_rows<F, BF16, N>;
    cudaError_t status = load_kernels(&kernel, 1);

    return status ? status : cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, form<F, N>::SHARED);
}

template <typename F> cudaError_t load_format(void)
{
    cudaError_t status = cudaSuccess;

    for (auto load : {load_one<F, true, 32>, load_one<F, true, 64>, load_one<F, true, 128>, load_one<F, false, 32>,
                      load_one<F, false, 64>, load_one<F, false, 128>}) {
        status = status ? status : load();
    }
    return status;
}

template <typename F, bool BF16, int N> cudaError_t launch_one(const cuda_device *dev, many_launch &l)
{
    using S = form<F, N>;
    const int blocks = (int)(l.gated ? ceil_div(l.tiles, WARPGROUPS / 2) : ceil_div(l.tiles, WARPGROUPS));
    cudaLaunchAttribute attributes[2] = {};
    cudaLaunchConfig_t config = {};

    l.stages = (int)ceil_div(l.cols, UNIT);
    l.split = 1;
    while (l.split < CLUSTER && 2 * l.split * blocks <= dev->n_sms * S::RESIDENT && l.stages >= 2 * l.split * LEAST) {
        l.split *= 2;
    }
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = (unsigned)l.split;
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3((unsigned)(blocks * l.split));
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = S::SHARED;
    config.stream = dev->stream;
    config.attrs = attributes;
    config.numAttrs = 2;
    return cudaLaunchKernelEx(&config, many_rows<F, BF16, N>, l);
}

template <typename F> cudaError_t launch_format(const cuda_device *dev, many_launch &l)
{
    if (dev->base.act == DTYPE_BF16) {
        return l.n <= 32   ? launch_one<F, true, 32>(dev, l)
               : l.n <= 64 ? launch_one<F, true, 64>(dev, l)
                           : launch_one<F, true, 128>(dev, l);
    }
    return l.n <= 32   ? launch_one<F, false, 32>(dev, l)
           : l.n <= 64 ? launch_one<F, false, 64>(dev, l)
                       : launch_one<F, false, 128>(dev, l);
}

// Of the rows that order_x leaves.
cudaError_t map_x(const cuda_device *dev, int64_t cols, int64_t n, int box, CUtensorMap *map)
{
    const uint64_t bytes = 2 * (uint64_t)cols;
    const tensor t = {dev->scratch, {(uint64_t)cols, (uint64_t)n, 1}, {bytes, bytes}, {PANEL, (uint32_t)box, 1}};

    return tensor_map_make(cuda_map_encoder(dev), dev->base.act, &t, map);
}

// As many jobs as one launch takes. Returns how many those were.
int list_jobs(const linear_job jobs[], int n_jobs, many_launch *l)
{
    int taken = 0;

    for (; taken < n_jobs && l->n_jobs < JOBS; taken++) {
        const linear_job *job = &jobs[taken];
        const matrix *w = job->w;
        if (job->rows == 0) {
            continue;
        }
        const int64_t start = job->row0 / TILE_ROWS * TILE_ROWS;
        l->job[l->n_jobs] = {static_cast<const unsigned char *>(w->data),
                             job->bias ? job->bias + job->row0 : nullptr,
                             job->y,
                             job->ldy,
                             (int)w->rows,
                             (int)job->row0,
                             (int)job->rows,
                             (int)start,
                             l->tiles,
                             job->type,
                             job->add};
        l->n_jobs++;
        l->tiles += (int)ceil_div(job->row0 + job->rows - start, TILE);
    }
    return taken;
}

// Leaves the columns of x as a kernel of these weights wants them in the scratch, dense.
void order_x(const cuda_device *dev, const matrix *w, const void *x, int64_t ldx, int64_t n)
{
    const dim3 grid((unsigned)ceil_div(w->cols / 8, ORDER_THREADS), (unsigned)n);
    with_format(w->type, [&](auto format) {
        constexpr int GROUP = decltype(format)::GROUP;
        overlap_launch(dev->stream, grid, ORDER_THREADS, 0, order_columns<GROUP>, static_cast<uint16_t *>(dev->scratch),
                       static_cast<const uint16_t *>(x), ldx, (int)w->cols);
    });
}

} // namespace

cudaError_t cuda_many_load(void)
{
    const void *const order[] = {(const void *)order_columns<16>, (const void *)order_columns<32>};
    cudaError_t status = load_kernels(order, 2);

    if (!overlap_can()) { // no clusters, and less shared memory
        return status;
    }
    for (int type = 0; type < DTYPE_COUNT && status == cudaSuccess; type++) {
        with_format((dtype)type, [&](auto format) { status = load_format<decltype(format)>(); });
    }
    return status;
}

bool cuda_many_can(const cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    bool can = cuda_map_encoder(dev) && dev->base.act != DTYPE_F32 && n > CUDA_SMALL_ROWS && n <= CUDA_MANY_ROWS &&
               ldx % 8 == 0 && (uintptr_t)x % 16 == 0;

    for (int j = 0; can && j < n_jobs; j++) {
        const matrix *w = jobs[j].w;
        can = (uintptr_t)w->data % 16 == 0 && w->type == jobs[0].w->type && dtype_block_elements(w->type) > 1 &&
              w->rows % TILE_ROWS == 0 && w->cols % UNIT == 0 && (size_t)(2 * n * w->cols) <= dev->scratch_bytes;
    }
    return can;
}

cudaError_t cuda_many(const cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs,
                      bool gated)
{
    const matrix *w = jobs[0].w;
    const int box = n <= 32 ? 32 : n <= 64 ? 64 : 128;
    cudaError_t status = cudaSuccess;

    order_x(dev, w, x, ldx, n);
    for (int at = 0; at < n_jobs && status == cudaSuccess;) {
        many_launch l = {};
        l.n = (int)n;
        l.cols = (int)w->cols;
        l.row_bytes = (int64_t)w->row_bytes;
        l.gated = gated;
        status = map_x(dev, w->cols, n, box, &l.x);
        at += list_jobs(jobs + at, n_jobs - at, &l);
        l.tiles = gated ? l.tiles / 2 : l.tiles;
        if (l.tiles > 0 && status == cudaSuccess) {
            with_format(w->type, [&](auto format) { status = launch_format<decltype(format)>(dev, l); });
        }
    }
    return status;
}
