// Matrices applied to rows of x: a few rows at the rate of memory, on tensor cores; and any shape and type by plain
// multiply-adds, of which a few rows are again read at the rate of memory. Rests on matrix_unit.cuh. Prefill's products are
// cublasLt's: gemm.c.
//
// Budget of a few rows: the matrix is read once (4096 x 4096 in bf16: 33.6 MB, 8.0 us of an H200's 4.2 TB/s), x and y are
// small. Tensor cores are far from busy (one mma of 2,048 multiply-adds for 512 bytes of weights); they are used since 16 rows
// of x would need 8 multiply-adds a byte, which is all that plain ones give beside the conversions. What counts is bytes in
// flight: 64 KB and more a multiprocessor.
// Reached on an H200, one row, bf16, launches in a row, of the 4.3 TB/s of a copy: 66 % at 4096 x 4096 (a launch's start and end
// are 4 of its 12 us), 84 % at 4096 x 14336, 91 % at 28672 x 4096, 98 % at 128256 x 4096; 16 rows: 58, 78, 79, 84 %.
//
// Order of sums: a row's units of 128 weights are dealt to the 8 warps of a block in turn, each sums its own in order, and the
// 8 sums are added in order. That depends on the number of columns only: not on the row, the slice, the other jobs, or the rows
// of x.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/matrix_unit.cuh"

namespace
{

// --- a few rows ---

constexpr int WARPS = 8, TILE_ROWS = 16; // of the matrix, a block
constexpr int CHUNK = 32, CHUNKS = 4;    // weights of a row that four lanes read at once, 16 bytes each; chunks of a unit
constexpr int UNIT = CHUNK * CHUNKS;
constexpr int JOBS = 8; // of one launch

struct small_job {
    const uint16_t *w;
    const float *bias;
    void *y;
    int64_t ldw, ldy;
    int rows, first_tile;
    dtype type;
    bool add;
};

struct small_jobs {
    small_job job[JOBS];
    int n;
};

// Weights are read once: they need not stay in the first-level cache, where x does.
__device__ inline uint4 read_once(const uint16_t *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

// Two rows of the matrix, one unit of each: what a lane holds. Lane 4 g + q has rows g and g + 8, and of every chunk the
// weights [8 q, 8 q + 8). The product's k index is free as long as both sides agree on it, so that eight neighbours in memory
// serve as the two pairs of two products, and no lane has to shuffle.
struct unit {
    uint4 low[CHUNKS], high[CHUNKS];
};

__device__ inline void read_unit(unit &u, const uint16_t *low, const uint16_t *high, int64_t k, int64_t cols)
{
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        bool inside = k + c * CHUNK < cols;
        u.low[c] = inside ? read_once(low + k + c * CHUNK) : make_uint4(0, 0, 0, 0);
        u.high[c] = inside ? read_once(high + k + c * CHUNK) : make_uint4(0, 0, 0, 0);
    }
}

template <bool BF16, int TILES>
__device__ inline void multiply_unit(float (&sum)[TILES][4], const unit &u, const uint16_t *const (&x)[TILES], int64_t k,
                                     int64_t cols)
{
    uint4 b[CHUNKS][TILES];

#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            bool inside = x[t] && k + c * CHUNK < cols;
            b[c][t] = inside ? *reinterpret_cast<const uint4 *>(x[t] + k + c * CHUNK) : make_uint4(0, 0, 0, 0);
        }
    }
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            matrix_unit_of<BF16>::multiply(sum[t], {u.low[c].x, u.high[c].x, u.low[c].y, u.high[c].y}, b[c][t].x, b[c][t].y);
            matrix_unit_of<BF16>::multiply(sum[t], {u.low[c].z, u.high[c].z, u.low[c].w, u.high[c].w}, b[c][t].z, b[c][t].w);
        }
    }
}

// A block takes 16 rows of one matrix, over all columns; TILES times 8 rows of x.
template <bool BF16, int TILES>
__global__ void __launch_bounds__(WARPS * 32, 2)
    small_rows(const __grid_constant__ small_jobs jobs, const uint16_t *x, int64_t ldx, int n, int64_t cols)
{
    __shared__ float sums[WARPS][TILES * 8][TILE_ROWS];
    int j = 0;
    while (j + 1 < jobs.n && (int)blockIdx.x >= jobs.job[j + 1].first_tile) {
        j++;
    }
    const small_job &job = jobs.job[j];
    int row0 = ((int)blockIdx.x - job.first_tile) * TILE_ROWS;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, q = lane % 4;

    // Rows behind the last read the last: their sums are not stored.
    const uint16_t *low = job.w + min(row0 + g, job.rows - 1) * job.ldw,
                   *high = job.w + min(row0 + g + 8, job.rows - 1) * job.ldw;
    const uint16_t *rows[TILES];
    float sum[TILES][4];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        rows[t] = t * 8 + g < n ? x + (t * 8 + g) * ldx : nullptr;
        sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = 0;
    }

    // The loop is the same for all lanes, as the products need all of them.
    unit now, next;
    read_unit(now, low, high, warp * UNIT + q * 8, cols);
    for (int64_t k = warp * UNIT; k < cols; k += WARPS * UNIT) {
        read_unit(next, low, high, k + WARPS * UNIT + q * 8, cols);
        multiply_unit<BF16, TILES>(sum, now, rows, k + q * 8, cols);
        now = next;
    }

