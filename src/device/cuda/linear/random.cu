// Weights of random models, made where they are used.
// Rests on element.cuh. The generator is model/random.c's, for its plain types: splitmix64's mixing of a counter, one 64-bit
// word at a time, cut into elements; the same bits as there.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"

namespace
{

constexpr int THREADS = 256;

__device__ uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Bits of a word that stay random, and the bits added to them: the exponent of 2^-9 in every element.
struct plain_bits {
    uint64_t mask, base;
    int bits; // of an element
};

plain_bits bits_of(dtype type)
{
    switch (type) {
    case DTYPE_F32: return {0x81ffffff81ffffffull, 0x3b0000003b000000ull, 32};
    case DTYPE_F16: return {0x8fff8fff8fff8fffull, 0x1800180018001800ull, 16};
    default: return {0x81ff81ff81ff81ffull, 0x3b003b003b003b00ull, 16};
    }
}

// A thread makes one word: element i of the matrix, row after row, is element i % (64 / bits) of word i / (64 / bits).
__global__ void random_words(char *to, dtype to_type, size_t row_bytes, int64_t rows, int64_t cols, dtype type,
                             plain_bits plain, uint64_t seed)
{
    int64_t word = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int per = 64 / plain.bits;
    uint64_t bits = (mix((seed + (uint64_t)word) * 0x9e3779b97f4a7c15ull) & plain.mask) + plain.base;

    for (int64_t i = word * per; i < (word + 1) * per && i < rows * cols; i++) {
        uint32_t element = (uint32_t)(bits >> (i % per * plain.bits));
        float f = type == DTYPE_F32 ? __uint_as_float(element) : half_of(type, element & 0xffff);
        element_store(to_type, to + (size_t)(i / cols) * row_bytes, i % cols, f);
    }
}

} // namespace

cudaError_t cuda_random_load(void)
{
    const void *const kernels[] = {(const void *)random_words};

    return load_kernels(kernels, 1);
}

cudaError_t cuda_random(cudaStream_t stream, const matrix *to, dtype type, uint64_t seed)
{
    plain_bits plain = bits_of(type);
    int64_t words = ceil_div(to->rows * to->cols, 64 / plain.bits);

    if (words == 0) {
        return cudaSuccess;
    }
    random_words<<<(unsigned)ceil_div(words, THREADS), THREADS, 0, stream>>>(
        static_cast<char *>(const_cast<void *>(to->data)), to->type, to->row_bytes, to->rows, to->cols, type, plain, seed);
    return cudaGetLastError();
}
