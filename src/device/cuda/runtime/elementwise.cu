// Operations on rows: embedding, norms, rotary angles and rotation, the cache's slots, carries, results from elsewhere.
// Rests on element.cuh. The ops stand in device/device.h, their definitions in device/cpu/elementwise_scalar.c.
//
// Budget: every one moves its bytes once through memory (a norm reads its row a second time, from the cache) and computes
// nothing to speak of. Prefill of Llama-3-8B: 8 passes over [n, 4096] and 2 over [n, 14336] a layer, a few percent of its
// matrix products; decode: the time of a launch each.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"

namespace
{

constexpr int THREADS = 256, NORM_THREADS = 1024;
constexpr int64_t GRID_ROWS = 65535; // what a grid's second dimension holds: rows beyond are taken in steps

// Blocks over `items` of a row, and over rows.
dim3 grid_of(int64_t items, int64_t rows)
{
    return dim3((unsigned)ceil_div(items, THREADS), (unsigned)(rows < GRID_ROWS ? rows : GRID_ROWS));
}

template <int V>
__global__ void embed_rows(float *x, dtype type, const char *table, size_t row_bytes, int64_t cols, int64_t n,
                           const int32_t *tokens, const int32_t *made)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    for (int64_t t = blockIdx.y; i < cols && t < n; t += gridDim.y) {
        int32_t token = tokens[t], id = max(token < 0 ? made[-1 - token] : token, 0);
        numbers<V> f = load_numbers<V>(type, table + (size_t)id * row_bytes, i);
        store_numbers<V>(DTYPE_F32, x + t * cols, i, f);
    }
}

// The sum over a block of NORM_THREADS or fewer, in every thread; the order depends on the block's size only.
__device__ float block_sum(float sum)
{
    __shared__ float parts[NORM_THREADS / 32];

    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    sum = threadIdx.x % 32 < blockDim.x / 32 ? parts[threadIdx.x % 32] : 0;
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    return sum;
}

template <int V>
__global__ void __launch_bounds__(NORM_THREADS)
    rms_norm_rows(dtype act, void *out, const float *x, const float *weight, float eps, int64_t d)
{
    int64_t row = (int64_t)blockIdx.x * d;
    float sum = 0;

    for (int64_t i = (int64_t)threadIdx.x * V; i < d; i += (int64_t)blockDim.x * V) {
        numbers<V> f = load_numbers<V>(DTYPE_F32, x + row, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            sum += f.v[j] * f.v[j];
        }
    }
    float by = 1 / sqrtf(block_sum(sum) / (float)d + eps);
    for (int64_t i = (int64_t)threadIdx.x * V; i < d; i += (int64_t)blockDim.x * V) {
        numbers<V> f = load_numbers<V>(DTYPE_F32, x + row, i), w = load_numbers<V>(DTYPE_F32, weight, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            f.v[j] = f.v[j] * by * w.v[j];
        }
        store_numbers<V>(act, out, row + i, f);
    }
}

__global__ void rope_angle_rows(float *cos_out, float *sin_out, const float *inv_freq, int64_t half, float factor,
                                int64_t n, const int64_t *positions)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    for (int64_t t = blockIdx.y; i < half && t < n; t += gridDim.y) {
        float angle = __fmul_rn((float)positions[t], inv_freq[i]);
        cos_out[t * half + i] = factor * cosf(angle);
        sin_out[t * half + i] = factor * sinf(angle);
    }
}

// One pair a thread.
__global__ void rope_rows(dtype act, void *x, int64_t ldx, int64_t n, int32_t heads, int32_t half, const float *cos_in,
                          const float *sin_in, int32_t step, int32_t across)
{
    int64_t pair = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t head = pair / half, i = pair % half;

    for (int64_t t = blockIdx.y; head < heads && t < n; t += gridDim.y) {
        int64_t at = t * ldx + head * 2 * half + i * step;
        float a = element_load(act, x, at), b = element_load(act, x, at + across);
        float c = cos_in[t * half + i], s = sin_in[t * half + i];
        element_store(act, x, at, a * c - b * s);
        element_store(act, x, at + across, b * c + a * s);
    }
}

