// Two kernels of pure work, to be measured: multiply-adds in registers, and reading.
// Rests on kernels.h. ceilings.c times them.
//
// Multiply-adds: a multiprocessor begins as many a cycle as it has lanes, and whatever else is begun takes the place of one, so
// the loop is long: 256 of them, and 3 instructions to go round. Reading: 128 KB are on their way to each multiprocessor,
// several times the product of memory's rate and latency (about a microsecond).
#include "device/cuda/runtime/kernels.h"

namespace
{

constexpr int THREADS = 256;
constexpr int FMA_BLOCKS = 8;  // a multiprocessor: all the threads that it can hold
constexpr int SUMS = 8;        // of a thread, independent of one another
constexpr int ROUNDS = 16384;  // about a millisecond at 128 lanes
constexpr int READ_BLOCKS = 4; // a multiprocessor
constexpr int LOADS = 8;       // of 16 bytes, that a thread has under way

// a and b are arguments, so that the compiler cannot foresee a sum.
__global__ void __launch_bounds__(THREADS, FMA_BLOCKS) fma_rounds(float a, float b, float *keep)
{
    float sum[SUMS];

    for (int i = 0; i < SUMS; i++) {
        sum[i] = (float)(threadIdx.x + i);
    }
#pragma unroll 32
    for (int r = 0; r < ROUNDS; r++) {
#pragma unroll
        for (int i = 0; i < SUMS; i++) {
            sum[i] = fmaf(sum[i], a, b);
        }
    }
    for (int i = 1; i < SUMS; i++) {
        sum[0] += sum[i];
    }
    if (sum[0] < 0) { // it is not, but then nothing above can be left out
        *keep = sum[0];
    }
}

__global__ void __launch_bounds__(THREADS, READ_BLOCKS) read_turns(const uint4 *data, int turns, uint32_t *keep)
{
    uint32_t all = 0;

    data += (size_t)blockIdx.x * (THREADS * LOADS) + threadIdx.x;
    for (int t = 0; t < turns; t++, data += (size_t)gridDim.x * (THREADS * LOADS)) {
        uint4 v[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            v[i] = __ldcs(data + i * THREADS);
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            all ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
        }
    }
    if (all == 1) { // likewise
        *keep = all;
    }
}

} // namespace

cudaError_t cuda_fma_burst(cudaStream_t stream, int n_sms, void *keep)
{
    fma_rounds<<<(unsigned)(n_sms * FMA_BLOCKS), THREADS, 0, stream>>>(0.5f, 1, static_cast<float *>(keep));
    return cudaGetLastError();
}

double cuda_fma_burst_operations(int n_sms)
{
    return 2.0 * n_sms * FMA_BLOCKS * THREADS * SUMS * ROUNDS;
}

size_t cuda_read_turn_bytes(int n_sms)
{
    return (size_t)n_sms * READ_BLOCKS * THREADS * LOADS * sizeof(uint4);
}

cudaError_t cuda_read_all(cudaStream_t stream, int n_sms, const void *data, size_t bytes, void *keep)
{
    read_turns<<<(unsigned)(n_sms * READ_BLOCKS), THREADS, 0, stream>>>(
        static_cast<const uint4 *>(data), (int)(bytes / cuda_read_turn_bytes(n_sms)), static_cast<uint32_t *>(keep));
    return cudaGetLastError();
}
