// Elements of rows in the kernels: read as fp32 and written rounded to nearest even, one or four at a time, by a type that is
// known at run time and the same for a whole grid (a branch that costs nothing beside memory). Rests on base/dtype.h. The
// kernels of elementwise.cu, convert.cu and random.cu use it.
#pragma once

#include "device/cuda/runtime/cuda_device.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// V numbers side by side.
template <int V> struct numbers {
    float v[V];
};

__device__ inline float element_load(dtype type, const void *x, int64_t i)
{
    switch (type) {
    case DTYPE_F16: return __half2float(static_cast<const __half *>(x)[i]);
    case DTYPE_BF16: return __bfloat162float(static_cast<const __nv_bfloat16 *>(x)[i]);
    default: return static_cast<const float *>(x)[i];
    }
}

__device__ inline void element_store(dtype type, void *y, int64_t i, float f)
{
    switch (type) {
    case DTYPE_F16: static_cast<__half *>(y)[i] = __float2half_rn(f); break;
    case DTYPE_BF16: static_cast<__nv_bfloat16 *>(y)[i] = __float2bfloat16_rn(f); break;
    default: static_cast<float *>(y)[i] = f; break;
    }
}

// As it would be stored and loaded again.
__device__ inline float element_rounded(dtype type, float f)
{
    switch (type) {
    case DTYPE_F16: return __half2float(__float2half_rn(f));
    case DTYPE_BF16: return __bfloat162float(__float2bfloat16_rn(f));
    default: return f;
    }
}

__device__ inline float silu_times(float a, float b)
{
    return a / (1 + expf(-a)) * b;
}

// By tanh: device.h's gelu_mul.
__device__ inline float gelu_times(float a, float b)
{
    float z = GELU_ROOT * (a + GELU_CUBE * a * a * a);

    return a / (1 + expf(-2 * z)) * b;
}

__device__ inline uint32_t pack_f16(float a, float b)
{
    return (uint32_t)__half_as_ushort(__float2half_rn(a)) | (uint32_t)__half_as_ushort(__float2half_rn(b)) << 16;
}

__device__ inline uint32_t pack_bf16(float a, float b)
{
    return (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(a)) | (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(b))
                                                                        << 16;
}

__device__ inline float half_of(dtype type, uint32_t bits)
{
    return type == DTYPE_F16 ? __half2float(__ushort_as_half((unsigned short)bits)) : __uint_as_float(bits << 16);
}

// Elements [i, i + V): V = 4 where rows and i are aligned to four elements (see aligned_4).
template <int V> __device__ inline numbers<V> load_numbers(dtype type, const void *x, int64_t i);
template <> __device__ inline numbers<1> load_numbers<1>(dtype type, const void *x, int64_t i)
{
    return {{element_load(type, x, i)}};
}
template <> __device__ inline numbers<4> load_numbers<4>(dtype type, const void *x, int64_t i)
{
    if (type == DTYPE_F32) {
        float4 f = *reinterpret_cast<const float4 *>(static_cast<const float *>(x) + i);
        return {{f.x, f.y, f.z, f.w}};
    }
    uint2 h = *reinterpret_cast<const uint2 *>(static_cast<const uint16_t *>(x) + i);
    return {{half_of(type, h.x & 0xffff), half_of(type, h.x >> 16), half_of(type, h.y & 0xffff), half_of(type, h.y >> 16)}};
}

template <int V> __device__ inline void store_numbers(dtype type, void *y, int64_t i, numbers<V> f);
template <> __device__ inline void store_numbers<1>(dtype type, void *y, int64_t i, numbers<1> f)
{
    element_store(type, y, i, f.v[0]);
}
template <> __device__ inline void store_numbers<4>(dtype type, void *y, int64_t i, numbers<4> f)
{
    if (type == DTYPE_F32) {
        *reinterpret_cast<float4 *>(static_cast<float *>(y) + i) = make_float4(f.v[0], f.v[1], f.v[2], f.v[3]);
    } else if (type == DTYPE_F16) {
        *reinterpret_cast<uint2 *>(static_cast<uint16_t *>(y) + i) =
            make_uint2(pack_f16(f.v[0], f.v[1]), pack_f16(f.v[2], f.v[3]));
    } else {
        *reinterpret_cast<uint2 *>(static_cast<uint16_t *>(y) + i) =
            make_uint2(pack_bf16(f.v[0], f.v[1]), pack_bf16(f.v[2], f.v[3]));
    }
}

// Result r of row t of a linear job: with its bias, stored in y or added to it.
template <typename Job> __device__ inline void put_result(const Job &job, int64_t t, int64_t r, float sum)
{
    float v = sum + (job.bias ? job.bias[r] : 0.0f);
    int64_t at = t * job.ldy + r;

    if (job.add) {
        float *y = static_cast<float *>(job.y);
        y[at] = y[at] + v;
    } else {
        element_store(job.type, job.y, at, v);
    }
}

// May rows that begin at p, ld elements apart, be read four elements at a time?
inline bool aligned_4(dtype type, const void *p, int64_t ld)
{
    return ((uintptr_t)p % (type == DTYPE_F32 ? 16 : 8) | (uintptr_t)(ld % 4)) == 0;
}

// Brings kernels onto the card now: loading is lazy otherwise. shared_percent: shared memory's part of the memory that it
// divides with the first-level cache; negative: the driver's choice.
inline cudaError_t load_kernels(const void *const kernels[], int n, int shared_percent = -1)
{
    for (int i = 0; i < n; i++) {
        cudaFuncAttributes attributes;
        cudaError_t status = cudaFuncGetAttributes(&attributes, kernels[i]);
        if (status == cudaSuccess && shared_percent >= 0) {
            status = cudaFuncSetAttribute(kernels[i], cudaFuncAttributePreferredSharedMemoryCarveout, shared_percent);
        }
        if (status != cudaSuccess) {
            return status;
        }
    }
    return cudaSuccess;
}

inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
