// Columns of some rows from one rank's memory to the same place of another's. Pushing takes one block of threads, says so in a
// word there, and waits until the others' columns have come here. Rests on gather.h.
//
// Budget: rows of decode have a few KB. Pushing takes one way over the link (about a microsecond), pulling would take the way
// there and back; the word travels behind the data. The words only grow and are never reset while ranks are at work: one that
// is ahead means that its rank has gone on, by one all-gather at most (card_gather.c).
#include "comm/cuda/gather.h"

namespace
{

constexpr int THREADS = 1024;
constexpr int LINE = 16;   // bytes of a load or a store
constexpr int LOOKS = 256; // at the word, before one at the host's, which is far

__device__ __forceinline__ uint32_t read_acquire(const uint32_t *word)
{
    uint32_t x;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(x) : "l"(word) : "memory");
    return x;
}

__device__ __forceinline__ void write_release(uint32_t *word, uint32_t x)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(x) : "memory");
}

// 16 bytes, or fewer at the ends of a rank's columns: what lies beside them is written by others. Read once, written to all.
__device__ __forceinline__ void push_line(const gather_push &p, size_t at, size_t begin, size_t end)
{
    if (at >= begin && at + LINE <= end) {
        const uint4 x = *(const uint4 *)(p.mine + at);
        for (int r = 0; r < p.n; r++) {
            if (r != p.rank) {
                *(uint4 *)(p.to[r] + at) = x;
            }
        }
        return;
    }
    for (size_t i = at < begin ? begin : at; i < at + LINE && i < end; i++) {
        const unsigned char x = p.mine[i];
        for (int r = 0; r < p.n; r++) {
            if (r != p.rank) {
                p.to[r][i] = x;
            }
        }
    }
}

// Lines that a row's columns may touch.
__host__ __device__ __forceinline__ uint32_t lines_of(size_t begin, size_t end)
{
    return (uint32_t)((end - begin + 2 * (LINE - 1)) / LINE);
}

__global__ void __launch_bounds__(THREADS) push_columns(const __grid_constant__ gather_push p)
{
    const uint32_t number = *p.count + 1, lines = lines_of(p.begin, p.end);

    for (uint32_t i = threadIdx.x; i < (uint32_t)p.rows * lines; i += THREADS) {
        const size_t row = i / lines * p.stride, begin = row + p.begin;
        push_line(p, begin / LINE * LINE + (size_t)(i % lines) * LINE, begin, row + p.end);
    }
    __syncthreads(); // what all threads wrote comes before the words, which release it
    if (threadIdx.x == 0) {
        *p.count = number;
    }
    if ((int)threadIdx.x < p.n && (int)threadIdx.x != p.rank) {
        const uint32_t *word = p.come[threadIdx.x];
        write_release(p.arrived[threadIdx.x], number);
        for (int looks = 1; (int32_t)(read_acquire(word) - number) < 0; looks++) {
            if (looks % LOOKS == 0 && read_acquire(p.stop) != 0) {
                break; // the pass is lost, whatever lies there
            }
        }
    }
}

// A row of blocks for each rank whose columns are copied.
__global__ void __launch_bounds__(THREADS) copy_columns(const __grid_constant__ gather_copy c)
{
    const unsigned char *from = c.from[blockIdx.y];
    const uint32_t lines = lines_of(c.begin[blockIdx.y], c.end[blockIdx.y]);

    for (uint32_t i = blockIdx.x * THREADS + threadIdx.x; i < (uint32_t)c.rows * lines; i += gridDim.x * THREADS) {
        const size_t row = i / lines * c.stride, begin = row + c.begin[blockIdx.y], end = row + c.end[blockIdx.y];
        const size_t at = begin / LINE * LINE + (size_t)(i % lines) * LINE;
        if (at >= begin && at + LINE <= end) {
            *(uint4 *)(c.to + at) = *(const uint4 *)(from + at);
            continue;
        }
        for (size_t j = at < begin ? begin : at; j < at + LINE && j < end; j++) {
            c.to[j] = from[j];
        }
    }
}

} // namespace

cudaError_t cuda_gather_load(void)
{
    cudaFuncAttributes unused;
    cudaError_t status = cudaFuncGetAttributes(&unused, push_columns);

    return status ? status : cudaFuncGetAttributes(&unused, copy_columns);
}

cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c)
{
    constexpr uint32_t BLOCKS = 32; // more gain nothing: the link binds
    uint32_t most = 0;

    for (int i = 0; i < c->n; i++) {
        const uint32_t lines = (uint32_t)c->rows * lines_of(c->begin[i], c->end[i]), blocks = (lines + THREADS - 1) / THREADS;
        most = blocks > most ? blocks : most;
    }
    if (most > 0) {
        copy_columns<<<dim3(most < BLOCKS ? most : BLOCKS, (unsigned)c->n), THREADS, 0, stream>>>(*c);
    }
    return cudaGetLastError();
}

cudaError_t cuda_gather_push(cudaStream_t stream, const gather_push *p)
{
    push_columns<<<1, THREADS, 0, stream>>>(*p);
    return cudaGetLastError();
}
