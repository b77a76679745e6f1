// Partial results of attention whose keys were split, merged by a kernel of its own: a warp takes a row.
// Rests on attention_merge.cuh. attention_prefill.cu, attention_hopper.cu and attention_plain.cu leave the pieces.
#include "device/cuda/attention/attention_merge.cuh"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int WARPS = 4; // of a block

// Which row of which part; the part is NULL where there is nothing to merge.
struct row_place {
    const attention_part *part;
    int row; // of the part's stacks, one KV head's after the other's
};

// By all threads of a warp, whose row is one. A lane looks at a part: a list may be long.
template <typename Lists>
__device__ __forceinline__ row_place find_row(const attention_launch &a, const Lists &lists, int row)
{
    const int lane = (int)threadIdx.x % 32;

    for (int first = 0; first < lists.n_parts; first += 32) {
        const int rows = first + lane < lists.n_parts ? lists.parts[first + lane].stack * a.n_kv_heads : 0;
        int end = rows; // of the parts up to this lane's
#pragma unroll
        for (int by = 1; by < 32; by *= 2) {
            const int other = __shfl_up_sync(0xffffffff, end, by);
            end += lane >= by ? other : 0;
        }
        const unsigned has = __ballot_sync(0xffffffff, row < end);
        if (has) {
            const int n = __ffs((int)has) - 1;
            const attention_part *part = &lists.parts[first + n];
            return {part->pieces == 1 ? nullptr : part, row - __shfl_sync(0xffffffff, end - rows, n)};
        }
        row -= __shfl_sync(0xffffffff, end, 31);
    }
    return {nullptr, row};
}

__device__ __forceinline__ merged_row pieces_of_row(const attention_launch &a, const row_place &place)
{
    const attention_part &p = *place.part;
    const int kv_head = place.row / p.stack, stacked = place.row % p.stack, query = stacked / a.group;
    const int n_tiles = (p.stack + a.tile_rows - 1) / a.tile_rows, block = n_tiles - 1 - stacked / a.tile_rows;
    const float *first =
        a.partials + p.partial0 + ((int64_t)block * a.n_kv_heads + kv_head) * p.pieces * partial_floats(p.rows, a.head_dim);

    return row_of_pieces(p, a.head_dim, first, stacked % a.tile_rows,
                         (p.row + query) * (a.n_kv_heads * a.group) + kv_head * a.group + stacked % a.group);
}

template <int V, typename Lists> __device__ __forceinline__ void merge_rows(const attention_launch &a, const Lists &lists)
{
    __shared__ float weights[WARPS][PIECES_MAX];

    overlap_begin();
    const row_place place = find_row(a, lists, (int)(blockIdx.x * WARPS + threadIdx.x / 32));

    overlap_wait(); // of the lists alone anything has been read
    if (place.part) {
        merge_row<V>(a, pieces_of_row(a, place), weights[threadIdx.x / 32]);
    }
}

// By the list of a launch that may be repeated over other keys.
template <int V>
__global__ void __launch_bounds__(32 * WARPS)
    merge_listed(const __grid_constant__ attention_launch a, const attention_long_lists *lists)
{
    merge_rows<V>(a, *lists);
}

template <int V>
__global__ void __launch_bounds__(32 * WARPS)
    merge_given(const __grid_constant__ attention_launch a, const __grid_constant__ attention_lists lists)
{
    merge_rows<V>(a, lists);
}

static_assert(sizeof(attention_launch) + sizeof(attention_lists) <= 32764, "by value, from CUDA 12.1 on");

} // namespace

cudaError_t attention_merge_load(void)
{
    const void *const kernels[] = {(const void *)merge_listed<1>, (const void *)merge_listed<4>, (const void *)merge_given<1>,
                                   (const void *)merge_given<4>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

static unsigned blocks_of(int32_t rows)
{
    return (unsigned)((rows + WARPS - 1) / WARPS);
}

cudaError_t attention_merge_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                   int32_t rows)
{
    return overlap_launch(stream, blocks_of(rows), 32 * WARPS, 0, a->head_dim % 4 == 0 ? merge_listed<4> : merge_listed<1>, *a,
                          lists);
}

cudaError_t attention_merge_given(cudaStream_t stream, const attention_launch *a, const attention_lists *lists, int32_t rows)
{
    return overlap_launch(stream, blocks_of(rows), 32 * WARPS, 0, a->head_dim % 4 == 0 ? merge_given<4> : merge_given<1>, *a,
                          *lists);
}
