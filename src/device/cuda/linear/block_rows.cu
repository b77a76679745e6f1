// Plain rows of weights stored as blocks: for products of many rows of x, and rows of a table for tokens.
// Rests on blocks.cuh. device/cpu/unpack_scalar.c defines an element: the same bits before rounding to the
// activation type.
//
// Budget: blocks are read and 2 bytes a weight written, once a linear call: Llama-3-8B's shape in Q4_K 4.2 + 15 GB a pass, 4.6
// ms of an H200's 4.2 TB/s, some 4 instructions a weight beside that.
#include "device/cuda/linear/blocks.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

using namespace blocks;

constexpr int WARPS = 8, THREADS = WARPS * 32;

// The eight elements of a quarter's group as columns [k, ...) of a row: in one piece, or in two of four.
template <typename F> __device__ inline void store_eight(dtype type, void *row, int64_t k, int q, const float (&w)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
        store_numbers<4>(type, row, k + column_of<F>(q, i), {{w[i], w[i + 1], w[i + 2], w[i + 3]}});
    }
}

// A warp takes a unit of a tile of 16 rows: a lane has its quarter of two of them.
template <typename F>
__global__ void __launch_bounds__(THREADS) rows_of_blocks(char *to, dtype act, const void *w, int64_t row_bytes,
                                                          int64_t all_rows, int64_t cols, int64_t row0, int64_t rows)
{
    int64_t units = (cols + UNIT - 1) / UNIT, at = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int64_t index = row0 / TILE_ROWS + at / units, first = index * TILE_ROWS;
    int unit = (int)(at % units), g = (int)threadIdx.x % 32 / 4, q = (int)threadIdx.x % 4;
    size_t to_bytes = (size_t)cols * (act == DTYPE_F32 ? 4 : 2);

    if (first >= row0 + rows) {
        return;
    }
    tile<F> t(w, row_bytes, all_rows, cols, index);
    quarter<F, false> r[2];
    read_two<false>(r, t, unit, g, q);
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        int s = i / 2, j = group_of<F>(s, i % 2);
        int64_t k = (int64_t)unit * UNIT + 32 * j;
        if (F::TAILS && k >= cols) {
            continue;
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int64_t row = first + g + 8 * half - row0;
            float values[8];
            elements_of(values, r[half], share_of(r[half], s), j);
            if (row >= 0 && row < rows) {
                store_eight<F>(act, to + (size_t)row * to_bytes, k, q, values);
            }
        }
    }
}

// A thread takes a quarter of a unit of the row of one token.
template <typename F>
__global__ void __launch_bounds__(THREADS) embed_blocks(float *x, const void *table, int64_t row_bytes, int64_t all_rows,
                                                        int64_t cols, int64_t n, const int32_t *tokens, const int32_t *chosen,
                                                        float scale)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int unit = (int)(at / 4), q = (int)(at % 4);

    overlap_begin_and_wait();
    if (unit * (int64_t)UNIT >= cols) {
        return;
    }
    for (int64_t t = blockIdx.y; t < n; t += gridDim.y) {
        int32_t token = tokens[t], id = max(token < 0 ? chosen[-1 - token] : token, 0);
        quarter<F, false> r;
        r.read(tile<F>(table, row_bytes, all_rows, cols, id / TILE_ROWS), unit, id % TILE_ROWS, q);
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            int s = i / 2, j = group_of<F>(s, i % 2);
            int64_t k = (int64_t)unit * UNIT + 32 * j;
            float values[8];
            elements_of(values, r, share_of(r, s), j);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                values[e] *= scale;
            }
            if (!F::TAILS || k < cols) {
                store_eight<F>(DTYPE_F32, x + t * cols, k, q, values);
            }
        }
    }
}

} // namespace

cudaError_t cuda_block_rows_load(void)
{
    cudaError_t status = cudaSuccess;

    for (int type = 0; type < DTYPE_COUNT && status == cudaSuccess; type++) {
        with_format((dtype)type, [&](auto format) {
            using F = decltype(format);
            const void *const kernels[] = {(const void *)rows_of_blocks<F>, (const void *)embed_blocks<F>};
            status = load_kernels(kernels, 2);
        });
    }
    return status;
}

cudaError_t cuda_block_rows(cudaStream_t stream, dtype act, const matrix *w, int64_t row0, int64_t rows, void *to)
{
    int64_t tiles = ceil_div(row0 + rows, TILE_ROWS) - row0 / TILE_ROWS, warps = tiles * ceil_div(w->cols, UNIT);

    with_format(w->type, [&](auto format) {
        rows_of_blocks<decltype(format)><<<(unsigned)ceil_div(warps, WARPS), THREADS, 0, stream>>>(
            static_cast<char *>(to), act, w->data, (int64_t)w->row_bytes, w->rows, w->cols, row0, rows);
    });
    return cudaGetLastError();
}

cudaError_t cuda_block_embed(cudaStream_t stream, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen,
                             int64_t n, float scale)
{
    constexpr int64_t GRID_ROWS = 65535; // what a grid's second dimension holds
    dim3 grid((unsigned)ceil_div(ceil_div(table->cols, UNIT) * 4, THREADS), (unsigned)(n < GRID_ROWS ? n : GRID_ROWS));

    with_format(table->type, [&](auto format) {
        overlap_launch(stream, grid, THREADS, 0, embed_blocks<decltype(format)>, x, table->data, (int64_t)table->row_bytes,
                       table->rows, table->cols, n, tokens, chosen, scale);
    });
    return cudaGetLastError();
}
