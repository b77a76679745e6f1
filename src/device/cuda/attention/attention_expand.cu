// Keys and values of 8-bit codes as 16-bit ones, for the kernels of many rows.
// Rests on cuda_attention.h and element.cuh. cuda_attention.c says when, and where they go.
//
// Budget: 1 byte read and 2 written an element, each once: 32K slots of a layer of Llama-3-8B are 67 MB of codes and 134 MB of
// elements, 50 us at 4 TB/s beside some 3 ms of attention of 4,096 rows over them.
#include "device/cuda/attention/cuda_attention.h"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int THREADS = 256;
constexpr int WIDE = 16; // codes a thread: one load of 16 bytes

__device__ __forceinline__ uint32_t two(dtype act, int x, int at, float scale)
{
    float a = scale * (float)(int8_t)(x >> at), b = scale * (float)(int8_t)(x >> (at + 8));

    return act == DTYPE_BF16 ? pack_bf16(a, b) : pack_f16(a, b);
}

// Blocks over a head's elements, over heads, over K and V.
__global__ void expand_codes(const __grid_constant__ attention_expansion e)
{
    const bool values = blockIdx.z > 0;
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * WIDE;

    overlap_begin_and_wait();
    if (i >= (int64_t)e.from.count * e.head_dim) {
        return;
    }
    const int64_t row = blockIdx.y * e.from.head_stride;
    const float scale = (values ? e.from.v_scales : e.from.k_scales)[row + i / e.head_dim];
    const int4 x = *(const int4 *)((const int8_t *)(values ? e.from.v : e.from.k) + row * e.head_dim + i);
    uint16_t *to = (uint16_t *)(values ? e.v : e.k) + (int64_t)blockIdx.y * e.from.count * e.head_dim + i;
    *(uint4 *)to = make_uint4(two(e.act, x.x, 0, scale), two(e.act, x.x, 16, scale), two(e.act, x.y, 0, scale),
                              two(e.act, x.y, 16, scale));
    *(uint4 *)(to + 8) = make_uint4(two(e.act, x.z, 0, scale), two(e.act, x.z, 16, scale), two(e.act, x.w, 0, scale),
                                    two(e.act, x.w, 16, scale));
}

} // namespace

cudaError_t attention_expand_load(void)
{
    const void *const kernels[] = {(const void *)expand_codes};

    return load_kernels(kernels, 1);
}

cudaError_t attention_expand_launch(cudaStream_t stream, const attention_expansion *e)
{
    int64_t blocks = ceil_div((int64_t)e->from.count * e->head_dim, (int64_t)THREADS * WIDE);

    if (blocks == 0) {
        return cudaSuccess;
    }
    return overlap_launch(stream, dim3((unsigned)blocks, (unsigned)e->n_kv_heads, 2), THREADS, 0, expand_codes, *e);
}
