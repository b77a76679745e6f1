// Stored blocks of weights as elements of the run's type.
// Rests on base/dtype.h for the layouts. What an element is, is defined in device/cpu/unpack_scalar.c: the same bits before
// rounding.
//
// Budget: read at the rate at which blocks come over PCIe, written at up to 7 times that, a few dozen instructions an element.
// Nothing is clever here: a thread forms eight elements, each by itself. Reached when loading Q4_K as bf16 on an H200: 33 GB/s of
// stored bytes, copy and unpacking one after the other, where bf16, copied only, comes at 46.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"

namespace
{

constexpr int THREADS = 256, EACH = 8; // every block and every group within one holds a multiple of 8 elements

__device__ const int8_t iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

__device__ float half_at(const uint16_t &bits)
{
    return __half2float(__ushort_as_half(bits));
}

__device__ int nibble(const uint8_t *q, int i)
{
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

__device__ int bit(const uint8_t *bits, int i)
{
    return bits[i / 8] >> (i % 8) & 1;
}

// Two bits of element i of a super-block, four bits of it, and the 6-bit scale and minimum of its group of 32: see
// unpack_scalar.c.
__device__ int code_2(const uint8_t *q, int i)
{
    return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

__device__ int code_4(const uint8_t *q, int i)
{
    return q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
}

__device__ int scale_6(const uint8_t *s, int g)
{
    return g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
}

__device__ int min_6(const uint8_t *s, int g)
{
    return g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

// A scale times a code is exact; where a minimum is added or taken away that rounds, once.
__device__ float element_of(const block_q8_0 *b, int i)
{
    return half_at(b->d) * (float)b->q[i];
}

__device__ float element_of(const block_q4_0 *b, int i)
{
    return half_at(b->d) * (float)(nibble(b->q, i) - 8);
}

__device__ float element_of(const block_q4_1 *b, int i)
{
    return __fadd_rn(half_at(b->d) * (float)nibble(b->q, i), half_at(b->m));
}

__device__ float element_of(const block_q5_0 *b, int i)
{
    return half_at(b->d) * (float)((nibble(b->q, i) | bit(b->high, i) << 4) - 16);
}

__device__ float element_of(const block_q5_1 *b, int i)
{
    return __fadd_rn(half_at(b->d) * (float)(nibble(b->q, i) | bit(b->high, i) << 4), half_at(b->m));
}

__device__ float element_of(const block_iq4_nl *b, int i)
{
    return half_at(b->d) * (float)iq4_nl[nibble(b->q, i)];
}

__device__ float element_of(const block_q2_k *b, int i)
{
    int s = b->scales[i / 16];

    return __fsub_rn(half_at(b->d) * (float)(s & 15) * (float)code_2(b->q, i), half_at(b->dmin) * (float)(s >> 4));
}

__device__ float element_of(const block_q3_k *b, int i)
{
    int g = i / 16, high = b->high[i % 32] >> (i / 32) & 1;
    int low = g < 8 ? b->scales[g] & 15 : b->scales[g - 8] >> 4;
    int scale = (low | (b->scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;

    return half_at(b->d) * (float)scale * (float)(code_2(b->q, i) + 4 * high - 4);
}

__device__ float element_of(const block_q4_k *b, int i)
{
    return __fsub_rn(half_at(b->d) * (float)scale_6(b->scales, i / 32) * (float)code_4(b->q, i),
                     half_at(b->dmin) * (float)min_6(b->scales, i / 32));
}

__device__ float element_of(const block_q5_k *b, int i)
{
    int high = b->high[i % 32] >> (i / 32) & 1;

    return __fsub_rn(half_at(b->d) * (float)scale_6(b->scales, i / 32) * (float)(code_4(b->q, i) + 16 * high),
                     half_at(b->dmin) * (float)min_6(b->scales, i / 32));
}

__device__ float element_of(const block_q6_k *b, int i)
{
    int half = i / 128, part = i % 128 / 32, l = i % 32;
    int low = b->low[half * 64 + part % 2 * 32 + l] >> (part / 2 * 4) & 15;
    int high = b->high[half * 32 + l] >> (part * 2) & 3;

    return half_at(b->d) * (float)b->scales[i / 16] * (float)((low | high << 4) - 32);
}

template <typename block> __device__ float element_in(const void *row, int64_t c, int elements)
{
    return element_of(static_cast<const block *>(row) + c / elements, (int)(c % elements));
}

__device__ float stored_element(dtype type, const void *row, int64_t c)
{
    switch (type) {
    case DTYPE_Q8_0: return element_in<block_q8_0>(row, c, 32);
    case DTYPE_Q4_0: return element_in<block_q4_0>(row, c, 32);
    case DTYPE_Q4_1: return element_in<block_q4_1>(row, c, 32);
    case DTYPE_Q5_0: return element_in<block_q5_0>(row, c, 32);
    case DTYPE_Q5_1: return element_in<block_q5_1>(row, c, 32);
    case DTYPE_Q2_K: return element_in<block_q2_k>(row, c, 256);
    case DTYPE_Q3_K: return element_in<block_q3_k>(row, c, 256);
    case DTYPE_Q4_K: return element_in<block_q4_k>(row, c, 256);
    case DTYPE_Q5_K: return element_in<block_q5_k>(row, c, 256);
    case DTYPE_Q6_K: return element_in<block_q6_k>(row, c, 256);
    case DTYPE_IQ4_NL: return element_in<block_iq4_nl>(row, c, 32);
    default: return element_load(type, row, c);
    }
}

__global__ void unpack_rows(char *to, dtype to_type, size_t to_bytes, const char *from, dtype type, size_t from_bytes,
                            int64_t rows, int64_t cols)
{
    int64_t each = (cols + EACH - 1) / EACH, at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t r = at / each, first = at % each * EACH;

    if (r >= rows) {
        return;
    }
    for (int64_t c = first; c < cols && c < first + EACH; c++) {
        element_store(to_type, to + (size_t)r * to_bytes, c, stored_element(type, from + (size_t)r * from_bytes, c));
    }
}

} // namespace

cudaError_t cuda_unpack_load(void)
{
    const void *const kernels[] = {(const void *)unpack_rows};

    return load_kernels(kernels, 1);
}

cudaError_t cuda_unpack(cudaStream_t stream, const matrix *to, int64_t row0, int64_t rows, dtype type, const void *from,
                        size_t from_bytes)
{
    char *first = static_cast<char *>(const_cast<void *>(to->data)) + (size_t)row0 * to->row_bytes;
    int64_t blocks = ceil_div(rows * ceil_div(to->cols, EACH), THREADS);

    if (blocks == 0) {
        return cudaSuccess;
    }
    unpack_rows<<<(unsigned)blocks, THREADS, 0, stream>>>(first, to->type, to->row_bytes, static_cast<const char *>(from), type,
                                                          from_bytes, rows, to->cols);
    return cudaGetLastError();
}