#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums[warp][t * 8 + q * 2 + i % 2][g + i / 2 * 8] = sum[t][i];
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n * TILE_ROWS; i += WARPS * 32) {
        int t = i / TILE_ROWS, r = i % TILE_ROWS;
        float all = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            all += sums[w][t][r];
        }
        if (row0 + r < job.rows) {
            put_result(job, t, row0 + r, all);
        }
    }
}

// --- any shape and type ---

// Budget: fp32 multiply-adds, 2 n rows cols of them. Reached on an H200: 13.6 TFLOP/s of 67 at 4096 x 4096 on 4096 rows, enough
// for runs whose purpose is to be exact.
constexpr int SIDE = 64, DEPTH = 16; // a block's tile of y, and columns at a time
constexpr int EACH = 4;              // a thread has EACH x EACH of the tile
constexpr int SPAN = 128;            // columns whose products form one sum, before it joins the others: shorter chains of rounding
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

// A few rows: a warp takes one row of the matrix, and reads it once. Budget: 4 bytes a weight of an F32 run, at the rate of memory;
// x comes from the first-level cache. A lane's sum is that of every 32nd (WIDE) weights in order; the 32 sums are added as a tree.
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
        few_rows<T, WIDE, 1><<<blocks, FEW_WARPS * 32, 0, stream>>>(job, from, ldx, 1, cols);
    } else if (n <= 4) {
        few_rows<T, WIDE, 4><<<blocks, FEW_WARPS * 32, 0, stream>>>(job, from, ldx, (int)n, cols);
    } else {
        few_rows<T, WIDE, CUDA_SMALL_ROWS><<<blocks, FEW_WARPS * 32, 0, stream>>>(job, from, ldx, (int)n, cols);
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
    bool wide = sizeof(T) == 4 && cols % 4 == 0 && job.ldw % 4 == 0 && ldx % 4 == 0 && ((uintptr_t)job.w | (uintptr_t)x) % 16 == 0;

    if (n > CUDA_SMALL_ROWS) {
        many_queue<T>(stream, job, x, ldx, n, cols);
    } else if (wide) {
        few_queue<float, 4>(stream, job, x, ldx, n, cols);
    } else {
        few_queue<T, 1>(stream, job, x, ldx, n, cols);
    }
}

} // namespace

cudaError_t cuda_linear_load(void)
{
    const void *const kernels[] = {(const void *)small_rows<true, 1>,      (const void *)small_rows<true, 2>,
                                   (const void *)small_rows<false, 1>,     (const void *)small_rows<false, 2>,
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

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
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
                              int n_jobs)
{
    const uint16_t *bits = static_cast<const uint16_t *>(x);

    for (int from = 0; from < n_jobs && n > 0;) {
        small_jobs all = {};
        int tiles = 0;
        for (; from < n_jobs && all.n < JOBS; from++) {
            const linear_job *job = &jobs[from];
            if (job->rows == 0) {
                continue;
            }
            all.job[all.n++] = {static_cast<const uint16_t *>(job->w->data) + job->row0 * (int64_t)(job->w->row_bytes / 2),
                                job->bias ? job->bias + job->row0 : nullptr,
                                job->y,
                                (int64_t)(job->w->row_bytes / 2),
                                job->ldy,
                                (int)job->rows,
                                tiles,
                                job->type,
                                job->add};
            tiles += (int)ceil_div(job->rows, TILE_ROWS);
        }
        if (tiles == 0) {
            break;
        }
        int64_t cols = jobs[0].w->cols;
        if (act == DTYPE_BF16 && n <= 8) {
            small_rows<true, 1><<<(unsigned)tiles, WARPS * 32, 0, stream>>>(all, bits, ldx, (int)n, cols);
        } else if (act == DTYPE_BF16) {
            small_rows<true, 2><<<(unsigned)tiles, WARPS * 32, 0, stream>>>(all, bits, ldx, (int)n, cols);
        } else if (n <= 8) {
            small_rows<false, 1><<<(unsigned)tiles, WARPS * 32, 0, stream>>>(all, bits, ldx, (int)n, cols);
        } else {
            small_rows<false, 2><<<(unsigned)tiles, WARPS * 32, 0, stream>>>(all, bits, ldx, (int)n, cols);
        }
    }
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
