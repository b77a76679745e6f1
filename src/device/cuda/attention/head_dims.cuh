// The head_dims that the kernels of attention on the matrix unit are compiled for, and one way from a number to them.
// Rests on the CUDA runtime's types. Used by attention_decode.cu, attention_prefill.cu and attention_hopper.cu.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

template <int D> struct head_dim_of {
    static constexpr int value = D;
};

static inline bool is_head_dim(int32_t head_dim)
{
    return head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256;
}

// fn(head_dim_of<D>()) of that one, which is_head_dim().
template <typename F> auto with_head_dim(int32_t head_dim, F fn)
{
    switch (head_dim) {
    case 64:
        return fn(head_dim_of<64>());
    case 96:
        return fn(head_dim_of<96>());
    case 128:
        return fn(head_dim_of<128>());
    default:
        return fn(head_dim_of<256>());
    }
}

// fn of each of them, until one fails.
template <typename F> cudaError_t for_head_dims(F fn)
{
    cudaError_t status = fn(head_dim_of<64>());

    status = status ? status : fn(head_dim_of<96>());
    status = status ? status : fn(head_dim_of<128>());
    return status ? status : fn(head_dim_of<256>());
}