template <int V>
__global__ void kv_store_rows(void *cache, dtype type, int64_t head_stride, const int64_t *slots, dtype act, const void *x,
                              int64_t ldx, int64_t n, int64_t width, int32_t head_dim)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;
    int64_t head = i / head_dim, e = i % head_dim;

    for (int64_t t = blockIdx.y; i < width && t < n; t += gridDim.y) {
        int64_t slot = slots[t];
        if (slot >= 0) {
            store_numbers<V>(type, cache, (head * head_stride + slot) * head_dim + e, load_numbers<V>(act, x, t * ldx + i));
        }
    }
}

template <int V>
__global__ void silu_mul_rows(dtype act, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    for (int64_t t = blockIdx.y; i < d && t < n; t += gridDim.y) {
        numbers<V> a = load_numbers<V>(act, g, t * ldg + i), b = load_numbers<V>(act, u, t * ldu + i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            a.v[j] = a.v[j] / (1 + expf(-a.v[j])) * b.v[j];
        }
        store_numbers<V>(act, g, t * ldg + i, a);
    }
}

template <int V>
__global__ void copy_rows(dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width, bool add)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    for (int64_t t = blockIdx.y; i < width && t < n; t += gridDim.y) {
        numbers<V> f = load_numbers<V>(type, x, t * ldx + i);
        if (add) {
            numbers<V> old = load_numbers<V>(type, y, t * ldy + i);
#pragma unroll
            for (int j = 0; j < V; j++) {
                f.v[j] = old.v[j] + f.v[j];
            }
        }
        store_numbers<V>(type, y, t * ldy + i, f);
    }
}

template <int V>
__global__ void add_bias_rows(dtype type, void *y, int64_t ldy, const float *sums, int64_t ld_sums, const float *bias,
                              int64_t n, int64_t rows)
{
    int64_t r = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    for (int64_t t = blockIdx.y; r < rows && t < n; t += gridDim.y) {
        numbers<V> f = load_numbers<V>(DTYPE_F32, sums, t * ld_sums + r), b = load_numbers<V>(DTYPE_F32, bias, r);
#pragma unroll
        for (int j = 0; j < V; j++) {
            f.v[j] += b.v[j];
        }
        store_numbers<V>(type, y, t * ldy + r, f);
    }
}

// --- carries: a warp takes one head of one row ---

struct carry_rows {
    float *o, *m, *l;
    int64_t heads; // of all rows
    int32_t head_dim;
};

__device__ int64_t warp_of_grid()
{
    return ((int64_t)blockIdx.x * THREADS + threadIdx.x) / 32;
}

__global__ void carry_clear_heads(carry_rows c)
{
    int64_t i = warp_of_grid();

    if (i >= c.heads) {
        return;
    }
    for (int e = (int)threadIdx.x % 32; e < c.head_dim; e += 32) {
        c.o[i * c.head_dim + e] = 0;
    }
    if (threadIdx.x % 32 == 0) {
        c.m[i] = -INFINITY;
        c.l[i] = 0;
    }
}

__global__ void carry_merge_heads(carry_rows into, carry_rows from)
{
    int64_t i = warp_of_grid();

    if (i >= into.heads || from.l[i] == 0) {
        return;
    }
    float m = into.m[i], l = into.l[i], from_m = from.m[i], from_l = from.l[i];
    bool copies = l == 0, grows = copies || from_m > m;
    // The side with the larger maximum stays as it is, the other shrinks to its scale.
    float mine = grows && !copies ? expf(m - from_m) : 1, theirs = grows ? 1 : expf(from_m - m);
    for (int e = (int)threadIdx.x % 32; e < into.head_dim; e += 32) {
        int64_t at = i * into.head_dim + e;
        into.o[at] = copies ? from.o[at] : into.o[at] * mine + from.o[at] * theirs;
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        into.l[i] = copies ? from_l : l * mine + from_l * theirs;
        into.m[i] = grows ? from_m : m;
    }
}

