// Operations on rows: embedding, norms, rotary angles and rotation, the cache's slots, carries, results from elsewhere.
// Rests on element.cuh. The ops stand in device/device.h, their definitions in device/cpu/elementwise_scalar.c.
//
// Budget: every one moves its bytes once through memory (a norm reads its row a second time, from the cache) and computes
// nothing to speak of. Prefill of Llama-3-8B: 8 passes over [n, 4096] and 2 over [n, 14336] a layer, a few percent of its
// matrix products; decode: the time of a launch each.
#include "device/cuda/runtime/carry.cuh"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/overlap.cuh"

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
                           const int32_t *tokens, const int32_t *made, float scale)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; i < cols && t < n; t += gridDim.y) {
        int32_t token = tokens[t], id = max(token < 0 ? made[-1 - token] : token, 0);
        numbers<V> f = load_numbers<V>(type, table + (size_t)id * row_bytes, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            f.v[j] *= scale;
        }
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

// Of each thread the first elements stay in registers, their weights are read before the wait.
template <int V>
__global__ void __launch_bounds__(NORM_THREADS)
    rms_norm_rows(dtype act, void *out, const float *x, const float *weight, float eps, int64_t d)
{
    int64_t row = (int64_t)blockIdx.x * d, first = (int64_t)threadIdx.x * V, step = (int64_t)blockDim.x * V;
    numbers<V> held = {}, held_weight = {};
    float sum = 0;

    overlap_begin();
    if (first < d) {
        held_weight = load_numbers<V>(DTYPE_F32, weight, first);
    }
    overlap_wait();
    for (int64_t i = first; i < d; i += step) {
        numbers<V> f = load_numbers<V>(DTYPE_F32, x + row, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            sum += f.v[j] * f.v[j];
        }
        held = i == first ? f : held;
    }
    float by = 1 / sqrtf(block_sum(sum) / (float)d + eps);
    for (int64_t i = first; i < d; i += step) {
        numbers<V> f = i == first ? held : load_numbers<V>(DTYPE_F32, x + row, i);
        numbers<V> w = i == first ? held_weight : load_numbers<V>(DTYPE_F32, weight, i);
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

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; i < half && t < n; t += gridDim.y) {
        int64_t given = positions[t], position = given < 0 ? -1 - given : given;
        float angle = __fmul_rn((float)position, inv_freq[given < 0 ? half + i : i]);
        cos_out[t * half + i] = factor * cosf(angle);
        sin_out[t * half + i] = factor * sinf(angle);
    }
}

// A block takes a row.
__global__ void __launch_bounds__(NORM_THREADS)
    rms_norm_add_rows(dtype act, float *x, const void *y, const float *weight, float eps, int64_t d)
{
    int64_t row = (int64_t)blockIdx.x * d;
    float sum = 0;

    overlap_begin_and_wait();
    for (int64_t i = threadIdx.x; i < d; i += blockDim.x) {
        float f = element_load(act, y, row + i);
        sum += f * f;
    }
    float by = 1 / sqrtf(block_sum(sum) / (float)d + eps);
    for (int64_t i = threadIdx.x; i < d; i += blockDim.x) {
        x[row + i] += element_load(act, y, row + i) * by * weight[i];
    }
}

__global__ void narrow_numbers(dtype act, void *out, const float *x, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    overlap_begin_and_wait();
    if (i < count) {
        element_store(act, out, i, x[i]);
    }
}

// A warp takes a head of a row, in place.
__global__ void norm_heads(dtype act, rotation rows, int64_t n, int32_t head_dim)
{
    int head = (int)(blockIdx.x * (THREADS / 32) + threadIdx.x / 32), lane = (int)threadIdx.x % 32;
    const float *weight = head < rows.heads - rows.kv_heads ? rows.q_norm : rows.k_norm;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; head < rows.heads && t < n; t += gridDim.y) {
        int64_t at = t * rows.ld + (int64_t)head * head_dim;
        float sum = 0;
        for (int e = lane; e < head_dim; e += 32) {
            float f = element_load(act, rows.x, at + e);
            sum += f * f;
        }
        for (int step = 16; step > 0; step /= 2) {
            sum += __shfl_xor_sync(0xffffffffu, sum, step);
        }
        float by = 1 / sqrtf(sum / (float)head_dim + rows.eps);
        for (int e = lane; e < head_dim; e += 32) {
            element_store(act, rows.x, at + e, element_load(act, rows.x, at + e) * by * weight[e]);
        }
    }
}

