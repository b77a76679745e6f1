// A product's row of x that its blocks form themselves, as the RMS norm of the residual: a kernel less, whose single block all
// others would wait for, while their first weights are on their way. Rests on matrix_unit.cuh.
//
// The bits are those of rms_norm_rows (elementwise.cu): its block has a thread for each four numbers, here each of 256 threads
// stands for every 256th of them, and sums are added in the same tree.
#pragma once

#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/matrix_unit.cuh"

namespace
{

constexpr int NORM_INPUT_THREADS = 256, NORM_INPUT_EACH = CUDA_NORM_INPUT_MOST / 4 / NORM_INPUT_THREADS;

// Before the wait: the weights are prefetched to the second-level cache.
__device__ inline void norm_input_ahead(const cuda_norm_input &in)
{
    const int i = (int)threadIdx.x * 32; // floats of a line

    if (in.x && i < in.d) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(in.weight + i));
    }
}

// All threads of a block. `to` [d] and parts [32] are in shared memory. The first block leaves the row in global memory too.
template <bool BF16> __device__ inline void norm_input_make(const cuda_norm_input &in, uint16_t *to, float *parts)
{
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    float4 x[NORM_INPUT_EACH], w[NORM_INPUT_EACH];
    float sum[NORM_INPUT_EACH];

#pragma unroll
    for (int j = 0; j < NORM_INPUT_EACH; j++) {
        const int i = 4 * ((int)threadIdx.x + j * NORM_INPUT_THREADS);
        const float4 none = {};
        x[j] = i < in.d ? *(const float4 *)(in.x + i) : none;
        w[j] = i < in.d ? *(const float4 *)(in.weight + i) : none;
    }
#pragma unroll
    for (int j = 0; j < NORM_INPUT_EACH; j++) {
        sum[j] = fmaf(x[j].w, x[j].w, fmaf(x[j].z, x[j].z, fmaf(x[j].y, x[j].y, x[j].x * x[j].x)));
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
            sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], step);
        }
        if (lane == 0) {
            parts[warp + j * NORM_INPUT_THREADS / 32] = sum[j];
        }
    }
    __syncthreads();
    float all = parts[lane];
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        all += __shfl_xor_sync(0xffffffffu, all, step);
    }
    const float by = 1 / sqrtf(all / (float)in.d + in.eps);
#pragma unroll
    for (int j = 0; j < NORM_INPUT_EACH; j++) {
        const int i = 4 * ((int)threadIdx.x + j * NORM_INPUT_THREADS);
        if (i < in.d) {
            const uint2 four = {matrix_unit_of<BF16>::pack(x[j].x * by * w[j].x, x[j].y * by * w[j].y),
                                matrix_unit_of<BF16>::pack(x[j].z * by * w[j].z, x[j].w * by * w[j].w)};
            *(uint2 *)(to + i) = four;
            if (blockIdx.x == 0) {
                *(uint2 *)((uint16_t *)in.out + i) = four;
            }
        }
    }
    __syncthreads();
}

} // namespace