__global__ void carry_finish_heads(carry_rows c, int32_t n_heads, dtype act, void *out, int64_t ldo)
{
    int64_t i = warp_of_grid();

    if (i >= c.heads) {
        return;
    }
    // Who saw no key has O = 0; that over 1 stays 0.
    float l = c.l[i] == 0 ? 1 : c.l[i];
    for (int e = (int)threadIdx.x % 32; e < c.head_dim; e += 32) {
        element_store(act, out, i / n_heads * ldo + i % n_heads * c.head_dim + e, c.o[i * c.head_dim + e] / l);
    }
}

carry_rows rows_of(const carry *c, const attention_shape *s, int64_t rows)
{
    return {c->o, c->m, c->l, rows * s->n_heads, s->head_dim};
}

unsigned carry_blocks(const carry_rows &c)
{
    return (unsigned)ceil_div(c.heads * 32, THREADS);
}

} // namespace

cudaError_t cuda_elementwise_load(void)
{
    const void *const kernels[] = {
        (const void *)embed_rows<1>,     (const void *)embed_rows<4>,     (const void *)rms_norm_rows<1>,
        (const void *)rms_norm_rows<4>,  (const void *)rope_angle_rows,   (const void *)rope_rows,
        (const void *)kv_store_rows<1>,  (const void *)kv_store_rows<4>,  (const void *)silu_mul_rows<1>,
        (const void *)silu_mul_rows<4>,  (const void *)copy_rows<1>,      (const void *)copy_rows<4>,
        (const void *)add_bias_rows<1>,  (const void *)add_bias_rows<4>,  (const void *)carry_clear_heads,
        (const void *)carry_merge_heads, (const void *)carry_finish_heads};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

cudaError_t cuda_embed(cudaStream_t stream, float *x, const matrix *table, const int32_t *tokens, const int32_t *made,
                       int64_t n)
{
    const char *data = static_cast<const char *>(table->data);
    int64_t cols = table->cols, ld = (int64_t)(table->row_bytes / (table->type == DTYPE_F32 ? 4 : 2));
    bool four = aligned_4(table->type, data, ld | cols) && aligned_4(DTYPE_F32, x, cols);

    if (n == 0) {
        return cudaSuccess;
    }
    if (four) {
        embed_rows<4><<<grid_of(cols / 4, n), THREADS, 0, stream>>>(x, table->type, data, table->row_bytes, cols, n, tokens,
                                                            made);
    } else {
        embed_rows<1><<<grid_of(cols, n), THREADS, 0, stream>>>(x, table->type, data, table->row_bytes, cols, n, tokens,
                                                            made);
    }
    return cudaGetLastError();
}

cudaError_t cuda_rms_norm(cudaStream_t stream, dtype act, void *out, const float *x, const float *weight, float eps, int64_t n,
                          int64_t d)
{
    bool four = aligned_4(act, out, d) && aligned_4(DTYPE_F32, x, d) && aligned_4(DTYPE_F32, weight, d);
    int64_t items = ceil_div(four ? d / 4 : d, 32) * 32;
    unsigned threads = (unsigned)(items < NORM_THREADS ? items : NORM_THREADS);

    if (n == 0) {
        return cudaSuccess;
    }
    if (four) {
        rms_norm_rows<4><<<(unsigned)n, threads, 0, stream>>>(act, out, x, weight, eps, d);
    } else {
        rms_norm_rows<1><<<(unsigned)n, threads, 0, stream>>>(act, out, x, weight, eps, d);
    }
    return cudaGetLastError();
}

cudaError_t cuda_rope_angles(cudaStream_t stream, float *cos, float *sin, const int64_t *positions, int64_t n,
                             const float *inv_freq, int64_t half, float factor)
{
    if (n == 0) {
        return cudaSuccess;
    }
    rope_angle_rows<<<grid_of(half, n), THREADS, 0, stream>>>(cos, sin, inv_freq, half, factor, n, positions);
    return cudaGetLastError();
}

cudaError_t cuda_rope(cudaStream_t stream, dtype act, void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim,
                      const float *cos, const float *sin, rope_style style)
{
    int32_t half = head_dim / 2;

    if (n == 0 || heads == 0) {
        return cudaSuccess;
    }
    rope_rows<<<grid_of((int64_t)heads * half, n), THREADS, 0, stream>>>(
        act, x, ldx, n, heads, half, cos, sin, style == ROPE_HALVES ? 1 : 2, style == ROPE_HALVES ? half : 1);
    return cudaGetLastError();
}

cudaError_t cuda_kv_store(cudaStream_t stream, dtype act, void *cache, dtype type, int64_t head_stride,
                          const int64_t *slots, const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    int64_t width = (int64_t)heads * head_dim;

    if (n == 0 || heads == 0) {
        return cudaSuccess;
    }
    if (aligned_4(act, x, ldx) && aligned_4(type, cache, head_dim)) {
        kv_store_rows<4>
            <<<grid_of(width / 4, n), THREADS, 0, stream>>>(cache, type, head_stride, slots, act, x, ldx, n, width, head_dim);
    } else {
        kv_store_rows<1>
            <<<grid_of(width, n), THREADS, 0, stream>>>(cache, type, head_stride, slots, act, x, ldx, n, width, head_dim);
    }
    return cudaGetLastError();
}

cudaError_t cuda_silu_mul(cudaStream_t stream, dtype act, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n,
                          int64_t d)
{
    if (n == 0 || d == 0) {
        return cudaSuccess;
    }
    if (aligned_4(act, g, ldg | d) && aligned_4(act, u, ldu)) {
        silu_mul_rows<4><<<grid_of(d / 4, n), THREADS, 0, stream>>>(act, g, ldg, u, ldu, n, d);
    } else {
        silu_mul_rows<1><<<grid_of(d, n), THREADS, 0, stream>>>(act, g, ldg, u, ldu, n, d);
    }
    return cudaGetLastError();
}

cudaError_t cuda_copy(cudaStream_t stream, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n,
                      int64_t width, bool add)
{
    if (n == 0 || width == 0) {
        return cudaSuccess;
    }
    if (aligned_4(type, y, ldy | width) && aligned_4(type, x, ldx)) {
        copy_rows<4><<<grid_of(width / 4, n), THREADS, 0, stream>>>(type, y, ldy, x, ldx, n, width, add);
    } else {
        copy_rows<1><<<grid_of(width, n), THREADS, 0, stream>>>(type, y, ldy, x, ldx, n, width, add);
    }
    return cudaGetLastError();
}

cudaError_t cuda_add_bias(cudaStream_t stream, dtype type, void *y, int64_t ldy, const float *sums, int64_t ld_sums,
                          const float *bias, int64_t n, int64_t rows)
{
    if (n == 0 || rows == 0) {
        return cudaSuccess;
    }
    if (aligned_4(type, y, ldy | rows) && aligned_4(DTYPE_F32, sums, ld_sums) && aligned_4(DTYPE_F32, bias, 0)) {
        add_bias_rows<4><<<grid_of(rows / 4, n), THREADS, 0, stream>>>(type, y, ldy, sums, ld_sums, bias, n, rows);
    } else {
        add_bias_rows<1><<<grid_of(rows, n), THREADS, 0, stream>>>(type, y, ldy, sums, ld_sums, bias, n, rows);
    }
    return cudaGetLastError();
}

cudaError_t cuda_carry_clear(cudaStream_t stream, const carry *c, const attention_shape *s, int64_t rows)
{
    carry_rows all = rows_of(c, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    carry_clear_heads<<<carry_blocks(all), THREADS, 0, stream>>>(all);
    return cudaGetLastError();
}

cudaError_t cuda_carry_merge(cudaStream_t stream, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    carry_rows all = rows_of(into, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    carry_merge_heads<<<carry_blocks(all), THREADS, 0, stream>>>(all, rows_of(from, s, rows));
    return cudaGetLastError();
}

cudaError_t cuda_carry_finish(cudaStream_t stream, dtype act, const carry *c, const attention_shape *s, int64_t rows, void *out,
                              int64_t ldo)
{
    carry_rows all = rows_of(c, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    carry_finish_heads<<<carry_blocks(all), THREADS, 0, stream>>>(all, s->n_heads, act, out, ldo);
    return cudaGetLastError();
}