// A block takes all queries, or all keys, of a row, in place.
__global__ void __launch_bounds__(NORM_THREADS) norm_sides(dtype act, rotation rows, int32_t head_dim)
{
    bool keys = blockIdx.y == 1;
    int64_t queries = (int64_t)(rows.heads - rows.kv_heads) * head_dim, width = keys ? rows.kv_heads * head_dim : queries;
    int64_t at = (int64_t)blockIdx.x * rows.ld + (keys ? queries : 0);
    const float *weight = keys ? rows.k_norm : rows.q_norm;
    float sum = 0;

    overlap_begin_and_wait();
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
        float f = element_load(act, rows.x, at + i);
        sum += f * f;
    }
    float by = 1 / sqrtf(block_sum(sum) / (float)width + rows.eps); // of a side without heads nothing is stored
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
        element_store(act, rows.x, at + i, element_load(act, rows.x, at + i) * by * weight[i]);
    }
}

// One pair a thread.
__global__ void rope_rows(dtype act, rotation rows, int64_t n, int32_t head_dim, int32_t half, int32_t step, int32_t across)
{
    int64_t pair = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t head = pair / half, i = pair % half;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; head < rows.heads && t < n; t += gridDim.y) {
        int64_t at = t * rows.ld + head * head_dim + i * step;
        float a = element_load(act, rows.x, at), b = element_load(act, rows.x, at + across);
        float c = rows.cos[t * half + i], s = rows.sin[t * half + i];
        element_store(act, rows.x, at, a * c - b * s);
        element_store(act, rows.x, at + across, b * c + a * s);
    }
}

template <int V>
__global__ void kv_store_rows(void *cache, dtype type, int64_t head_stride, const int64_t *slots, dtype act, const void *x,
                              int64_t ldx, int64_t n, int64_t width, int32_t head_dim)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;
    int64_t head = i / head_dim, e = i % head_dim;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; i < width && t < n; t += gridDim.y) {
        int64_t slot = slots[t];
        if (slot >= 0) {
            store_numbers<V>(type, cache, (head * head_stride + slot) * head_dim + e, load_numbers<V>(act, x, t * ldx + i));
        }
    }
}

// Where a row's keys and values go: one KV head behind the other.
struct store_place {
    void *k, *v;
    dtype type;
    int64_t head_stride;
    const int64_t *slots;
    int32_t kv_heads;
};

// One pair a thread, of a head that is rotated or of a value. The last kv_heads of the rotated heads are keys.
__global__ void rope_store_rows(dtype act, rotation rows, int64_t n, int32_t half, int32_t step, int32_t across, store_place to)
{
    int64_t pair = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t head = pair / half, i = pair % half, first_key = rows.heads - to.kv_heads;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; head < rows.heads + to.kv_heads && t < n; t += gridDim.y) {
        int64_t in_head = i * step, at = t * rows.ld + head * 2 * half + in_head;
        float a = element_load(act, rows.x, at), b = element_load(act, rows.x, at + across);
        if (head < rows.heads) {
            float c = rows.cos[t * half + i], s = rows.sin[t * half + i], before = a;
            a = element_rounded(act, a * c - b * s);
            b = element_rounded(act, b * c + before * s);
        }
        if (head < first_key) {
            element_store(act, rows.x, at, a);
            element_store(act, rows.x, at + across, b);
            continue;
        }
        int64_t slot = to.slots[t], kv_head = (head - first_key) % to.kv_heads;
        if (slot >= 0) {
            void *side = head < rows.heads ? to.k : to.v;
            int64_t place = (kv_head * to.head_stride + slot) * 2 * half + in_head;
            element_store(to.type, side, place, a);
            element_store(to.type, side, place + across, b);
        }
    }
}

// --- rows of codes: a warp takes one head of one row, so that its largest magnitude is known ---

