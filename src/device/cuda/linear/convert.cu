// Stored weights of plain types as elements of the activation type. Blocks stay blocks: block_order.cu.
// Rests on element.cuh.
//
// Budget: read at the rate at which weights arrive over PCIe. Nothing is clever here: a thread forms eight elements, each by
// itself.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"

namespace
{

constexpr int THREADS = 256, EACH = 8;

__global__ void convert_rows(char *to, dtype to_type, size_t to_bytes, const char *from, dtype type, size_t from_bytes,
                             int64_t rows, int64_t cols)
{
    int64_t each = (cols + EACH - 1) / EACH, at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t r = at / each, first = at % each * EACH;

    if (r >= rows) {
        return;
    }
    for (int64_t c = first; c < cols && c < first + EACH; c++) {
        element_store(to_type, to + (size_t)r * to_bytes, c, element_load(type, from + (size_t)r * from_bytes, c));
    }
}

} // namespace

cudaError_t cuda_convert_load(void)
{
    const void *const kernels[] = {(const void *)convert_rows};

    return load_kernels(kernels, 1);
}

cudaError_t cuda_convert(cudaStream_t stream, const matrix *to, int64_t row0, int64_t rows, dtype type, const void *from,
                         size_t from_bytes)
{
    char *first = static_cast<char *>(const_cast<void *>(to->data)) + (size_t)row0 * to->row_bytes;
    int64_t blocks = ceil_div(rows * ceil_div(to->cols, EACH), THREADS);

    if (blocks == 0) {
        return cudaSuccess;
    }
    convert_rows<<<(unsigned)blocks, THREADS, 0, stream>>>(first, to->type, to->row_bytes, static_cast<const char *>(from),
                                                           type, from_bytes, rows, to->cols);
    return cudaGetLastError();
}
