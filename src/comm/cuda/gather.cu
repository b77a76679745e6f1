// One block of threads: copies this rank's block into the memory of every other card, says so there, and waits until the others'
// blocks have come here. Rests on gather.h.
//
// Budget: blocks of decode are a few KB. Pushing takes one way over the link (about a microsecond), pulling would take the way there
// and back; the word travels behind the data. Growing numbers, never reset while ranks are at work: a word that is ahead means that
// its rank has gone on, which it can only do by one gather, so two places for each block are enough, and a third for the first of a
// pass (card_gather.c).
#include "comm/cuda/gather.h"

namespace
{

constexpr int THREADS = 1024;
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

__global__ void __launch_bounds__(THREADS) push_block(const __grid_constant__ gather_push p)
{
    const uint32_t number = *p.count + 1;
    const int64_t whole = (uintptr_t)p.mine % 16 == 0 ? p.bytes / 16 : 0;

    for (int r = 0; r < p.n; r++) {
        if (r == p.rank) {
            continue;
        }
        for (int64_t i = threadIdx.x; i < whole; i += THREADS) {
            ((uint4 *)p.to[r])[i] = ((const uint4 *)p.mine)[i];
        }
        for (int64_t i = whole * 16 + threadIdx.x; i < p.bytes; i += THREADS) {
            ((unsigned char *)p.to[r])[i] = ((const unsigned char *)p.mine)[i];
        }
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

} // namespace

cudaError_t cuda_gather_load(void)
{
    cudaFuncAttributes unused;

    return cudaFuncGetAttributes(&unused, push_block);
}

cudaError_t cuda_gather_push(cudaStream_t stream, const gather_push *p)
{
    push_block<<<1, THREADS, 0, stream>>>(*p);
    return cudaGetLastError();
}