struct code_row {
    float scale, to_code; // to_code 0: all codes are 0
};

// As kv_scale_of() of device/cpu/elementwise.h; `bits`: the largest of the lane's magnitudes, which are ordered as their bits.
__device__ code_row code_row_of(uint32_t bits)
{
    for (int step = 16; step > 0; step /= 2) {
        bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, step));
    }
    const float most = __uint_as_float(bits);
    if (bits >= 0x7f800000u) {
        return {__uint_as_float(0x7fc00000u), 0};
    }
    return most < KV_MAGNITUDE_LEAST ? code_row{0, 0}
                                     : code_row{__fdiv_rn(most, KV_CODE_MOST), __fdiv_rn((float)KV_CODE_MOST, most)};
}

__device__ uint32_t magnitude_bits(float x)
{
    return __float_as_uint(x) & 0x7fffffffu;
}

__device__ int8_t code_of(const code_row &r, float x)
{
    return r.to_code > 0 ? (int8_t)__float2int_rn(__fmul_rn(x, r.to_code)) : 0;
}

__device__ int64_t warp_of_grid()
{
    return ((int64_t)blockIdx.x * THREADS + threadIdx.x) / 32;
}

__global__ void kv_store_codes(int8_t *cache, float *scales, int64_t head_stride, const int64_t *slots, dtype act,
                               const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    const int64_t head = warp_of_grid();
    const int lane = (int)threadIdx.x % 32;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; head < heads && t < n; t += gridDim.y) {
        const int64_t slot = slots[t], at = t * ldx + head * head_dim, row = head * head_stride + slot;
        uint32_t most = 0;
        if (slot < 0) {
            continue;
        }
        for (int e = lane; e < head_dim; e += 32) {
            most = max(most, magnitude_bits(element_load(act, x, at + e)));
        }
        const code_row r = code_row_of(most);
        for (int e = lane; e < head_dim; e += 32) {
            cache[row * head_dim + e] = code_of(r, element_load(act, x, at + e));
        }
        if (lane == 0) {
            scales[row] = r.scale;
        }
    }
}

struct code_place {
    int8_t *side[2];
    float *scales[2];
    int64_t head_stride;
    const int64_t *slots;
    int32_t kv_heads;
};

// PAIRS of a head a lane, rotated as in rope_store_rows.
template <int PAIRS>
__global__ void rope_store_codes(dtype act, rotation rows, int64_t n, int32_t half, int32_t step, int32_t across, code_place to)
{
    const int64_t head = warp_of_grid(), first_key = rows.heads - to.kv_heads;
    const int lane = (int)threadIdx.x % 32;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; head < rows.heads + to.kv_heads && t < n; t += gridDim.y) {
        const int64_t first = t * rows.ld + head * 2 * half, slot = to.slots[t];
        float a[PAIRS], b[PAIRS];
        uint32_t most = 0;
        if (head >= first_key && slot < 0) {
            continue;
        }
#pragma unroll
        for (int j = 0; j < PAIRS; j++) {
            const int i = lane + 32 * j;
            const int64_t at = first + i * step;
            a[j] = i < half ? element_load(act, rows.x, at) : 0;
            b[j] = i < half ? element_load(act, rows.x, at + across) : 0;
            if (head < rows.heads && i < half) {
                float c = rows.cos[t * half + i], s = rows.sin[t * half + i], before = a[j];
                // As the compiler contracts rope_rows: the same bits.
                a[j] = element_rounded(act, __fmaf_rn(a[j], c, -__fmul_rn(b[j], s)));
                b[j] = element_rounded(act, __fmaf_rn(b[j], c, __fmul_rn(before, s)));
            }
            if (head < first_key && i < half) {
                element_store(act, rows.x, at, a[j]);
                element_store(act, rows.x, at + across, b[j]);
            }
            most = max(most, max(magnitude_bits(a[j]), magnitude_bits(b[j])));
        }
        if (head < first_key) {
            continue;
        }
        const int values = head >= rows.heads;
        const int64_t row = (head - first_key) % to.kv_heads * to.head_stride + slot;
        const code_row r = code_row_of(most);
        int8_t *codes = to.side[values] + row * 2 * half;
#pragma unroll
        for (int j = 0; j < PAIRS; j++) {
            const int i = lane + 32 * j;
            if (i < half) {
                codes[i * step] = code_of(r, a[j]);
                codes[i * step + across] = code_of(r, b[j]);
            }
        }
        if (lane == 0) {
            to.scales[values][row] = r.scale;
        }
    }
}

