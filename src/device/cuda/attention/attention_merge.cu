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

__device__ __forceinline__ row_place find_row(const attention_launch &a, const attention_lists &lists, int row)
{
    int n = 0;

    while (n < lists.n_parts && row >= lists.parts[n].stack * a.n_kv_heads) {
        row -= lists.parts[n++].stack * a.n_kv_heads;
    }
    return {n == lists.n_parts || lists.parts[n].pieces == 1 ? nullptr : &lists.parts[n], row};
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

template <int V> __device__ __forceinline__ void merge_rows(const attention_launch &a, const attention_lists &lists)
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
    merge_listed(const __grid_constant__ attention_launch a, const attention_lists *lists)
{
    merge_rows<V>(a, *lists);
}

template <int V>
__global__ void __launch_bounds__(32 * WARPS)
    merge_given(const __grid_constant__ attention_launch a, const __grid_constant__ attention_lists lists)
{
    merge_rows<V>(a, lists);
}

static_assert(sizeof(attention_launch) + sizeof(attention_lists) <= 4096, "what a launch may take by value");

} // namespace

cudaError_t attention_merge_load(void)
{
    const void *const kernels[] = {(const void *)merge_listed<1>, (const void *)merge_listed<4>, (const void *)merge_given<1>,
                                   (const void *)merge_given<4>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

cudaError_t attention_merge_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists, bool on_card,
                                   int32_t rows)
{
    const unsigned blocks = (unsigned)((rows + WARPS - 1) / WARPS);
    const bool four = a->head_dim % 4 == 0;

    if (on_card) {
        return overlap_launch(stream, blocks, 32 * WARPS, 0, four ? merge_listed<4> : merge_listed<1>, *a, lists);
    }
    return overlap_launch(stream, blocks, 32 * WARPS, 0, four ? merge_given<4> : merge_given<1>, *a, *lists);
}