template <int V, bool GELU>
__global__ void gate_rows(dtype act, void *y, int64_t ldy, const void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n,
                          int64_t d)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    overlap_begin_and_wait();
    for (int64_t t = blockIdx.y; i < d && t < n; t += gridDim.y) {
        numbers<V> a = load_numbers<V>(act, g, t * ldg + i), b = load_numbers<V>(act, u, t * ldu + i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            a.v[j] = GELU ? gelu_times(a.v[j], b.v[j]) : silu_times(a.v[j], b.v[j]);
        }
        store_numbers<V>(act, y, t * ldy + i, a);
    }
}

template <int V>
__global__ void copy_rows(dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width, bool add)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V;

    overlap_begin_and_wait();
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

    overlap_begin_and_wait();
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

__global__ void carry_clear_heads(carry_rows c)
{
    int64_t i = warp_of_grid();

    overlap_begin_and_wait();
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

    overlap_begin_and_wait();
    if (i >= into.heads || from.l[i] == 0) {
        return;
    }
    const float m = into.m[i], l = into.l[i], from_m = from.m[i], from_l = from.l[i];
    carried all = {};
    for (int e = (int)threadIdx.x % 32; e < into.head_dim; e += 32) {
        int64_t at = i * into.head_dim + e;
        all = merged({m, l, into.o[at]}, {from_m, from_l, from.o[at]});
        into.o[at] = all.o;
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        into.l[i] = all.l;
        into.m[i] = all.m;
    }
}

__global__ void carry_finish_heads(carry_rows c, int32_t n_heads, dtype act, void *out, int64_t ldo)
{
    int64_t i = warp_of_grid();

    overlap_begin_and_wait();
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
        (const void *)embed_rows<1>,     (const void *)embed_rows<4>,      (const void *)rms_norm_rows<1>,
        (const void *)rms_norm_rows<4>,  (const void *)rope_angle_rows,    (const void *)rope_rows,
        (const void *)kv_store_rows<1>,  (const void *)kv_store_rows<4>,   (const void *)gate_rows<1, false>,
        (const void *)gate_rows<4, false>, (const void *)gate_rows<1, true>, (const void *)gate_rows<4, true>,
        (const void *)rms_norm_add_rows, (const void *)narrow_numbers,     (const void *)norm_heads,
        (const void *)norm_sides,        (const void *)copy_rows<1>,       (const void *)copy_rows<4>,
        (const void *)add_bias_rows<1>,  (const void *)add_bias_rows<4>,   (const void *)carry_clear_heads,
        (const void *)carry_merge_heads, (const void *)carry_finish_heads, (const void *)rope_store_rows,
        (const void *)kv_store_codes,    (const void *)rope_store_codes<2>, (const void *)rope_store_codes<8>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

cudaError_t cuda_embed(cudaStream_t stream, float *x, const matrix *table, const int32_t *tokens, const int32_t *made,
                       int64_t n, float scale)
{
    const char *data = static_cast<const char *>(table->data);
    int64_t cols = table->cols, ld = (int64_t)(table->row_bytes / (table->type == DTYPE_F32 ? 4 : 2));
    bool four = aligned_4(table->type, data, ld | cols) && aligned_4(DTYPE_F32, x, cols);

    if (n == 0) {
        return cudaSuccess;
    }
    if (four) {
        overlap_launch(stream, grid_of(cols / 4, n), THREADS, 0, embed_rows<4>, x, table->type, data, table->row_bytes, cols, n,
                       tokens, made, scale);
    } else {
        overlap_launch(stream, grid_of(cols, n), THREADS, 0, embed_rows<1>, x, table->type, data, table->row_bytes, cols, n,
                       tokens, made, scale);
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
        overlap_launch(stream, (unsigned)n, threads, 0, rms_norm_rows<4>, act, out, x, weight, eps, d);
    } else {
        overlap_launch(stream, (unsigned)n, threads, 0, rms_norm_rows<1>, act, out, x, weight, eps, d);
    }
    return cudaGetLastError();
}

cudaError_t cuda_rope_angles(cudaStream_t stream, float *cos, float *sin, const int64_t *positions, int64_t n,
                             const float *inv_freq, int64_t half, float factor)
{
    if (n == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, grid_of(half, n), THREADS, 0, rope_angle_rows, cos, sin, inv_freq, half, factor, n, positions);
    return cudaGetLastError();
}

cudaError_t cuda_rms_norm_add(cudaStream_t stream, dtype act, float *x, const void *y, const float *weight, float eps,
                              int64_t n, int64_t d)
{
    int64_t items = ceil_div(d, 32) * 32;

    if (n == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, (unsigned)n, (unsigned)(items < NORM_THREADS ? items : NORM_THREADS), 0, rms_norm_add_rows, act, x,
                   y, weight, eps, d);
    return cudaGetLastError();
}

cudaError_t cuda_narrow(cudaStream_t stream, dtype act, void *out, const float *x, int64_t count)
{
    if (count == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, (unsigned)ceil_div(count, THREADS), THREADS, 0, narrow_numbers, act, out, x, count);
    return cudaGetLastError();
}

static void normalise(cudaStream_t stream, dtype act, const rotation *rows, int64_t n, int32_t head_dim)
{
    if (rows->whole) {
        overlap_launch(stream, dim3((unsigned)n, 2), NORM_THREADS, 0, norm_sides, act, *rows, head_dim);
    } else {
        overlap_launch(stream, grid_of((int64_t)rows->heads * 32, n), THREADS, 0, norm_heads, act, *rows, n, head_dim);
    }
}

cudaError_t cuda_rope(cudaStream_t stream, dtype act, const rotation *rows, int64_t n, int32_t head_dim)
{
    int32_t half = rows->dims / 2;
    bool halves = rows->style == ROPE_HALVES;

    if (n == 0 || rows->heads == 0) {
        return cudaSuccess;
    }
    if (rows->k_norm) {
        normalise(stream, act, rows, n, head_dim);
    }
    if (rows->cos) {
        overlap_launch(stream, grid_of((int64_t)rows->heads * half, n), THREADS, 0, rope_rows, act, *rows, n, head_dim, half,
                       halves ? 1 : 2, halves ? half : 1);
    }
    return cudaGetLastError();
}

cudaError_t cuda_kv_store(cudaStream_t stream, dtype act, void *cache, float *scales, dtype type, int64_t head_stride,
                          const int64_t *slots, const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    int64_t width = (int64_t)heads * head_dim;

    if (n == 0 || heads == 0) {
        return cudaSuccess;
    }
    if (type == DTYPE_I8) {
        overlap_launch(stream, grid_of((int64_t)heads * 32, n), THREADS, 0, kv_store_codes, (int8_t *)cache, scales,
                       head_stride, slots, act, x, ldx, n, heads, head_dim);
    } else if (aligned_4(act, x, ldx) && aligned_4(type, cache, head_dim)) {
        overlap_launch(stream, grid_of(width / 4, n), THREADS, 0, kv_store_rows<4>, cache, type, head_stride, slots, act, x,
                       ldx, n, width, head_dim);
    } else {
        overlap_launch(stream, grid_of(width, n), THREADS, 0, kv_store_rows<1>, cache, type, head_stride, slots, act, x, ldx, n,
                       width, head_dim);
    }
    return cudaGetLastError();
}

cudaError_t cuda_rope_store(cudaStream_t stream, dtype act, const rotation *rows, void *const side[2], float *const scales[2],
                            dtype type, int64_t head_stride, const int64_t *slots, int64_t n, int32_t head_dim)
{
    int32_t half = head_dim / 2, kv_heads = rows->kv_heads;
    bool halves = rows->style == ROPE_HALVES;
    int32_t step = halves ? 1 : 2, across = halves ? half : 1;

    if (n == 0 || rows->heads == 0) {
        return cudaSuccess;
    }
    if (type == DTYPE_I8) {
        const code_place to = {{(int8_t *)side[0], (int8_t *)side[1]}, {scales[0], scales[1]}, head_stride, slots, kv_heads};
        overlap_launch(stream, grid_of((int64_t)(rows->heads + kv_heads) * 32, n), THREADS, 0,
                       half <= 64 ? rope_store_codes<2> : rope_store_codes<8>, act, *rows, n, half, step, across, to);
    } else {
        overlap_launch(stream, grid_of((int64_t)(rows->heads + kv_heads) * half, n), THREADS, 0, rope_store_rows, act, *rows, n,
                       half, step, across, store_place{side[0], side[1], type, head_stride, slots, kv_heads});
    }
    return cudaGetLastError();
}

template <bool GELU>
static cudaError_t gate(cudaStream_t stream, dtype act, void *y, int64_t ldy, const void *g, int64_t ldg, const void *u,
                        int64_t ldu, int64_t n, int64_t d)
{
    if (n == 0 || d == 0) {
        return cudaSuccess;
    }
    if (aligned_4(act, y, ldy) && aligned_4(act, g, ldg | d) && aligned_4(act, u, ldu)) {
        overlap_launch(stream, grid_of(d / 4, n), THREADS, 0, gate_rows<4, GELU>, act, y, ldy, g, ldg, u, ldu, n, d);
    } else {
        overlap_launch(stream, grid_of(d, n), THREADS, 0, gate_rows<1, GELU>, act, y, ldy, g, ldg, u, ldu, n, d);
    }
    return cudaGetLastError();
}

cudaError_t cuda_silu_mul(cudaStream_t stream, dtype act, void *y, int64_t ldy, const void *g, int64_t ldg, const void *u,
                          int64_t ldu, int64_t n, int64_t d)
{
    return gate<false>(stream, act, y, ldy, g, ldg, u, ldu, n, d);
}

cudaError_t cuda_gelu_mul(cudaStream_t stream, dtype act, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n,
                          int64_t d)
{
    return gate<true>(stream, act, g, ldg, g, ldg, u, ldu, n, d);
}

cudaError_t cuda_copy(cudaStream_t stream, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n,
                      int64_t width, bool add)
{
    if (n == 0 || width == 0) {
        return cudaSuccess;
    }
    if (aligned_4(type, y, ldy | width) && aligned_4(type, x, ldx)) {
        overlap_launch(stream, grid_of(width / 4, n), THREADS, 0, copy_rows<4>, type, y, ldy, x, ldx, n, width, add);
    } else {
        overlap_launch(stream, grid_of(width, n), THREADS, 0, copy_rows<1>, type, y, ldy, x, ldx, n, width, add);
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
        overlap_launch(stream, grid_of(rows / 4, n), THREADS, 0, add_bias_rows<4>, type, y, ldy, sums, ld_sums, bias, n, rows);
    } else {
        overlap_launch(stream, grid_of(rows, n), THREADS, 0, add_bias_rows<1>, type, y, ldy, sums, ld_sums, bias, n, rows);
    }
    return cudaGetLastError();
}

cudaError_t cuda_carry_clear(cudaStream_t stream, const carry *c, const attention_shape *s, int64_t rows)
{
    carry_rows all = rows_of(c, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, carry_blocks(all), THREADS, 0, carry_clear_heads, all);
    return cudaGetLastError();
}

cudaError_t cuda_carry_merge(cudaStream_t stream, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    carry_rows all = rows_of(into, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, carry_blocks(all), THREADS, 0, carry_merge_heads, all, rows_of(from, s, rows));
    return cudaGetLastError();
}

cudaError_t cuda_carry_finish(cudaStream_t stream, dtype act, const carry *c, const attention_shape *s, int64_t rows, void *out,
                              int64_t ldo)
{
    carry_rows all = rows_of(c, s, rows);

    if (all.heads == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, carry_blocks(all), THREADS, 0, carry_finish_heads, all, s->n_heads, act, out, ldo);
    return cudaGetLastError();
}
